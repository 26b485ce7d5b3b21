"""One cache for qwill and huggingface_hub: each finds what the other has fetched, and asks for none of it again.

python pull_shared_cache.py PROGRAM SOURCE_FOLDER      (a Python with tests/requirements.txt)
"""

import os
import sys
import tempfile
from pathlib import Path

from fake_hub import Hub, Repository, into_shards, model_files
from program import Program, run_all

NAME = "Org/Nib"
PROMPT = ("-p", "Once upon a time", "--max-tokens", "8", "--threads", "1")


class World:
    def __init__(self, program, source, hub):
        self.qwill, self.hub = Program(program), hub
        self.nib = Path(source) / "models/nib"
        self.repository = Repository(into_shards(model_files(self.nib), 3, 1 << 20), tells_sizes=True)

    def fresh(self, folder):
        self.hub.repositories = {NAME: self.repository}
        self.hub.asked.clear()
        return Path(folder) / "hub"

    def run(self, cache, *arguments, **more):
        environment = {"HF_HUB_CACHE": str(cache), "HF_ENDPOINT": self.hub.url, "HF_HUB_OFFLINE": "0"}
        return self.qwill(*arguments, environment=environment | more)

    def bodies_asked(self):
        return [a.path for a in self.hub.asked if a.method == "GET" and not a.path.startswith("/api/")]


def test_they_find_ours(checks, world):
    import huggingface_hub

    with tempfile.TemporaryDirectory() as folder:
        cache = world.fresh(folder)
        snapshot = checks.good(world.run(cache, "pull", NAME)).out.decode().strip()
        for path, content in world.repository.files.items():
            found = huggingface_hub.try_to_load_from_cache(NAME, path, cache_dir=cache)
            checks.equal(found, f"{snapshot}/{path}")
            checks.that(Path(found).read_bytes() == content, path)
        info = huggingface_hub.scan_cache_dir(cache)
        checks.equal(info.warnings, [])
        [repository] = info.repos
        [revision] = repository.revisions
        checks.equal(
            (repository.repo_id, repository.repo_type, revision.commit_hash, set(revision.refs)),
            (NAME, "model", world.repository.commit, {"main"}),
        )
        checks.equal({file.file_name for file in revision.files}, set(world.repository.files))
        checks.equal(repository.size_on_disk, sum(map(len, world.repository.files.values())))
        world.hub.asked.clear()
        checks.equal(huggingface_hub.snapshot_download(NAME, cache_dir=cache, endpoint=world.hub.url), snapshot)
        checks.equal(world.bodies_asked(), [], "nothing is fetched again")


def test_we_find_theirs(checks, world):
    import huggingface_hub

    with tempfile.TemporaryDirectory() as folder:
        cache = world.fresh(folder)
        snapshot = huggingface_hub.snapshot_download(NAME, cache_dir=cache, endpoint=world.hub.url)
        world.hub.asked.clear()
        wanted = world.qwill("generate", world.nib, *PROMPT).out
        checks.equal(checks.good(world.run(cache, "generate", NAME, *PROMPT)).out, wanted)
        checks.equal(world.hub.asked, [])
        checks.equal(checks.good(world.run(cache, "pull", NAME)).out.decode(), f"{snapshot}\n")
        checks.equal(world.bodies_asked(), [], "nothing is fetched again")
    with tempfile.TemporaryDirectory() as folder:
        cache = world.fresh(folder)
        huggingface_hub.hf_hub_download(NAME, "config.json", cache_dir=cache, endpoint=world.hub.url)
        world.hub.asked.clear()
        checks.equal(checks.good(world.run(cache, "generate", NAME, *PROMPT)).out, wanted)
        checks.that(
            not any("config.json" in path.split("/")[-1:] for path in world.bodies_asked()), "a file that is there"
        )


def main():
    program, source = sys.argv[1:]
    with tempfile.TemporaryDirectory() as home, Hub() as hub:
        os.environ |= {"HF_HOME": home, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "no_proxy": "*"}
        os.environ["HF_ENDPOINT"] = hub.url
        tests = [f for name, f in globals().items() if name.startswith("test_")]
        return run_all(tests, World(program, source, hub))


if __name__ == "__main__":
    sys.exit(main())
