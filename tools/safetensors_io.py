"""Reading and writing safetensors files with numpy alone.

Written by hand, not taken from the safetensors package, for two reasons: the bytes must be the same on every run (the
package keeps metadata in a hash map, in no fixed order), and numpy has no bfloat16. A bfloat16 tensor is held here as
`Bf16`, the upper halves of float32 values.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Bf16:
    """A bfloat16 tensor: `bits` holds the upper 16 bits of each float32."""

    bits: np.ndarray

    @staticmethod
    def round(values: np.ndarray) -> Bf16:
        """Rounds finite float32 values to the nearest bfloat16, ties to even."""
        wide = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
        rounded = (wide + 0x7FFF + ((wide >> 16) & 1)) >> 16
        return Bf16(rounded.astype(np.uint16))

    def widen(self) -> np.ndarray:
        """The same values as float32."""
        return (self.bits.astype(np.uint32) << 16).view(np.float32)


Tensor = np.ndarray | Bf16

_NAMES = {
    np.dtype("<f8"): "F64",
    np.dtype("<f4"): "F32",
    np.dtype("<f2"): "F16",
    np.dtype("<i8"): "I64",
    np.dtype("<i4"): "I32",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}


def _raw(tensor: Tensor) -> tuple[str, np.ndarray]:
    if isinstance(tensor, Bf16):
        return "BF16", np.ascontiguousarray(tensor.bits, dtype="<u2")
    return _NAMES[tensor.dtype.newbyteorder("<")], np.ascontiguousarray(tensor)


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes one file. Wider dtypes come first, then names in order, so that every tensor is aligned to its element."""
    header: dict[str, object] = {}
    if metadata:
        header["__metadata__"] = dict(sorted(metadata.items()))
    blobs: list[bytes] = []
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda kv: (-_raw(kv[1])[1].itemsize, kv[0])):
        dtype, data = _raw(tensor)
        begin, end = end, end + data.nbytes
        header[name] = {"dtype": dtype, "shape": list(data.shape), "data_offsets": [begin, end]}
        blobs.append(data.tobytes())
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of one file, and its metadata."""
    data = path.read_bytes()
    (header_size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + header_size])
    metadata = header.pop("__metadata__", {})
    tensors: dict[str, Tensor] = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        blob = data[8 + header_size + begin : 8 + header_size + end]
        if entry["dtype"] == "BF16":
            tensors[name] = Bf16(np.frombuffer(blob, "<u2").reshape(entry["shape"]))
        else:
            tensors[name] = np.frombuffer(blob, _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def widen(tensor: Tensor) -> np.ndarray:
    """Any stored tensor as an ordinary array; only bfloat16 changes its type, to float32."""
    return tensor.widen() if isinstance(tensor, Bf16) else tensor
