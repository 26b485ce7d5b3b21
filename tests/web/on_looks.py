"""Colours, sizes, keys, scrolling and motion."""

from driving import ANSWER, answer_text, ask, send, until_answered
from selenium.webdriver.common.keys import Keys


def test_colours(checks, world):
    browser = world.browser
    paper = lambda: browser.js("return getComputedStyle(document.documentElement).backgroundColor")  # noqa: E731
    with world.played() as server:
        browser.emulate(prefers_color_scheme="light")
        browser.open(server.url)
        light = paper()
        browser.emulate(prefers_color_scheme="dark")
        dark = paper()
        checks.that(light != dark, f"{light}, {dark}")
        switch = browser.one("[data-theme-switch]")
        switch.click()
        checks.equal((paper(), switch.get_attribute("aria-label")), (light, "Colours: light"))
        browser.driver.refresh()
        checks.equal(paper(), light, "kept over a reload")
        browser.open(server.url + "/dashboard.html")
        checks.equal(paper(), light, "on the dashboard too")
        browser.one("[data-theme-switch]").click()
        browser.emulate(prefers_color_scheme="light")
        checks.equal(paper(), dark)
        browser.one("[data-theme-switch]").click()
        checks.equal(paper(), light, "as the system again")


# The contrast of each text with what is behind it, of those below 4.5.
FAINT = """
    const channels = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const over = ([r, g, b, a = 1], below) => [r, g, b].map((v, i) => v * a + below[i] * (1 - a));
    const behind = (e) => {
      if (!e) return [255, 255, 255];
      return over(channels(getComputedStyle(e).backgroundColor), behind(e.parentElement));
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const e = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !e.checkVisibility() || e.closest("svg,noscript,:disabled,.hidden-text,.skip")) continue;
      const [below, style] = [behind(e), getComputedStyle(e)];
      const ink = over(channels(style.color), below);
      const [a, b] = [light(ink), light(below)].sort((x, y) => y - x);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) faint.push(`${e.className || e.tagName}: ${ratio.toFixed(2)} "${walker.currentNode.data.slice(0, 30)}"`);
    }
    return faint;
"""


def test_contrast(checks, world):
    browser = world.browser
    with world.played() as server:
        server.play.thinking = "so"
        for scheme in ("light", "dark"):
            browser.emulate(prefers_color_scheme=scheme)
            browser.open(server.url)
            ask(browser, "All kinds of text")
            server.play.fail_after = 1
            ask(browser, "And an error", 2)
            server.play.fail_after = None
            checks.equal(browser.js(FAINT), [], scheme)
            browser.one("[data-opens=settings]").click()
            checks.equal(browser.js(FAINT), [], f"{scheme}, settings")
            browser.open(server.url + "/dashboard.html")
            browser.until(lambda: "–" not in browser.text(".plot b")[0], "figures")
            checks.equal(browser.js(FAINT), [], f"{scheme}, dashboard")
        browser.js("document.body.style.color = '#5f5f5f'")
        checks.that(browser.js(FAINT) != [], "grey text is found")


def test_phone(checks, world):
    browser = world.browser
    fits = "return document.scrollingElement.scrollWidth <= innerWidth && [...document.querySelectorAll(arguments[0])].every((e) => e.scrollWidth <= innerWidth)"
    with world.played() as server:
        browser.size(360, 740)
        browser.open(server.url)
        checks.that(browser.js(fits, "main, .panel"), "no scrolling sideways")
        ask(browser, "A long word: " + "x" * 300)
        checks.that(browser.js(fits, "main, .panel, #scroller, .message"), "nor with a conversation")
        checks.that(not browser.shown("#conversations"), "the drawer is closed")
        browser.one("#menu").click()
        browser.until(lambda: browser.shown("#conversations .open"), "the drawer")
        checks.that(browser.js("return document.getElementById('main').inert"), "what is behind it is out of reach")
        browser.until(
            lambda: browser.js("return document.getElementById('sidebar').getAnimations().length") == 0, "it to rest"
        )
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: not browser.shown("#conversations"), "it to close")
        checks.equal(browser.driver.switch_to.active_element.get_attribute("id"), "menu", "the focus goes back")
        browser.one("#menu").click()
        browser.until(lambda: browser.shown("#conversations .open"), "the drawer again")
        browser.until(
            lambda: browser.js("return document.getElementById('sidebar').getAnimations().length") == 0, "it to rest"
        )
        browser.one("#conversations .open").click()
        browser.until(lambda: not browser.shown("#conversations"), "it to close with a choice")
        browser.open(server.url + "/dashboard.html")
        browser.until(lambda: "–" not in browser.text(".plot b")[0], "figures")
        checks.that(browser.js(fits, "main, .plot"), "the dashboard fits")


