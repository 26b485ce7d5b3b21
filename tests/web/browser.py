"""A headless Chromium, and what is asked of a page."""

import json
import os
import shutil

os.environ.setdefault("SE_AVOID_STATS", "true")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

WAIT_S = 60


class Browser:
    def __init__(self, downloads):
        driver_path, chromium = shutil.which("chromedriver"), shutil.which("chromium") or shutil.which("google-chrome")
        if not driver_path or not chromium:
            raise SystemExit("page.py: needs chromium and chromedriver (Debian: chromium, chromium-driver)")
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "window-size=1280,860"):
            options.add_argument("--" + flag)
        # Its offer to keep an API key as a password would take the keyboard.
        passwords = (
            "credentials_enable_service",
            "profile.password_manager_enabled",
            "profile.password_manager_leak_detection",
        )
        options.add_experimental_option("prefs", {name: False for name in passwords})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
        self.driver.set_script_timeout(WAIT_S)
        self.cdp("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def cdp(self, command, **arguments):
        return self.driver.execute_cdp_cmd(command, arguments)

    def open(self, url):
        self.driver.get(url)
        if not url.endswith("dashboard.html"):
            self.until(
                lambda: self.js("return document.title && document.querySelector('#send svg')"), "the page's script"
            )

    def reset(self):
        """As a browser that was just started: one window, no emulation. Each server has a port, and so a store, of its own."""
        first, *others = self.driver.window_handles
        for other in others:
            self.driver.switch_to.window(other)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get("about:blank")
        self.cdp("Emulation.clearDeviceMetricsOverride")
        self.emulate()
        self.console(), self.requests()

    def emulate(self, **media):
        """CSS media features, such as prefers_color_scheme="dark"."""
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        self.cdp("Emulation.setEmulatedMedia", features=features)

    def size(self, width, height, mobile=False):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)

    def js(self, code, *arguments):
        return self.driver.execute_script(code, *arguments)

    def module(self, code, *arguments):
        """The value of `code`, the body of an async function of `args`; it may import the page's modules."""
        wrapped = f"""
            const done = arguments[arguments.length - 1], args = [...arguments].slice(0, -1);
            (async () => {{ {code} }})().then((value) => done([value, null]), (error) => done([null, String(error.stack)]));
        """
        value, error = self.driver.execute_async_script(wrapped, *arguments)
        if error:
            raise RuntimeError(error)
        return value

    def until(self, condition, what):
        try:
            return WebDriverWait(self.driver, WAIT_S, 0.05).until(lambda _: condition())
        except TimeoutException:
            page = self.js("return `${location.href}: ${document.body.innerText}`")
            raise TimeoutError(f"waited in vain for {what} on {page[:2000]!r}") from None

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector):
        """The texts of all that match, as they are in the document."""
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)

    def shown(self, selector):
        """Whether a match is there to be seen."""
        return any(element.is_displayed() for element in self.all(selector))

    def keys(self, *keys):
        """Typed to whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def retype(self, selector, text):
        """Other text in a field, typed."""
        self.one(selector).send_keys(Keys.CONTROL + "a" + Keys.NULL, text or Keys.DELETE)

    def chord(self, modifier, key):
        ActionChains(self.driver).key_down(modifier).send_keys(key).key_up(modifier).perform()

    def console(self):
        """What was logged since the last call, at any level but debug."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] != "DEBUG"]

    def requests(self):
        """The addresses that were asked for since the last call."""
        urls = []
        for entry in self.driver.get_log("performance"):
            event = json.loads(entry["message"])["message"]
            if event["method"] == "Network.requestWillBeSent":
                urls.append(event["params"]["request"]["url"])
        return urls
