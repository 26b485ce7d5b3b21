"""The page and the dashboard of `qwill serve` in a real browser: against the program with its built-in model, and against a
server that plays what that model never says.

python page.py PROGRAM SOURCE_FOLDER [NAME of a test …]
Needs Chromium with its driver, and tests/requirements.txt.
"""

import json
import sys
import tempfile
from pathlib import Path

from browser import Browser
from markdown_cases import CASES, HOSTILE, LONG
from played_server import MARKDOWN, PlayedServer
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from served import Server

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
from program import run_all  # noqa: E402

ANSWER = ".message.assistant"
# The nodes of a text as the cases write them: code as its text, and without the attributes that all links have.
PLAIN = """
    const plain = (root) => {
      const copy = root.cloneNode(true);
      for (const code of copy.querySelectorAll(".code")) {
        const pre = document.createElement("pre");
        pre.textContent = code.querySelector("code").textContent;
        code.replaceWith(pre);
      }
      for (const link of copy.querySelectorAll("a")) {
        if (link.rel !== "noopener noreferrer" || link.target !== "_blank") link.textContent += " UNSAFE";
        link.removeAttribute("rel");
        link.removeAttribute("target");
      }
      for (const table of copy.querySelectorAll(".table")) {
        for (const name of ["class", "tabindex", "role", "aria-label"]) table.removeAttribute(name);
      }
      return copy.innerHTML;
    };
    const { MarkdownView } = await import("/markdown.js");
    const render = (text) => {
      const root = document.createElement("div");
      new MarkdownView(root).update(text);
      return root;
    };
"""


class World:
    """The program, the files of the page, a browser and the folder that it downloads to."""

    def __init__(self, program, source, folder, browser):
        self.program = program
        self.web = Path(source) / "web"
        self.downloads = Path(folder)
        self.browser = browser

    def serve(self, *arguments):
        return Server(self.program, "--threads", "1", *arguments)

    def played(self):
        return PlayedServer(self.web)


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


# ------------------------------------------------------------------------------------------------ the program


def test_real_chat(checks, world):
    browser = world.browser
    question = "What is a river?"
    with world.serve() as server:
        browser.open(server.url)
        browser.one("#think").click()
        text = ask(browser, question)
        settings = {"chat_template_kwargs": {"enable_thinking": False}}
        messages = [{"role": "user", "content": question}]
        status, wanted = server.ask("v1/chat/completions", {"messages": messages} | settings)
        checks.equal(status, 200)
        content = wanted["choices"][0]["message"]["content"]
        checks.equal(text, content, "the answer on the page and of the API")
        tokens = wanted["usage"]["completion_tokens"]
        checks.that(f"{tokens} tokens" in browser.text(".message .stats span"), f"{tokens} tokens: the server's count")
        checks.equal(browser.text("#model-name"), ["nib"])

        messages += [{"role": "assistant", "content": content}, {"role": "user", "content": "What is the sun?"}]
        second = ask(browser, "What is the sun?", 2)
        _, wanted = server.ask("v1/chat/completions", {"messages": messages} | settings)
        checks.equal(second, wanted["choices"][0]["message"]["content"], "the second answer, which knows of the first")

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
        _, wanted = server.ask(
            "v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "temperature": 3}
        )
        checks.equal(browser.text(".message .error p"), [wanted["error"]["message"]])

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
        browser.open(server.url + "dashboard.html")
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
        _, wanted = server.ask("v1/completions", {"prompt": prompt})
        text = wanted["choices"][0]["text"]
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
            server.ask("v1/completions", {"prompt": "The old man walked to"})
        browser.open(server.url + "dashboard.html")
        figures = "return [...document.querySelectorAll('.plot')].map((p) => [...p.querySelectorAll('b')].map((b) => b.textContent))"
        browser.until(lambda: browser.js(figures)[1] == ["0", "0"], "running and waiting")
        server.ask("v1/completions", {"prompt": "Once upon a time"})
        browser.until(lambda: "–" not in browser.js(figures)[3], "a time to first token")
        shown = dict(zip(browser.text(".plot h2"), browser.js(figures)))
        checks.equal(len(shown), 9, "plots")
        for name in ("Time to first token", "Inter-token latency", "Step time"):
            checks.that(all(value.endswith(("µs", "ms", " s")) for value in shown[name]), f"{name}: {shown[name]}")
        checks.that(shown["KV pages"][0].endswith(" %"), f"{shown['KV pages']}")
        is_clean(checks, browser, server.url)


# ------------------------------------------------------------------------------------------------ markdown


def test_markdown(checks, world):
    browser = world.browser
    with world.played() as server:
        browser.open(server.url)
        sources = [source for source, _ in CASES]
        got = browser.module(PLAIN + "return args[0].map((text) => plain(render(text)));", sources)
        for (source, wanted), html in zip(CASES, got):
            checks.equal(html, wanted, f"{source!r}")
        is_clean(checks, browser, server.url)


