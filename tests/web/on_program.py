"""The page as the program serves it, with the built-in model: what it shows is what the API answers."""

from driving import ANSWER, answer_text, ask, is_clean, send, until_answered
from selenium.webdriver.common.keys import Keys


def test_real_chat(checks, world):
    browser = world.browser
    question = "What is a river?"
    with world.serve() as server:
        browser.open(server.url)
        browser.one("#think").click()
        text = ask(browser, question)
        settings = {"chat_template_kwargs": {"enable_thinking": False}}
        messages = [{"role": "user", "content": question}]
        wanted = server.post("/v1/chat/completions", messages=messages, **settings)
        checks.equal(wanted.status, 200)
        content = wanted.json["choices"][0]["message"]["content"]
        checks.equal(text, content, "the answer on the page and of the API")
        tokens = wanted.json["usage"]["completion_tokens"]
        checks.that(f"{tokens} tokens" in browser.text(".message .stats span"), f"{tokens} tokens: the server's count")
        checks.equal(browser.text("#model-name"), ["nib"])

        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "What is the sun?"}]
        second = ask(browser, "What is the sun?", 2)
        wanted = server.post("/v1/chat/completions", messages=messages, **settings)
        checks.equal(
            second, wanted.json["choices"][0]["message"]["content"], "the second answer, which knows of the first"
        )

        address = browser.driver.current_url
        browser.driver.refresh()
        browser.until(lambda: len(browser.all(ANSWER)) == 2, "the conversation after a reload")
        checks.equal(answer_text(browser), second)
        browser.open(server.url)
        checks.equal(browser.all(".message"), [], "a new conversation")
        browser.until(lambda: browser.all("#conversations .open"), "the list")
        checks.equal(browser.text("#conversations .open"), [question])
        browser.one("#conversations .open").click()
        browser.until(lambda: len(browser.all(ANSWER)) == 2, "the conversation from the list")
        checks.equal(browser.driver.current_url, address)
        is_clean(checks, browser, server.url)


def test_real_thinking_and_errors(checks, world):
    browser = world.browser
    with world.serve() as server:
        browser.open(server.url)
        checks.equal(browser.one("#think").get_attribute("aria-pressed"), "true")
        ask(browser, "What is a hammer?")
        checks.that("<think>" not in answer_text(browser), "the marks of thinking are not in the answer")

        browser.one("[data-opens=settings]").click()
        browser.one("#field-temperature").send_keys("3")
        browser.keys(Keys.ESCAPE)
        send(browser, "And a nail?")
        browser.until(lambda: browser.all(".message .error"), "the error")
        wanted = server.post("/v1/chat/completions", messages=[{"role": "user", "content": "x"}], temperature=3)
        checks.equal(browser.text(".message .error p"), [wanted.error["message"]])

        browser.one("[data-opens=settings]").click()
        browser.one("#reset-sampling").click()
        browser.keys(Keys.ESCAPE)
        browser.one(".message .error button").click()
        until_answered(browser, 2)
        checks.equal(browser.all(".message .error"), [], "the error is gone")
        checks.that(answer_text(browser) != "", "an answer after the error")
        is_clean(checks, browser, server.url, "status of 400")


def test_real_key(checks, world):
    browser = world.browser
    kept = "return [sessionStorage.getItem('qwill.api_key'), localStorage.getItem('qwill.api_key')]"

    def give(key, keep):
        browser.until(lambda: browser.shown("#key-dialog"), "the question for a key")
        browser.one("#key-input").clear()
        browser.one("#key-input").send_keys(key)
        if keep:
            browser.one("#key-keep").click()
        browser.one("#key-dialog .primary").click()

    with world.serve("--api-key", "secret") as server:
        browser.open(server.url)
        give("wrong", False)
        browser.until(lambda: browser.js(kept) == ["wrong", None], "the key in the session")
        give("secret", False)
        browser.until(lambda: browser.text("#model-name") == ["nib"], "the model's name")
        checks.equal(browser.js(kept), ["secret", None], "only in the session")
        checks.that(ask(browser, "What is a river?") != "", "an answer with the key")

        browser.one("[data-opens=settings]").click()
        browser.one("#keep-key").click()
        checks.equal(browser.js(kept), [None, "secret"], "on the device, once that is wanted")
        browser.one("#keep-key").click()
        checks.equal(browser.js(kept), ["secret", None], "and no more")
        browser.keys(Keys.ESCAPE)
        browser.open(server.url + "/dashboard.html")
        browser.until(lambda: "–" not in browser.text(".plot:nth-child(2) b"), "figures with the same key")
        browser.js("sessionStorage.clear()")
        browser.until(lambda: browser.shown("#key-dialog"), "the dashboard's question")
        browser.keys(Keys.ESCAPE)
        browser.until(lambda: browser.one("#pause").get_attribute("aria-label") == "Go on", "a pause without a key")
        checks.that(browser.shown("#state"), "the server's words")
        browser.one("#pause").click()
        give("secret", False)
        browser.until(lambda: not browser.shown("#state"), "figures again")
        is_clean(checks, browser, server.url, "status of 401")


def test_real_completion(checks, world):
    browser = world.browser
    prompt = "Once upon a time"
    with world.serve() as server:
        browser.open(server.url)
        browser.one("#tab-completion").click()
        browser.one("#completion-text").send_keys(prompt)
        browser.chord(Keys.CONTROL, Keys.ENTER)
        browser.until(lambda: browser.shown("#completion-take"), "the continuation")
        wanted = server.post("/v1/completions", prompt=prompt)
        text = wanted.json["choices"][0]["text"]
        checks.equal(browser.text("#completion-new"), [text])
        checks.equal(browser.text("#completion-given"), [prompt])
        browser.one("#completion-take").click()
        checks.equal(browser.one("#completion-text").get_property("value"), prompt + text)
        checks.that(not browser.shown("#completion-output"), "what was taken is in the text and nowhere else")
        browser.driver.refresh()
        browser.until(lambda: browser.shown("#completion-text"), "the tab after a reload")
        checks.equal(browser.one("#completion-text").get_property("value"), prompt + text)
        is_clean(checks, browser, server.url)


def test_real_dashboard(checks, world):
    browser = world.browser
    with world.serve() as server:
        for _ in range(3):
            server.post("/v1/completions", prompt="The old man walked to")
        browser.open(server.url + "/dashboard.html")
        figures = "return [...document.querySelectorAll('.plot')].map((p) => [...p.querySelectorAll('b')].map((b) => b.textContent))"
        browser.until(lambda: browser.js(figures)[1] == ["0", "0"], "running and waiting")
        server.post("/v1/completions", prompt="Once upon a time")
        browser.until(lambda: "–" not in browser.js(figures)[3], "a time to first token")
        shown = dict(zip(browser.text(".plot h2"), browser.js(figures)))
        checks.equal(len(shown), 9, "plots")
        for name in ("Time to first token", "Inter-token latency", "Step time"):
            checks.that(all(value.endswith(("µs", "ms", " s")) for value in shown[name]), f"{name}: {shown[name]}")
        checks.that(shown["KV pages"][0].endswith(" %"), f"{shown['KV pages']}")
        is_clean(checks, browser, server.url)
