"""Writes a GGUF file of a published size with random weights, for measuring engines that read GGUF.

    python tools/make_random_gguf.py 8b Q4_K_M OUT.gguf        (needs numpy and gguf)

Matrices are normal numbers of variance 1 / columns, so that activations stay finite, quantised as llama-quantize would:
Q8_0, Q4_0 (output head in Q6_K), Q4_K_M (Q4_K; head, and half of attn_v and ffn_down, in Q6_K), BF16. The tokenizer is
the published one. To be quick whatever the size, blocks are quantised once and matrices cut from them at changing places.
"""

from __future__ import annotations

import argparse
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from make_random_checkpoint import HEAD_DIM, VOCAB
from make_random_checkpoint import SIZES as DENSE_SIZES

SIZES = DENSE_SIZES | {"32b": (5120, 64, 64, 8, 25600, False), "30b-a3b": (2048, 48, 32, 4, 768, False)}
NUM_EXPERTS, EXPERTS_USED = 128, 8  # of 30b-a3b, whose intermediate size is an expert's
FILE_TYPES = {
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
    "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
    "Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0,
    "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M,
}
BLOCK = 1 << 23  # random numbers that are drawn
TOKENIZER = Path(__file__).resolve().parent.parent / "tests/data/tokenizer/qwen3-tokenizer.json.xz"


@dataclass
class GgufTensor:
    name: str
    shape: tuple[int, ...]  # rows first; of experts, their number first
    type: Type

    @property
    def byte_shape(self) -> tuple[int, ...]:
        return gguf.quant_shape_to_byte_shape(self.shape, self.type)


def is_moe(size: str) -> bool:
    return size == "30b-a3b"


def tensors(size: str, file_type: str) -> Iterator[GgufTensor]:
    hidden, layers, heads, kv_heads, intermediate, tied = SIZES[size]
    matrix = {"BF16": Type.BF16, "Q8_0": Type.Q8_0, "Q4_0": Type.Q4_0, "Q4_K_M": Type.Q4_K}[file_type]
    head = Type.Q6_K if file_type.startswith("Q4") else matrix
    yield GgufTensor("token_embd.weight", (VOCAB, hidden), head if tied else matrix)
    for i in range(layers):
        eighth = layers // 8
        finer = i < eighth or i >= 7 * layers // 8 or (i - eighth) % 3 == 2
        fine = Type.Q6_K if file_type == "Q4_K_M" and finer else matrix
        layer = f"blk.{i}."
        yield GgufTensor(layer + "attn_norm.weight", (hidden,), Type.F32)
        yield GgufTensor(layer + "attn_q.weight", (heads * HEAD_DIM, hidden), matrix)
        yield GgufTensor(layer + "attn_k.weight", (kv_heads * HEAD_DIM, hidden), matrix)
        yield GgufTensor(layer + "attn_v.weight", (kv_heads * HEAD_DIM, hidden), fine)
        yield GgufTensor(layer + "attn_q_norm.weight", (HEAD_DIM,), Type.F32)
        yield GgufTensor(layer + "attn_k_norm.weight", (HEAD_DIM,), Type.F32)
        yield GgufTensor(layer + "attn_output.weight", (hidden, heads * HEAD_DIM), matrix)
        yield GgufTensor(layer + "ffn_norm.weight", (hidden,), Type.F32)
        if is_moe(size):
            yield GgufTensor(layer + "ffn_gate_inp.weight", (NUM_EXPERTS, hidden), Type.F32)
        experts, suffix = ((NUM_EXPERTS,), "_exps.weight") if is_moe(size) else ((), ".weight")
        yield GgufTensor(layer + "ffn_gate" + suffix, (*experts, intermediate, hidden), matrix)
        yield GgufTensor(layer + "ffn_up" + suffix, (*experts, intermediate, hidden), matrix)
        yield GgufTensor(layer + "ffn_down" + suffix, (*experts, hidden, intermediate), fine)
    yield GgufTensor("output_norm.weight", (hidden,), Type.F32)
    if not tied:
        yield GgufTensor("output.weight", (VOCAB, hidden), head)


def read_bytes_per_step(size: str, file_type: str, rows: int) -> float:
    """Of weights, by a step of so many rows; of experts, the expected number of different ones."""
    tied, total = SIZES[size][-1], 0.0
    for tensor in tensors(size, file_type):
        if tensor.name == "token_embd.weight" and not tied:
            continue  # a few rows
        share = 1 - (1 - EXPERTS_USED / NUM_EXPERTS) ** rows if "_exps" in tensor.name else 1
        total += share * prod(tensor.byte_shape)
    return total


def quantize_q4_k(values: np.ndarray) -> np.ndarray:
    """Blocks of 256: eight sub-blocks with a 6-bit scale and a 6-bit minimum each. Rounded, without a search."""
    sub = values.reshape(-1, 8, 32)
    low = np.maximum(-sub.min(axis=2), 0)
    step = (sub.max(axis=2) + low) / 15
    d = (step.max(axis=1, keepdims=True) / 63).astype(np.float16)
    d_min = (low.max(axis=1, keepdims=True) / 63).astype(np.float16)
    scales = np.clip(np.rint(step / d.astype(np.float32)), 1, 63).astype(np.uint8)
    mins = np.clip(np.rint(low / d_min.astype(np.float32)), 0, 63).astype(np.uint8)
    offset = d_min.astype(np.float32) * mins
    q = np.rint((sub + offset[..., None]) / (d.astype(np.float32) * scales)[..., None]).clip(0, 15).astype(np.uint8)
    packed_scales = np.concatenate(
        [
            scales[:, :4] | (scales[:, 4:] >> 4 << 6),
            mins[:, :4] | (mins[:, 4:] >> 4 << 6),
            (scales[:, 4:] & 15) | (mins[:, 4:] & 15) << 4,
        ],
        axis=1,
    )
    pairs = q.reshape(-1, 4, 2, 32)
    nibbles = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)
    return np.concatenate([d.view(np.uint8), d_min.view(np.uint8), packed_scales, nibbles], axis=1)