def test_keyboard(checks, world):
    browser = world.browser
    focused = lambda: browser.js("return document.activeElement.id")  # noqa: E731
    with world.played() as server:
        play = server.play
        play.text, play.piece = "an answer", 3
        browser.open(server.url)
        browser.until(lambda: focused() == "prompt", "the focus at the message")
        browser.keys("one")
        browser.chord(Keys.SHIFT, Keys.ENTER)
        browser.keys("two", Keys.ENTER)
        until_answered(browser)
        checks.equal(play.bodies[0]["messages"][0]["content"], "one\ntwo")
        play.hold_after = 1
        browser.chord(Keys.ALT, "r")
        browser.until(lambda: answer_text(browser) == "an", "an answer under way")
        browser.keys(Keys.ESCAPE)
        checks.equal(until_answered(browser), "an")
        play.hold_after = None
        browser.chord(Keys.ALT, "e")
        browser.keys(" three", Keys.ENTER)
        browser.until(lambda: len(play.bodies) == 3, "the edited message")
        until_answered(browser)
        checks.equal(play.bodies[2]["messages"][0]["content"], "one\ntwo three")
        browser.chord(Keys.ALT, "n")
        browser.until(lambda: browser.all(".welcome"), "a new conversation")
        browser.chord(Keys.ALT, Keys.ARROW_DOWN)
        browser.until(lambda: browser.all(ANSWER), "the one before")
        browser.chord(Keys.ALT, "s")
        checks.equal(focused(), "search")
        browser.chord(Keys.ALT, ",")
        checks.that(browser.one("#settings").is_displayed(), "settings")
        browser.keys(Keys.ESCAPE)
        checks.that(not browser.one("#settings").is_displayed(), "and away")
        browser.keys("typed")
        checks.equal(browser.one("#search").get_property("value"), "typed", "keys go where they went before")
        browser.retype("#search", "")
        browser.js("document.activeElement.blur()")
        browser.keys("?")
        checks.that(browser.one("#help").is_displayed(), "the keys")
        browser.keys(Keys.ESCAPE, "/")
        checks.equal(focused(), "prompt")
        browser.chord(Keys.ALT, "m")
        checks.equal(focused(), "completion-text")
        browser.chord(Keys.ALT, "m")

        # By Tab alone everything is reached, and it shows where one is.
        browser.js("document.activeElement.blur(); document.getElementById('sidebar').focus()")
        reached, unseen = set(), []
        for _ in range(60):
            browser.keys(Keys.TAB)
            name, seen = browser.js(
                """const e = document.activeElement;
                   if (e === document.body) return [null, true];  // past the last, and before the first
                   const style = getComputedStyle(e), composer = e.closest(".composer");
                   const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1.5;
                   return [e.id || e.getAttribute("aria-label") || e.textContent.trim().slice(0, 20), shown || (e.id === "prompt" && composer !== null)]"""
            )
            reached.add(name)
            if not seen and name not in ("scroller",):
                unseen.append(name)
        checks.equal(unseen, [], "without a visible focus")
        wanted = {"new", "search", "Settings", "Help", "title-menu", "tab-chat", "prompt", "think", "Answer again", "Copy answer",
                  "Edit and send again", "Copy message", "Dashboard"}  # fmt: skip
        checks.equal(wanted - reached, set(), "out of reach")
        nameless = browser.js(
            """return [...document.querySelectorAll("button, a, input, textarea, select, [role]")]
                 .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.getAttribute("aria-labelledby") || e.role === "status"))
                 .map((e) => e.outerHTML)"""
        )
        checks.equal(nameless, [], "without a name for screen readers")


def test_following(checks, world):
    """The end stays in sight where the reader is there, and the text stays put where the reader is elsewhere."""
    browser = world.browser
    place = "const s = document.getElementById('scroller'); return [s.scrollTop, s.scrollHeight - s.clientHeight]"
    with world.played() as server:
        play = server.play
        play.text, play.piece, play.hold_after = "line\n\n" * 120, 6, 60
        browser.open(server.url)
        send(browser, "Go on")
        browser.until(lambda: len(browser.all(ANSWER + " p")) >= 59, "the first half")
        browser.until(
            lambda: browser.js(place)[1] > 500 and abs(browser.js(place)[0] - browser.js(place)[1]) < 40,
            "the end in sight",
        )
        browser.js("document.getElementById('scroller').scrollTop = 100")
        browser.until(lambda: browser.shown("#jump"), "the way back to the end")
        play.go_on.set()
        until_answered(browser)
        top, most = browser.js(place)
        checks.that(top == 100 and most > 1000, f"scrolled to {top} of {most}")
        browser.one("#jump").click()
        browser.until(lambda: browser.js(place)[1] - browser.js(place)[0] < 2, "the end")
        browser.until(lambda: not browser.shown("#jump"), "the button to go")


def test_motion(checks, world):
    browser = world.browser
    moving = "return document.getAnimations().length"
    with world.played() as server:
        server.play.hold_after = 0
        browser.emulate(prefers_reduced_motion="no-preference")
        browser.open(server.url)
        send(browser, "Hello")
        browser.until(lambda: browser.js(moving) > 0, "a sign of waiting")
        browser.emulate(prefers_reduced_motion="reduce")
        browser.until(lambda: browser.js(moving) == 0, "stillness")
