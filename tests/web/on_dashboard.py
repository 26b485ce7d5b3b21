"""The dashboard against prepared figures, and whether the checks themselves can fail."""

from driving import is_clean
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys


def test_metrics(checks, world):
    browser = world.browser
    before = """# HELP x y
qwill_a_total{model="m",path="/x\\"}\\n{"} 5
qwill_a_total{model="n"} 7
qwill_h_seconds_bucket{model="m",le="0.1"} 0
qwill_h_seconds_bucket{model="m",le="0.2"} 0
qwill_h_seconds_bucket{model="m",le="+Inf"} 0
"""
    after = """qwill_a_total{model="m",path="/x\\"}\\n{"} 9
qwill_a_total{model="n"} 1e1
qwill_h_seconds_bucket{model="m",le="0.1"} 50
qwill_h_seconds_bucket{model="m",le="0.2"} 90
qwill_h_seconds_bucket{model="m",le="+Inf"} 100
"""
    code = """
        const { Sample, parseMetrics, quantile, rate } = await import("/metrics.js");
        const [a, b] = args.map((text, i) => new Sample(2 * i, parseMetrics(text), ""));
        const [m0, m1] = args.map((text, i) => new Sample(2 * i, parseMetrics(text), "m"));
        return {
          label: a.series("qwill_a_total")[0].labels.path,
          rate: rate(a, b, "qwill_a_total"),
          rateOfOne: rate(m0, m1, "qwill_a_total"),
          unknown: rate(a, b, "qwill_none_total"),
          restarted: rate(b, Object.assign(a, { time: 4 }), "qwill_a_total"),
          p25: quantile(m0, m1, "qwill_h_seconds", 0.25),
          p70: quantile(m0, m1, "qwill_h_seconds", 0.7),
          p99: quantile(m0, m1, "qwill_h_seconds", 0.99),
          nothing: quantile(b, b, "qwill_h_seconds", 0.5),
        };
    """
    with world.played() as server:
        browser.open(server.url)
        got = browser.module(code, before, after)
        wanted = {"label": '/x"}\n{', "rate": 3.5, "rateOfOne": 2, "unknown": None, "restarted": 6, "p25": 0.05, "p70": 0.15,
                  "p99": 0.2, "nothing": None}  # fmt: skip
        for name, value in wanted.items():
            close = abs(got[name] - value) < 1e-9 if isinstance(value, float) else got[name] == value
            checks.that(close, f"{name}: {got[name]!r}, wanted {value!r}")


def test_dashboard(checks, world):
    browser = world.browser
    lines = (
        "return [...document.querySelectorAll('.line')].map((l) => (l.getAttribute('d').match(/[ML]/g) ?? []).length)"
    )
    with world.played() as server:
        browser.open(server.url)
        browser.one("nav a").click()
        browser.until(lambda: browser.driver.current_url.endswith("dashboard.html"), "the dashboard")
        browser.until(lambda: (browser.js(lines) or [0])[0] >= 3, "three points of the first line")
        checks.that(min(browser.js(lines)[:3]) >= 3, f"points of the lines: {browser.js(lines)}")
        titles = browser.text(".plot h2")
        checks.equal(len(titles), 9)
        checks.that(browser.text(".plot:first-child .frame text")[-1] == "now", "axes")

        figure = browser.all(".plot > svg")[0]
        ActionChains(browser.driver).move_to_element(figure).perform()
        browser.until(
            lambda: browser.text(".when")[0].startswith("−") or browser.text(".when")[0] == "now", "the time pointed at"
        )
        checks.that(len(set(browser.text(".when"))) == 1, "one time for all plots")
        browser.js("arguments[0].focus()", figure)
        browser.keys(Keys.HOME)
        first = browser.text(".when")[0]
        browser.keys(Keys.END)
        browser.until(lambda: browser.text(".when")[0] != first, "the time chosen by key")
        label = figure.get_attribute("aria-label")
        checks.that(label.startswith("Tokens, now: output "), label)

        browser.all(".values summary")[0].click()
        browser.until(lambda: len(browser.text(".plot:first-child tbody tr")) >= 3, "the table of values")
        browser.all("#spans button")[1].click()
        checks.that("−10 min" in browser.text(".plot:first-child .frame text"), "a longer time")
        is_clean(checks, browser, server.url)
    browser.until(lambda: browser.shown("#state"), "the word that the server is gone")


def test_the_checks_can_fail(checks, world):
    """What is_clean looks for is seen when it happens."""
    browser = world.browser
    with world.played() as server:
        browser.open(server.url)
        browser.console(), browser.requests()
        browser.js("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))")
        browser.js("document.body.insertAdjacentHTML('beforeend', '<p style=\"color:red\">x</p><script>1</script>')")
        logged = browser.until(lambda: browser.console(), "a line on the console")
        checks.that(any("Content Security Policy" in line for line in logged), f"{logged}")