def quantize_q6_k(values: np.ndarray) -> np.ndarray:
    """Blocks of 256: sixteen sub-blocks with an 8-bit scale each. Rounded, without a search."""
    sub = values.reshape(-1, 16, 16)
    step = np.abs(sub).max(axis=2) / 31
    d = (step.max(axis=1, keepdims=True) / 127).astype(np.float16)
    scales = np.clip(np.rint(step / d.astype(np.float32)), 1, 127).astype(np.int8)
    q = (np.rint(sub / (d.astype(np.float32) * scales)[..., None]).clip(-32, 31) + 32).astype(np.uint8)
    quarters = q.reshape(-1, 2, 4, 32)
    low, high = quarters & 15, quarters >> 4
    ql = np.concatenate([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], axis=2)
    qh = high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6
    return np.concatenate([ql.reshape(-1, 128), qh.reshape(-1, 64), scales.view(np.uint8), d.view(np.uint8)], axis=1)


def quantize(values: np.ndarray, quant_type: Type) -> np.ndarray:
    """Bytes of so many values in rows."""
    own = {Type.Q4_K: quantize_q4_k, Type.Q6_K: quantize_q6_k}
    quantized = own[quant_type](values) if quant_type in own else gguf.quants.quantize(values, quant_type)
    return np.ascontiguousarray(quantized).view(np.uint8).reshape(-1)


class RandomBytes:
    """Bytes of random matrices, in parts that are cut from one quantised block."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(1)
        self.normal = self.random.standard_normal(BLOCK, dtype=np.float32)
        self.blocks: dict[tuple[Type, int], np.ndarray] = {}

    def parts(self, tensor: GgufTensor) -> Iterator[np.ndarray]:
        if tensor.type == Type.F32:
            scale, mean = (0.1, 1) if len(tensor.shape) == 1 else (tensor.shape[-1] ** -0.5, 0)
            yield mean + np.float32(scale) * self.normal[: prod(tensor.shape)]
            return
        key = (tensor.type, tensor.shape[-1])
        if key not in self.blocks:
            rows = self.normal.reshape(-1, 256) * np.float32(tensor.shape[-1] ** -0.5)
            self.blocks[key] = quantize(rows, tensor.type)
        block, unit = self.blocks[key], gguf.GGML_QUANT_SIZES[tensor.type][1]
        left = prod(tensor.byte_shape)
        while left > 0:
            start = unit * int(self.random.integers(len(block) // unit // 2))
            part = block[start : start + left]
            yield part
            left -= len(part)


def add_tokenizer(writer: gguf.GGUFWriter) -> None:
    tokenizer = json.loads(lzma.decompress(TOKENIZER.read_bytes()))
    tokens = [f"[PAD{i}]" for i in range(VOCAB)]
    kinds = [int(gguf.TokenType.UNUSED)] * VOCAB
    for token, i in tokenizer["model"]["vocab"].items():
        tokens[i], kinds[i] = token, int(gguf.TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        tokens[added["id"]] = added["content"]
        kinds[added["id"]] = int(gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED)
    merges = tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(151643)
    writer.add_pad_token_id(151643)
    writer.add_add_bos_token(False)


def add_config(writer: gguf.GGUFWriter, size: str, file_type: str) -> None:
    hidden, layers, heads, kv_heads, intermediate, _ = SIZES[size]
    writer.add_name(f"Qwen3 {size.upper()} with random weights")
    writer.add_file_type(FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(32768)
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(3 * hidden if is_moe(size) else intermediate)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_key_length(HEAD_DIM)
    writer.add_value_length(HEAD_DIM)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    if is_moe(size):
        writer.add_expert_count(NUM_EXPERTS)
        writer.add_expert_used_count(EXPERTS_USED)
        writer.add_expert_feed_forward_length(intermediate)


def write_gguf(size: str, file_type: str, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen3moe" if is_moe(size) else "qwen3")
    add_config(writer, size, file_type)
    add_tokenizer(writer)
    for tensor in tensors(size, file_type):
        if tensor.type == Type.F32:
            writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), 4 * prod(tensor.shape))
        else:
            writer.add_tensor_info(
                tensor.name, tensor.byte_shape, np.dtype(np.uint8), prod(tensor.byte_shape), tensor.type
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()

    random = RandomBytes()
    with path.open("ab") as file:
        for tensor in tensors(size, file_type):
            file.write(b"\0" * (-file.tell() % writer.data_alignment))
            for part in random.parts(tensor):
                file.write(part.tobytes())
        file.write(b"\0" * (-file.tell() % writer.data_alignment))


def write_whole(size: str, file_type: str, path: Path) -> None:
    """Under another name until it is whole: a file cut short must not pass for one."""
    unfinished = path.with_name(path.name + ".part")
    write_gguf(size, file_type, unfinished)
    unfinished.rename(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("type", choices=FILE_TYPES)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    write_whole(args.size, args.type, args.out)


if __name__ == "__main__":
    main()
