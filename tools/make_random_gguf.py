"""Writes a GGUF file of a published size with random weights, for measuring engines that read GGUF.

    python tools/make_random_gguf.py 8b Q4_K_M OUT.gguf        (needs numpy and gguf)

Matrices are normal numbers of variance 1 / columns, so that activations stay finite, quantised as llama-quantize would:
Q8_0, Q4_0 (output head in Q6_K), Q4_K_M (Q4_K; head, and half of attn_v and ffn_down, in Q6_K), BF16. The tokenizer is
the published one. To be quick whatever the size, blocks are quantised once and matrices cut from them at changing places.
"""

from __future__ import annotations

import argparse
import lzma
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from make_gguf import add_config, add_generation, add_tokenizer, quantize
from make_random_checkpoint import HEAD_DIM, VOCAB, dense_config
from make_random_checkpoint import SIZES as DENSE_SIZES

SIZES = DENSE_SIZES | {"30b-a3b": (2048, 48, 32, 4, 768, False)}
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
            self.blocks[key] = np.ascontiguousarray(quantize(rows, tensor.type)).view(np.uint8).reshape(-1)
        block, unit = self.blocks[key], gguf.GGML_QUANT_SIZES[tensor.type][1]
        left = prod(tensor.byte_shape)
        while left > 0:
            start = unit * int(self.random.integers(len(block) // unit // 2))
            part = block[start : start + left]
            yield part
            left -= len(part)


def add_metadata(writer: gguf.GGUFWriter, size: str, file_type: str) -> None:
    settings = dense_config(*SIZES[size])
    if is_moe(size):
        experts = {"num_experts": NUM_EXPERTS, "num_experts_per_tok": EXPERTS_USED, "intermediate_size": 6144}
        settings |= experts | {"moe_intermediate_size": SIZES[size][4]}
    writer.add_name(f"Qwen3 {size.upper()} with random weights")
    writer.add_file_type(FILE_TYPES[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_config(writer, settings)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.json").write_bytes(lzma.decompress(TOKENIZER.read_bytes()))
        add_tokenizer(writer, Path(folder), settings)
        add_generation(writer, Path(folder), settings)


def write_gguf(size: str, file_type: str, path: Path) -> None:
    writer = gguf.GGUFWriter(path, "qwen3moe" if is_moe(size) else "qwen3")
    add_metadata(writer, size, file_type)
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
