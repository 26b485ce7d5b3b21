"""The page and the dashboard of `qwill serve` in a real browser: against the program with its built-in model, and against a
server that plays what that model never says.

python page.py PROGRAM SOURCE_FOLDER [NAME of a test …]
Needs Chromium with its driver, and tests/requirements.txt.
"""

import sys
import tempfile
from pathlib import Path

import on_chat
import on_dashboard
import on_looks
import on_markdown
import on_program
from browser import Browser
from played_server import PlayedServer

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "server"))
from serving import Program, Server, run_all  # noqa: E402


class World:
    """The program, the files of the page, a browser and the folder that it downloads to."""

    def __init__(self, program, source, folder, browser):
        self.program = Program(program)
        self.web = Path(source) / "web"
        self.downloads = Path(folder)
        self.browser = browser

    def serve(self, *arguments):
        return Server(self.program, *arguments)

    def played(self):
        return PlayedServer(self.web)


def main():
    program, source, *names = sys.argv[1:]
    modules = (on_program, on_markdown, on_chat, on_looks, on_dashboard)
    every = [f for module in modules for name, f in vars(module).items() if name.startswith("test_")]
    tests = [f for f in every if not names or f.__name__ in names]

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
