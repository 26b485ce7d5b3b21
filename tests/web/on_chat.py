"""Conversations, against prepared answers."""

import json

from driving import ANSWER, answer_text, ask, is_clean, send, until_answered
from played_server import MARKDOWN
from selenium.webdriver.common.keys import Keys


def test_streaming_and_stop(checks, world):
    browser = world.browser
    with world.played() as server:
        play = server.play
        play.text, play.piece, play.hold_after = "first second third", 6, 2
        browser.open(server.url)
        send(browser, "Hello")
        browser.until(lambda: answer_text(browser) == "first second", "what came so far")
        checks.equal(browser.one("#send").get_attribute("aria-label"), "Stop")
        checks.that("2 tokens" in browser.text(".message .stats span"), "pieces are counted meanwhile")
        browser.keys(Keys.ESCAPE)
        checks.equal(until_answered(browser), "first second", "what came stays")
        checks.equal(browser.text(".ended"), ["Stopped."])
        browser.until(lambda: play.num_gone == 1, "the server to see that the client has gone")

        play.hold_after = None
        browser.one(".again").click()
        browser.until(lambda: browser.text(".branches span") == ["2/2"], "a second version")
        checks.equal(until_answered(browser), "first second third")
        browser.one(".branches button").click()
        browser.until(lambda: answer_text(browser) == "first second", "the first version")
        checks.equal(play.bodies[0]["messages"], play.bodies[1]["messages"], "the same question again")
        checks.equal(play.bodies[0]["stream_options"], {"include_usage": True})
        browser.driver.refresh()
        browser.until(lambda: answer_text(browser) == "first second", "the version that was chosen, after a reload")
        is_clean(checks, browser, server.url)


def test_edit(checks, world):
    browser = world.browser
    with world.played() as server:
        server.play.text = "one"
        browser.open(server.url)
        ask(browser, "first")
        ask(browser, "second", 2)
        browser.all(".message.user .edit")[0].click()
        browser.retype(".message.user textarea", "changed" + Keys.ENTER)
        browser.until(lambda: len(server.play.bodies) == 3, "the edited message to be sent")
        until_answered(browser)
        checks.equal(server.play.bodies[2]["messages"], [{"role": "user", "content": "changed"}])
        checks.equal(browser.text(".message.user .branches span"), ["2/2"])
        browser.one(".message.user .branches button").click()
        browser.until(lambda: len(browser.all(ANSWER)) == 2, "the branch before")
        checks.equal(browser.text(".typed"), ["first", "second"])


def test_thinking(checks, world):
    browser = world.browser
    with world.played() as server:
        play = server.play
        play.thinking, play.text, play.piece, play.hold_after = "because **so**", "done", 14, 1
        browser.open(server.url)
        send(browser, "Why?")
        browser.until(
            lambda: browser.text(".thinking-label")[:1] and "Thinking" in browser.text(".thinking-label")[0], "thinking"
        )
        checks.equal(browser.one(".thinking").get_attribute("open"), None, "it is folded")
        before = browser.text(".thinking-label")
        browser.until(lambda: browser.text(".thinking-label") != before, "its clock")
        play.go_on.set()
        checks.equal(until_answered(browser), "done")
        checks.that(browser.text(".thinking-label")[0].startswith("Thought for "), "its duration")
        browser.one(".thinking summary").click()
        browser.until(lambda: browser.text(".thinking strong") == ["so"], "what was thought")
        checks.equal(play.bodies[0]["chat_template_kwargs"], {"enable_thinking": True})
        checks.that("think" not in json.dumps(play.bodies[0]["messages"]), "thinking is not in the messages")
        browser.chord(Keys.ALT, "t")
        ask(browser, "And?", 2)
        checks.equal(play.bodies[1]["chat_template_kwargs"], {"enable_thinking": False})
        checks.equal(play.bodies[1]["messages"][1], {"role": "assistant", "content": "done"})


