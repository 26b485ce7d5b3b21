#!/usr/bin/env python3
"""Writes tests/data/gguf/blocks.safetensors: random blocks of each of GGUF's formats that qwill reads, and the values
that the pinned gguf package (tests/requirements.txt) makes of them.

    python tools/make_block_goldens.py

"Q4_K.blocks" are bytes [N, bytes of a block], "Q4_K.values" floats [N, columns of a block]. All bits are random but the
scales' signs and exponents, which go through zero, the smallest and the largest numbers of half precision and what lies
between.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import gguf
import numpy as np

OUT = Path(__file__).resolve().parent.parent / "tests/data/gguf/blocks.safetensors"
# Where the half-precision scales of a block begin.
SCALES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
}  # fmt: skip
EXTREME = [0.0, -0.0, 6e-8, -6e-8, 6e-5, 6.1e-5, 0.01, -0.02, 1.0, 65504.0, -65504.0]


def blocks_of(name: str, draw: np.random.Generator) -> np.ndarray:
    cols, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    count = 16 if cols == 32 else 8
    blocks = draw.integers(0, 256, (count, size), np.uint8)
    for place, at in enumerate(SCALES[name]):
        scales = [EXTREME[(i * (place + 1) + 3 * place) % len(EXTREME)] for i in range(count // 2)]
        scales += list(draw.standard_normal(count - len(scales)) * 0.02)
        blocks[:, at : at + 2] = np.array(scales, np.float16).view(np.uint8).reshape(count, 2)
    return blocks


def main() -> None:
    draw = np.random.Generator(np.random.PCG64(41))
    header, data = {}, b""
    for name in SCALES:
        blocks = blocks_of(name, draw)
        values = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name])
        assert np.isfinite(values).all()
        for what, dtype, array in (("values", "F32", values), ("blocks", "U8", blocks)):
            header[f"{name}.{what}"] = {
                "dtype": dtype,
                "shape": list(array.shape),
                "data_offsets": [len(data), len(data) + array.nbytes],
            }
            data += array.tobytes()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_bytes(struct.pack("<Q", len(text)) + text + data)


if __name__ == "__main__":
    main()
