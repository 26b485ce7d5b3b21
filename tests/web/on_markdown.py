"""The model's text as nodes: what it becomes, that nothing in it acts, and that it may be long."""

from driving import answer_text, ask, is_clean
from markdown_cases import CASES, HOSTILE, LONG
from played_server import MARKDOWN


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
