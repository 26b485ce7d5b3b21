"""The Qwen3 forward pass in plain numpy, in float64, from nothing but a checkpoint folder.

A second opinion on the reference: written from the formulas, sharing no code with it. Rotary angles are rounded to
float32 where the reference does so, since that rounding moves the result at long positions; all else is float64.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from safetensors_io import read, widen

Array = np.ndarray


@dataclass(frozen=True)
class Rope:
    """Inverse frequencies [D / 2], float32, and the factor that multiplies cos and sin."""

    inv_freq: Array
    scale: float


def rope_settings(config: dict[str, Any]) -> dict[str, Any]:
    """One dictionary out of the old spelling (rope_theta, rope_scaling) and the new one (rope_parameters)."""
    rope = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    rope.setdefault("rope_theta", config.get("rope_theta", 10000.0))
    rope.setdefault("rope_type", rope.get("type", "default"))
    if "original_max_position_embeddings" in config:
        rope["original_max_position_embeddings"] = config["original_max_position_embeddings"]
    rope.setdefault("original_max_position_embeddings", config.get("max_position_embeddings", 32768))
    return rope


def make_rope(config: dict[str, Any], head_dim: int) -> Rope:
    rope = rope_settings(config)
    theta = rope["rope_theta"]
    exponent = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    period = (float(theta) ** exponent.astype(np.float64)).astype(np.float32)
    plain = np.float32(1) / period
    if rope["rope_type"] == "default":
        return Rope(plain, 1.0)
    if rope["rope_type"] != "yarn":
        raise ValueError(f"rope type {rope['rope_type']}")

    factor = rope["factor"]
    original = rope["original_max_position_embeddings"]
    if factor is None:
        factor = config.get("max_position_embeddings", 32768) / original

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    scale = rope.get("attention_factor")
    if scale is None:
        a, b = rope.get("mscale"), rope.get("mscale_all_dim")
        scale = mscale(a) / mscale(b) if a and b else mscale(1.0)

    def dimension(rotations: float) -> float:
        """The index at which a wave turns this many times over the original context."""
        return head_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(rope.get("beta_fast") or 32), dimension(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    one = np.float32(1)
    ramp = np.clip((np.arange(head_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(high - low), 0, one)
    keep = one - ramp  # the share of the unscaled frequency
    inv_freq = one / (np.float32(factor) * period) * (one - keep) + plain * keep
    return Rope(inv_freq, scale)


class NumpyQwen3:
    """A dense or mixture-of-experts Qwen3, run one whole sequence at a time."""

    def __init__(self, folder: Path) -> None:
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self.weights: dict[str, Array] = {}
        for path in sorted(folder.glob("*.safetensors")):
            for name, tensor in read(path)[0].items():
                full_name = name if name.startswith(("model.", "lm_head.")) else "model." + name
                self.weights[full_name] = widen(tensor).astype(np.float64)
        # A tied head is the embedding, whatever else is stored; where only a head is stored, it is both.
        self.embedding = self.weights.get("model.embed_tokens.weight")
        self.head = self.weights.get("lm_head.weight")
        if self.config.get("tie_word_embeddings", False):
            self.embedding = self.head if self.embedding is None else self.embedding
            self.head = self.embedding
        if self.embedding is None or self.head is None:
            raise ValueError(f"{folder}: no embed_tokens.weight or no lm_head.weight")
        self.moe = self.config["model_type"] == "qwen3_moe"
        self.heads = self.config["num_attention_heads"]
        self.kv_heads = self.config["num_key_value_heads"]
        default_head_dim = self.config["hidden_size"] // self.heads if self.moe else 128
        self.head_dim = self.config.get("head_dim", default_head_dim)
        self.eps = self.config.get("rms_norm_eps", 1e-6)
        self.rope = make_rope(self.config, self.head_dim)
        self.router_margin = math.inf  # smallest gap seen between the last chosen expert and the next, in logits

    def w(self, name: str) -> Array:
        return self.weights[name + ".weight"]

    def norm(self, x: Array, name: str) -> Array:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w(name)

    def rotate(self, x: Array) -> Array:
        """x [T, H, D]: each pair (i, i + D/2) turned by its position's angle, and scaled."""
        angle = np.arange(len(x), dtype=np.float32)[:, None] * self.rope.inv_freq
        angle = angle.astype(np.float64)[:, None, :]
        cos, sin = np.cos(angle) * self.rope.scale, np.sin(angle) * self.rope.scale
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, x: Array, layer: str) -> Array:
        tokens = len(x)
        q = (x @ self.w(layer + "q_proj").T).reshape(tokens, self.heads, self.head_dim)
        k = (x @ self.w(layer + "k_proj").T).reshape(tokens, self.kv_heads, self.head_dim)
        v = (x @ self.w(layer + "v_proj").T).reshape(tokens, self.kv_heads, self.head_dim)
        q = self.rotate(self.norm(q, layer + "q_norm"))
        k = self.rotate(self.norm(k, layer + "k_norm"))
        future = np.triu(np.ones((tokens, tokens), bool), 1)
        out = np.empty_like(q)
        for h in range(self.heads):
            kv = h * self.kv_heads // self.heads
            scores = q[:, h] @ k[:, kv].T / math.sqrt(self.head_dim)
            scores[future] = -np.inf
            p = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, h] = p @ v[:, kv] / p.sum(-1, keepdims=True)
        return out.reshape(tokens, -1) @ self.w(layer + "o_proj").T

    def gated_mlp(self, x: Array, prefix: str) -> Array:
        gate = x @ self.w(prefix + "gate_proj").T
        up = x @ self.w(prefix + "up_proj").T
        return gate / (1 + np.exp(-gate)) * up @ self.w(prefix + "down_proj").T

    def experts(self, x: Array, prefix: str) -> Array:
        top_k = self.config["num_experts_per_tok"]
        logits = x @ self.w(prefix + "gate").T
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        order = np.argsort(-p, axis=-1, kind="stable")
        ranked = np.take_along_axis(logits, order, -1)
        if top_k < logits.shape[1]:
            self.router_margin = min(self.router_margin, (ranked[:, top_k - 1] - ranked[:, top_k]).min())
        out = np.zeros_like(x)
        for t, chosen in enumerate(order[:, :top_k]):
            weight = p[t, chosen]
            if self.config.get("norm_topk_prob", False):
                weight = weight / weight.sum()
            for e, share in zip(chosen, weight):
                out[t] += share * self.gated_mlp(x[t], f"{prefix}experts.{e}.")
        return out

    def is_sparse(self, layer: int) -> bool:
        experts = self.config.get("num_local_experts", self.config.get("num_experts", 128))
        return (
            self.moe
            and experts > 0
            and layer not in (self.config.get("mlp_only_layers") or [])
            and (layer + 1) % self.config.get("decoder_sparse_step", 1) == 0
        )

    def forward(self, ids: Array) -> tuple[Array, list[Array]]:
        """Logits [T, V], and the residual stream entering each layer and the final norm."""
        x = self.embedding[ids]
        hidden = [x]
        for i in range(self.config["num_hidden_layers"]):
            layer = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, layer + "input_layernorm"), layer + "self_attn.")
            y = self.norm(x, layer + "post_attention_layernorm")
            x = x + (self.experts if self.is_sparse(i) else self.gated_mlp)(y, layer + "mlp.")
            hidden.append(x)
        return self.norm(x, "model.norm") @ self.head.T, hidden
