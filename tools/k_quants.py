"""Matrices in GGUF's K-blocks of 256 columns, which the gguf package reads but does not make. Scales are those of the
largest magnitude, or of the range; nothing is searched for."""

from __future__ import annotations

import numpy as np


def _halves(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[N] numbers as half precision: the bytes, and what they stand for."""
    half = values.astype(np.float16)
    return half.view(np.uint8).reshape(-1, 2), half.astype(np.float32)


def _inverse(values: np.ndarray) -> np.ndarray:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values != 0)


def _packed_scales(scales: np.ndarray, minima: np.ndarray) -> np.ndarray:
    """Eight scales and eight minima of six bits each, [N, 8] both, as 12 bytes."""
    low, high = scales[:, :4], scales[:, 4:]
    low_min, high_min = minima[:, :4], minima[:, 4:]
    return np.concatenate(
        [low | (high >> 4) << 6, low_min | (high_min >> 4) << 6, (high & 15) | (high_min & 15) << 4], axis=1
    ).astype(np.uint8)


def _ranges(blocks: np.ndarray, levels: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Blocks [N, 8, 32] as scale * level - minimum: the bytes of all scales, and the levels."""
    minimum = np.maximum(0, -blocks.min(axis=2))
    scale = (blocks.max(axis=2) + minimum) / levels
    d_bytes, d = _halves(scale.max(axis=1) / 63)
    m_bytes, m = _halves(minimum.max(axis=1) / 63)
    scales = np.rint(scale * _inverse(d)[:, None]).clip(0, 63).astype(np.uint8)
    minima = np.rint(minimum * _inverse(m)[:, None]).clip(0, 63).astype(np.uint8)
    steps = (d[:, None] * scales)[:, :, None]
    level = np.rint((blocks + (m[:, None] * minima)[:, :, None]) * _inverse(steps)).clip(0, levels).astype(np.uint8)
    return [d_bytes, m_bytes, _packed_scales(scales, minima)], level


def _nibbles(level: np.ndarray) -> np.ndarray:
    """Levels [N, 8, 32]: of each pair of 32, the first in the low halves of 32 bytes, the second in the high ones."""
    return (level[:, 0::2] & 15 | (level[:, 1::2] & 15) << 4).reshape(len(level), -1)


def q4_k(values: np.ndarray) -> np.ndarray:
    parts, level = _ranges(values.reshape(-1, 8, 32), 15)
    return np.concatenate([*parts, _nibbles(level)], axis=1).reshape(*values.shape[:-1], -1)


def q5_k(values: np.ndarray) -> np.ndarray:
    parts, level = _ranges(values.reshape(-1, 8, 32), 31)
    fifth = np.bitwise_or.reduce((level >> 4) << np.arange(8, dtype=np.uint8)[:, None], axis=1)
    return np.concatenate([*parts, fifth, _nibbles(level)], axis=1).reshape(*values.shape[:-1], -1)


def q6_k(values: np.ndarray) -> np.ndarray:
    blocks = values.reshape(-1, 16, 16)
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2)[:, :, None], axis=2)[:, :, 0]
    scale = extreme / -32
    largest = np.take_along_axis(scale, np.abs(scale).argmax(axis=1)[:, None], axis=1)[:, 0]
    d_bytes, d = _halves(largest / -128)
    scales = np.rint(scale * _inverse(d)[:, None]).clip(-128, 127).astype(np.int8)
    steps = (d[:, None] * scales)[:, :, None]
    level = (np.rint(blocks * _inverse(steps)).clip(-32, 31) + 32).astype(np.uint8).reshape(-1, 2, 4, 32)
    low = np.concatenate([level[:, :, :2] & 15 | (level[:, :, 2:] & 15) << 4], axis=2).reshape(len(level), -1)
    high = np.bitwise_or.reduce((level >> 4) << np.array([0, 2, 4, 6], np.uint8)[:, None], axis=2)
    packed = [low, high.reshape(len(level), -1), scales.view(np.uint8), d_bytes]
    return np.concatenate(packed, axis=1).reshape(*values.shape[:-1], -1)


QUANTIZERS = {"Q4_K": q4_k, "Q5_K": q5_k, "Q6_K": q6_k}