def test_markdown_that_grows(checks, world):
    """A text that comes piece by piece ends as the same nodes as one that comes at once."""
    browser = world.browser
    texts = [source for source, _ in CASES] + [MARKDOWN, "\n\n".join(source for source, _ in CASES)]
    with world.played() as server:
        browser.open(server.url)
        code = """
            return args[0].map((text) => {
              const root = document.createElement("div");
              const view = new MarkdownView(root);
              const step = text.length > 2000 ? 7 : 1;
              for (let i = 0; i < text.length; i += step) view.update(text.slice(0, i));
              view.update(text);
              return [plain(root), plain(render(text)), root.innerHTML === render(text).innerHTML];
            });
        """
        for text, (grown, whole, same) in zip(texts, browser.module(PLAIN + code, texts)):
            checks.equal(grown, whole, f"{text!r}")
            checks.that(same, f"the same to the last attribute: {text!r}")
        # What is settled stays in place: a paragraph is the same node after a hundred more.
        kept = """
            const root = document.createElement("div");
            const view = new MarkdownView(root);
            view.update("first\\n\\n```js\\nlet a;\\n");
            const [first, line] = [root.firstChild, root.querySelector("pre span")];
            let text = "first\\n\\n```js\\nlet a;\\n";
            for (let i = 0; i < 100; ++i) view.update((text += `f(${i});\\n`));
            const lineStays = line.isConnected || root.contains(line);
            view.update((text += "```\\n\\n" + "more\\n\\n".repeat(100)));
            return [root.firstChild === first, lineStays, root.contains(line), root.children.length];
        """
        checks.equal(browser.module(PLAIN + kept), [True, True, True, 102])


def test_markdown_is_safe(checks, world):
    browser = world.browser
    forbidden = "script,style,img,svg:not(.icon),iframe,object,embed,form,input:not([type=checkbox]),base,link,meta"
    look = """
        const allowed = (a) => /^(https?|mailto):/.test(a.protocol) && a.protocol !== "javascript:";
        const bad = [...root.querySelectorAll(args[1])].map((e) => e.outerHTML);
        for (const a of root.querySelectorAll("a")) if (!allowed(a)) bad.push(a.outerHTML);
        for (const e of root.querySelectorAll("*"))
          for (const { name } of e.attributes) if (/^on|^style$|^srcdoc$/.test(name)) bad.push(e.outerHTML);
        return bad;
    """
    with world.played() as server:
        browser.open(server.url)
        check = f"const look = (root) => {{ {look} }}; document.body.append(...args[0].map(render)); return look(document.body);"
        before = browser.module(f"const root = document.body; {look}", [], forbidden)
        bad = browser.module(PLAIN + check, HOSTILE, forbidden)
        checks.equal([e for e in bad if e not in before], [], "elements that a text became")
        # And all the way from the server.
        browser.open(server.url)
        server.play.text = "\n\n".join(HOSTILE)
        server.play.thinking = server.play.text
        ask(browser, HOSTILE[0])
        browser.one(".thinking summary").click()
        after = browser.module(f"const root = document.getElementById('messages'); {look}", [], forbidden)
        checks.equal(after, [], "elements in the conversation")
        checks.equal(browser.js("return window.hurt ?? null"), None, "a script ran")
        checks.that("<script>window.hurt = 1</script>" in answer_text(browser), "the text is there to be read")
        is_clean(checks, browser, server.url)


def test_markdown_long(checks, world):
    """Each of these ends (the browser's time limit is the only one)."""
    browser = world.browser
    with world.played() as server:
        browser.open(server.url)
        for name, text in LONG.items():
            num_blocks = browser.module(PLAIN + "return render(args[0]).children.length;", text)
            checks.that(num_blocks > 0, name)
        # A long answer in many pieces.
        length = browser.module(
            PLAIN
            + """
              const root = document.createElement("div");
              const view = new MarkdownView(root);
              let text = "";
              for (let i = 0; i < 4000; ++i) view.update((text += i % 50 ? `word ${i} *and* ` : `\\n\\n## ${i}\\n\\n`));
              return root.children.length;
            """
        )
        checks.that(length > 100, "blocks of a long answer")


def test_code(checks, world):
    browser = world.browser
    kinds = """
        const root = render("```" + args[0] + "\\n" + args[1] + "\\n```");
        return [...root.querySelectorAll("code span[class]")].map((e) => [e.className.slice(2), e.textContent]);
    """
    with world.played() as server:
        browser.open(server.url)

        def tokens(language, code):
            return browser.module(PLAIN + kinds, language, code)

        checks.equal(
            tokens("c", '#include <a>\nint f() { return 0x1f; } // "x"\n/* a\nint */ "s\\"t"'),
            [["keyword", "#include"], ["keyword", "int"], ["name", "f"], ["keyword", "return"], ["number", "0x1f"],
             ["comment", '// "x"'], ["comment", "/* a"], ["comment", "int */"], ["string", '"s\\"t"']],
        )  # fmt: skip
        checks.equal(
            tokens("python", "'''a\nb''' + None # c"),
            [["string", "'''a"], ["string", "b'''"], ["number", "None"], ["comment", "# c"]],
        )
        checks.equal(tokens("text", "int a = 1; // b"), [])
        checks.equal(tokens("diff", "+a\n-b\n c"), [["added", "+a\n"], ["removed", "-b\n"]])
        checks.equal(tokens("", "don't say 'no'"), [["string", "'t say '"]])


# ------------------------------------------------------------------------------------------------ chat, played


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


# ------------------------------------------------------------------------------------------------ looks and keys


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
        browser.open(server.url + "dashboard.html")
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
            browser.open(server.url + "dashboard.html")
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
        browser.open(server.url + "dashboard.html")
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


# ------------------------------------------------------------------------------------------------ dashboard, played


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
        rows = browser.text(".plot:first-child tbody tr")
        checks.that(len(rows) >= 3, f"rows: {rows}")
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


def main():
    program, source, *names = sys.argv[1:]
    tests = [f for name, f in globals().items() if name.startswith("test_") and (not names or name in names)]

    def alone(test):
        def run(checks, world):
            world.browser.reset()
            test(checks, world)

        run.__name__ = test.__name__
        return run

    with tempfile.TemporaryDirectory(prefix="qwill-web-") as folder, Browser(folder) as browser:
        return run_all([alone(test) for test in tests], World(program, source, folder, browser))


if __name__ == "__main__":
    sys.exit(main())
