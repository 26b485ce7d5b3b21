"""The reference tokenizer and qwill's command line, side by side. Needs the pinned tokenizers (tests/requirements.txt)."""

import json
import lzma
import pathlib
import subprocess

import tokenizers

DATA = pathlib.Path(__file__).resolve().parent.parent / "data/tokenizer"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def published_json():
    return lzma.decompress((DATA / "qwen3-tokenizer.json.xz").read_bytes()).decode()


def tokenizer_json(vocab, merges, nfc=True, added=()):
    """A tokenizer.json with the Qwen pipeline."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": list(added),
            "normalizer": {"type": "NFC"} if nfc else None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
            "decoder": byte_level,
            "model": {"type": "BPE", "vocab": vocab, "merges": merges},
        }
    )


class Pair:
    """One tokenizer.json, in the reference and in qwill."""

    def __init__(self, text, folder, program):
        (pathlib.Path(folder) / "tokenizer.json").write_text(text)
        self.reference = tokenizers.Tokenizer.from_str(text)
        self.program, self.folder = program, str(folder)

    def run(self, command, lines):
        """What `qwill COMMAND --jsonl` answers, one value for each line."""
        done = subprocess.run(
            [self.program, *command, self.folder, "--jsonl"],
            input="".join(json.dumps(line) + "\n" for line in lines).encode(),
            stdout=subprocess.PIPE,
            check=True,
        )
        answers = done.stdout.decode().split("\n")[:-1]
        assert len(answers) == len(lines), f"{len(answers)} answers to {len(lines)} lines"
        return [json.loads(answer) for answer in answers]

    def ours(self, texts, *flags):
        """qwill's ids of each text."""
        return [answer["token_ids"] for answer in self.run(["tokenize", *flags], [{"text": text} for text in texts])]

    def theirs(self, texts):
        """The reference's ids of each text."""
        return [answer.ids for answer in self.reference.encode_batch(texts, add_special_tokens=False)]

    def encoded(self, texts, *flags):
        """(qwill's ids, the reference's ids) of each text."""
        return list(zip(self.ours(texts, *flags), self.theirs(texts)))

    def decoded(self, sequences):
        """(qwill's text, the reference's text) of each sequence of ids."""
        ours = self.run(["detokenize"], [{"token_ids": ids} for ids in sequences])
        theirs = self.reference.decode_batch(sequences, skip_special_tokens=False)
        return [(mine["text"], other) for mine, other in zip(ours, theirs)]


class Score:
    """Counts, shows the first differences, and ends the program."""

    def __init__(self):
        self.passed = self.failed = 0

    def add(self, what, ours, theirs, weight=1):
        if ours == theirs:
            self.passed += weight
            return
        self.failed += 1
        if self.failed <= 10:
            print(f"{what!r}\n  qwill     {ours!r}\n  reference {theirs!r}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed")
        raise SystemExit(1 if self.failed or not self.passed else 0)
