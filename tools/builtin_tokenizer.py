"""Trains the tokenizer of the built-in models: a small byte-level BPE with the pipeline of Qwen3.

Writes tokenizer.json and tokenizer_config.json into both model folders. The chat template is the published one of
Qwen3 (Apache-2.0), read from a published tokenizer_config.json.

    python tools/builtin_tokenizer.py --template qwen3-tokenizer/tokenizer_config.json --natural natural.json.gz
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from builtin_corpus import documents, load_natural

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
PLAIN = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
VOCABULARY = 2540  # ids of the BPE itself; the added tokens follow, then padding rows up to ROWS
ROWS = 2560
MODELS = Path(__file__).resolve().parent.parent / "models"


def byte_level(use_regex: bool = False) -> dict:
    return {"add_prefix_space": False, "trim_offsets": False, "use_regex": use_regex}


def train(texts) -> Tokenizer:
    """A tokenizer with the Qwen3 pipeline, trained on the texts."""
    tokenizer = Tokenizer(models.BPE(continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(PATTERN), "isolated"), pre_tokenizers.ByteLevel(**byte_level())]
    )
    tokenizer.decoder = decoders.ByteLevel(**byte_level())
    tokenizer.post_processor = processors.ByteLevel(**byte_level())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in PLAIN])
    return tokenizer


def config(tokenizer: Tokenizer, template: str) -> dict:
    """tokenizer_config.json in the spelling of the published files."""
    added = {
        str(tokenizer.token_to_id(text)): {
            "content": text, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
            "special": text in SPECIAL,
        }
        for text in SPECIAL + PLAIN
    }
    return {
        "add_bos_token": False, "add_prefix_space": False, "added_tokens_decoder": added,
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "bos_token": None, "chat_template": template,
        "clean_up_tokenization_spaces": False, "eos_token": "<|endoftext|>", "errors": "replace",
        "model_max_length": 2048, "pad_token": "<|endoftext|>", "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer", "unk_token": None,
    }


def published_form(tokenizer: Tokenizer) -> dict:
    """The tokenizer as JSON, with the fields that the library writes differently set as in the published file."""
    data = json.loads(tokenizer.to_str())
    data["decoder"] = {"type": "ByteLevel"} | byte_level()
    data["model"]["continuing_subword_prefix"] = data["model"]["end_of_word_suffix"] = ""
    return data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", type=Path, required=True, help="a published Qwen3 tokenizer_config.json")
    parser.add_argument("--natural", type=Path)
    parser.add_argument("--documents", type=int, default=80000)
    options = parser.parse_args()
    stream = documents(20, load_natural(options.natural))
    texts = [t for t in itertools.islice(stream, options.documents) if "<|" not in t]
    tokenizer = train(texts)
    if tokenizer.get_vocab_size() > ROWS:
        raise SystemExit("the vocabulary does not fit its rows")
    for name in ("nib", "nib-moe"):
        folder = MODELS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(json.dumps(published_form(tokenizer), ensure_ascii=False))
        template = json.loads(options.template.read_text())["chat_template"]
        (folder / "tokenizer_config.json").write_text(json.dumps(config(tokenizer, template), indent=2, ensure_ascii=False) + "\n")
    sample = texts[:2000]
    tokens = sum(len(e.ids) for e in tokenizer.encode_batch(sample))
    print(f"ids {tokenizer.get_vocab_size()}, {sum(len(t.encode()) for t in sample) / tokens:.2f} bytes a token")


if __name__ == "__main__":
    main()
