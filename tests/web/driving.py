"""What a reader does on the page, and what is asked of it by several tests."""

from selenium.webdriver.common.keys import Keys

ANSWER = ".message.assistant"


def send(browser, text):
    browser.one("#prompt").send_keys(text + Keys.ENTER)


def is_idle(browser):
    return browser.one("#send").get_attribute("aria-label") == "Send"


def until_answered(browser, count=1):
    """Waits until `count` answers are there and the last has ended; its text."""
    browser.until(lambda: len(browser.all(ANSWER)) == count and not browser.all(ANSWER + ".live"), f"{count} answers")
    browser.until(lambda: is_idle(browser), "the end of the answer")
    return answer_text(browser)


def answer_text(browser):
    return browser.js(
        """const last = [...document.querySelectorAll(".message.assistant")].at(-1);
           return last ? last.querySelector(".body > .markdown").innerText : "";"""
    )


def ask(browser, text, count=1):
    send(browser, text)
    return until_answered(browser, count)


def is_clean(checks, browser, url, *expected):
    """Nothing was asked of another origin, and nothing was logged but lines with one of the `expected` words."""
    elsewhere = [u for u in browser.requests() if not u.startswith((url, "data:", "blob:", "about:", "chrome:"))]
    checks.equal(elsewhere, [], "requests to elsewhere")
    logged = [line for line in browser.console() if not any(word in line for word in expected)]
    checks.equal(logged, [], "lines on the console")