def test_errors_in_the_middle(checks, world):
    browser = world.browser
    with world.played() as server:
        play = server.play
        play.text, play.piece, play.fail_after = "first second", 6, 1
        browser.open(server.url)
        checks.equal(ask(browser, "Hello"), "first", "what came before the error stays")
        checks.equal(browser.text(".error p"), ["the engine stopped in the middle"])
        play.fail_after, play.cut_after = None, 1
        browser.one(".error button").click()
        browser.until(lambda: browser.text(".branches span") == ["2/2"], "a second try")
        until_answered(browser)
        checks.equal(browser.text(".error p"), ["The connection was closed before the answer was complete."])
        play.refuse = (503, {"error": {"message": "the queue is full", "type": "server_error"}})
        browser.one(".again").click()
        browser.until(lambda: browser.text(".error p") == ["the queue is full"], "the server's words")
        play.refuse = (502, "a proxy's page")
        browser.one(".again").click()
        browser.until(lambda: any("502" in text for text in browser.text(".error p")), "a status without an API error")
        is_clean(checks, browser, server.url, "status of 503", "status of 502")
    browser.one(".again").click()
    browser.until(lambda: browser.text(".error p") == ["The server cannot be reached."], "a server that is gone")


def test_settings(checks, world):
    browser = world.browser
    with world.played() as server:
        server.play.models = ["quill-8b", "quill-30b"]
        browser.open(server.url)
        browser.until(lambda: browser.shown("#model"), "the choice of models")
        ask(browser, "plain")
        body = server.play.bodies[0]
        checks.equal(
            sorted(body),
            ["chat_template_kwargs", "messages", "model", "stream", "stream_options"],
            "nothing but defaults",
        )
        checks.equal(body["model"], "quill-8b")

        browser.one("[data-opens=settings]").click()
        values = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.1, "presence_penalty": -1,
                  "frequency_penalty": 0.25, "max_tokens": 100, "seed": 7}  # fmt: skip
        for name, value in values.items():
            browser.one(f"#field-{name}").send_keys(str(value))
        browser.one("#field-stop").send_keys("END\n\\n\\n")
        browser.one("#system").send_keys("Be brief.")
        browser.keys(Keys.ESCAPE)
        browser.js(
            "const s = document.getElementById('model'); s.value = 'quill-30b'; s.dispatchEvent(new Event('change'));"
        )
        ask(browser, "with all", 2)
        body = server.play.bodies[1]
        checks.equal({name: body.get(name) for name in values}, values)
        checks.equal(body["stop"], ["END", "\n\n"])
        checks.equal(body["messages"][0], {"role": "system", "content": "Be brief."})
        checks.equal(body["model"], "quill-30b")

        browser.driver.refresh()
        browser.until(lambda: browser.shown("#model"), "the page again")
        browser.one("[data-opens=settings]").click()
        checks.equal(browser.one("#field-seed").get_property("value"), "7", "kept over a reload")
        browser.one("#field-seed").send_keys("x")
        checks.equal(browser.one("#field-seed").get_attribute("aria-invalid"), "true")
        browser.retype("#field-top_k", "")
        browser.keys(Keys.ESCAPE)
        ask(browser, "again", 3)
        checks.that(not {"seed", "top_k"} & set(server.play.bodies[2]), "what is no number or empty is not sent")
        is_clean(checks, browser, server.url)


def test_conversations(checks, world):
    browser = world.browser
    titles = lambda: browser.text("#conversations .open")  # noqa: E731
    with world.played() as server:
        server.play.text = "The **answer** is long."
        browser.open(server.url)
        for text in ("About rivers", "About lakes"):
            browser.one("#new").click()
            ask(browser, text)
        browser.until(lambda: titles() == ["About lakes", "About rivers"], "the list, the latest first")

        def choose(entry):
            browser.one("#title-menu").click()
            next(item for item in browser.all(".menu button") if item.text.startswith(entry)).click()

        browser.one("#search").send_keys("RIVER")
        browser.until(lambda: titles() == ["About rivers"], "what was searched")
        browser.retype("#search", "answer** is")
        browser.until(lambda: len(titles()) == 2, "what was found in messages")
        browser.one("#search").send_keys("nowhere")
        browser.until(lambda: titles() == [] and browser.shown("#no-conversations"), "nothing found")
        browser.retype("#search", "")
        browser.until(lambda: len(titles()) == 2, "the whole list")

        choose("Rename")
        browser.one("#ask-input").send_keys("On lakes & <b>ponds</b>" + Keys.ENTER)
        browser.until(lambda: titles() == ["On lakes & <b>ponds</b>", "About rivers"], "the new title")
        choose("Export as Markdown")
        file = world.downloads / "On lakes  bpondsb.md"
        browser.until(file.exists, "a file of Markdown")
        checks.that(
            "The **answer** is long." in file.read_text() and "About lakes" in file.read_text(), file.read_text()
        )
        choose("Export as JSON")
        browser.until(file.with_suffix(".json").exists, "a file of JSON")
        exported = json.loads(file.with_suffix(".json").read_text())
        checks.equal(
            [m["content"] for m in sorted(exported["messages"], key=lambda m: m["role"])],
            ["The **answer** is long.", "About lakes"],
        )

        browser.one("[data-opens=settings]").click()
        browser.one("#export-all").click()
        browser.keys(Keys.ESCAPE)
        everything = world.downloads / "qwill-conversations.json"
        browser.until(everything.exists, "a file of everything")
        checks.equal(len(json.loads(everything.read_text())), 2, "conversations in it")

        choose("Delete")
        browser.one("dialog.small .primary").click()
        browser.until(lambda: titles() == ["About rivers"], "one less")
        browser.until(lambda: browser.all(".welcome"), "a new conversation instead")
        browser.driver.refresh()
        browser.until(lambda: titles() == ["About rivers"], "one less, after a reload")
        is_clean(checks, browser, server.url)


