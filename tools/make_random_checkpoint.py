"""Writes a hub-format checkpoint of a published size with random weights, for measuring loading and memory.

    python tools/make_random_checkpoint.py 8b OUT_DIR

Shapes are those of the Base models (bf16, one file). There is no tokenizer: give prompts with --token-ids. Every
matrix is cut from one block of normal numbers, scaled to variance 1 / columns, so that activations stay finite.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# hidden, layers, heads, kv heads, intermediate, tied (config.json of the published checkpoints)
SIZES = {
    "0.6b": (1024, 28, 16, 8, 3072, True),
    "1.7b": (2048, 28, 16, 8, 6144, True),
    "4b": (2560, 36, 32, 8, 9728, True),
    "8b": (4096, 36, 32, 8, 12288, False),
    "14b": (5120, 40, 40, 8, 17408, False),
    "32b": (5120, 64, 64, 8, 25600, False),
}
HEAD_DIM, VOCAB = 128, 151936
BLOCK = 1 << 24  # random numbers that are drawn; matrices are cut from them at changing places


def config(size: str) -> dict[str, object]:
    return dense_config(*SIZES[size])


def dense_config(
    hidden: int, layers: int, heads: int, kv_heads: int, intermediate: int, tied: bool
) -> dict[str, object]:
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 151643,
        "eos_token_id": 151643,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "max_position_embeddings": 32768,
        "model_type": "qwen3",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": 1e-6,
        "rope_scaling": None,
        "rope_theta": 1000000,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": VOCAB,
    }


def tensors(size: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, layers, heads, kv_heads, intermediate, tied = SIZES[size]
    yield "model.embed_tokens.weight", (VOCAB, hidden)
    for i in range(layers):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "self_attn.q_proj.weight", (heads * HEAD_DIM, hidden)
        yield layer + "self_attn.k_proj.weight", (kv_heads * HEAD_DIM, hidden)
        yield layer + "self_attn.v_proj.weight", (kv_heads * HEAD_DIM, hidden)
        yield layer + "self_attn.q_norm.weight", (HEAD_DIM,)
        yield layer + "self_attn.k_norm.weight", (HEAD_DIM,)
        yield layer + "self_attn.o_proj.weight", (hidden, heads * HEAD_DIM)
        yield layer + "post_attention_layernorm.weight", (hidden,)
        yield layer + "mlp.gate_proj.weight", (intermediate, hidden)
        yield layer + "mlp.up_proj.weight", (intermediate, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, intermediate)
    yield "model.norm.weight", (hidden,)
    if not tied:
        yield "lm_head.weight", (VOCAB, hidden)


def to_bf16(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(config(args.size), indent=2) + "\n")

    header: dict[str, object] = {}
    offset = 0
    for name, shape in tensors(args.size):
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    random = np.random.default_rng(1)
    normal = random.standard_normal(BLOCK, dtype=np.float32)
    scaled = {cols: to_bf16(normal / np.sqrt(cols)) for cols in {s[-1] for _, s in tensors(args.size) if len(s) == 2}}
    with (args.out / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, shape in tensors(args.size):
            count = int(np.prod(shape))
            if len(shape) == 1:
                file.write(to_bf16(1 + 0.1 * normal[:count]).tobytes())
                continue
            block = scaled[shape[-1]]
            while count > 0:
                start = int(random.integers(BLOCK // 2))
                part = block[start : start + count]
                file.write(part.tobytes())
                count -= len(part)


if __name__ == "__main__":
    main()