def test_tabs_of_the_browser(checks, world):
    """Two windows of one conversation add to it, and neither loses what the other wrote."""
    browser = world.browser
    driver = browser.driver
    with world.played() as server:
        server.play.text = "answer"
        browser.open(server.url)
        ask(browser, "shared")
        address, first = driver.current_url, driver.current_window_handle
        driver.switch_to.new_window("tab")
        second = driver.current_window_handle
        browser.open(address)
        browser.until(lambda: len(browser.all(ANSWER)) == 1, "the conversation in the second window")
        ask(browser, "from the second", 2)
        browser.one("#new").click()
        ask(browser, "alone in the second")
        driver.switch_to.window(first)
        browser.until(lambda: len(browser.all(ANSWER)) == 2, "the second window's message in the first")
        browser.until(lambda: "alone in the second" in browser.text("#conversations .open"), "its conversation")
        # Both answer at once, held in the middle; then one message of each must be there.
        server.play.text, server.play.piece, server.play.hold_after = "held answer", 4, 1
        send(browser, "from the first, held")
        browser.until(lambda: answer_text(browser) == "held", "an answer under way")
        driver.switch_to.window(second)
        browser.open(address)
        browser.until(lambda: len(browser.all(ANSWER)) == 3, "the conversation once more")
        server.play.hold_after = None
        ask(browser, "from the second, meanwhile", 4)
        driver.switch_to.window(first)
        server.play.go_on.set()
        checks.equal(until_answered(browser, 3), "held answer", "the first window's answer")
        count = """
            const { openStore } = await import("/store.js");
            const { store } = await openStore();
            const { messages } = await store.load(args[0]);
            return messages.map((m) => m.content).sort();
        """
        kept = browser.module(count, address.split("=")[1])
        checks.equal(
            kept,
            sorted(["shared", "answer", "from the second", "answer", "from the first, held", "held answer",
                    "from the second, meanwhile", "held answer"]),
        )  # fmt: skip
        # Deleted in one window, it is gone in the other.
        browser.one("#title-menu").click()
        browser.keys(Keys.END, Keys.ENTER)
        browser.one("dialog.small .primary").click()
        browser.until(lambda: browser.all(".welcome"), "the conversation to be gone here")
        driver.switch_to.window(second)
        browser.until(lambda: browser.all(".welcome"), "the conversation to be gone")


def test_copy(checks, world):
    browser = world.browser
    with world.played() as server:
        browser.open(server.url)
        browser.cdp(
            "Browser.grantPermissions", origin=server.url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"]
        )
        ask(browser, "Copy me")
        clipboard = lambda: browser.module("return navigator.clipboard.readText();")  # noqa: E731
        browser.one(".code [aria-label='Copy code']").click()
        browser.until(lambda: clipboard() == MARKDOWN.split("```")[1].removeprefix("python\n").rstrip("\n"), "the code")
        browser.one(".user [aria-label='Copy message']").click()
        browser.until(lambda: clipboard() == "Copy me", "the message")
        browser.chord(Keys.ALT, "c")
        browser.until(lambda: clipboard() == MARKDOWN, "the answer, as it was written")
