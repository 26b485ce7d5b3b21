"""Builds one tiny checkpoint folder from a `Spec`: seeded weights, and config.json in the spelling that it asks for."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from golden_specs import Spec
from safetensors_io import Bf16, Tensor, write

_TORCH_NAMES = {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}


def make_config(spec: Spec) -> dict[str, Any]:
    """config.json, as the hub has it (v4) or as transformers 5 saves it (v5)."""
    config: dict[str, Any] = {
        "architectures": ["Qwen3MoeForCausalLM" if spec.moe else "Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": spec.head_dim,
        "hidden_act": "silu",
        "hidden_size": spec.hidden,
        "initializer_range": 0.02,
        "intermediate_size": spec.intermediate,
        "max_position_embeddings": spec.max_position,
        "max_window_layers": spec.layers,
        "model_type": spec.model_type,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.layers,
        "num_key_value_heads": spec.kv_heads,
        "rms_norm_eps": 1e-06,
        "sliding_window": None,
        "tie_word_embeddings": spec.tied,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": spec.vocab,
    }
    if spec.moe:
        moe = spec.moe
        config |= {
            "decoder_sparse_step": moe.sparse_step,
            "mlp_only_layers": list(moe.mlp_only_layers),
            "moe_intermediate_size": moe.intermediate,
            "num_experts_per_tok": moe.top_k,
            "output_router_logits": False,
            "router_aux_loss_coef": 0.001,
        }
        if moe.norm_topk_prob is not None:
            config["norm_topk_prob"] = moe.norm_topk_prob
        config["num_local_experts" if spec.spelling == "v5" else "num_experts"] = moe.experts
    if spec.spelling == "v5":
        config |= {
            "dtype": _TORCH_NAMES[spec.dtype],
            "pad_token_id": None,
            "rope_parameters": {"rope_theta": spec.theta} | (spec.rope_scaling or {"rope_type": "default"}),
            "transformers_version": "5.17.0",
        }
        if not spec.moe:
            config["layer_types"] = ["full_attention"] * spec.layers
    else:
        config |= {
            "rope_scaling": spec.rope_scaling,
            "rope_theta": spec.theta,
            "torch_dtype": _TORCH_NAMES[spec.dtype],
            "transformers_version": "4.51.0",
        }
    config |= spec.config_extra
    return {key: value for key, value in sorted(config.items()) if key not in spec.omit}


def make_weights(spec: Spec) -> dict[str, np.ndarray]:
    """Random weights that behave like trained ones: peaked attention, logits with a spread of about 3, a residual
    stream that every layer adds about its own size to, routers with clear and with close decisions."""
    rng = np.random.Generator(np.random.PCG64([zlib.crc32(spec.name.encode()), spec.seed]))
    hidden, head_dim = spec.hidden, spec.head_dim

    def matrix(rows: int, columns: int, gain: float) -> np.ndarray:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(gain / np.sqrt(columns))

    def norm(size: int, low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, size).astype(np.float32)

    weights: dict[str, np.ndarray] = {"model.embed_tokens.weight": matrix(spec.vocab, hidden, 3.0)}

    def mlp(prefix: str, width: int, gain: float) -> None:
        weights[prefix + "gate_proj.weight"] = matrix(width, hidden, 1.4)
        weights[prefix + "up_proj.weight"] = matrix(width, hidden, 1.4)
        weights[prefix + "down_proj.weight"] = matrix(hidden, width, gain)

    for i in range(spec.layers):
        layer = f"model.layers.{i}."
        weights[layer + "input_layernorm.weight"] = norm(hidden, 0.5, 1.5)
        weights[layer + "self_attn.q_proj.weight"] = matrix(spec.heads * head_dim, hidden, 1.0)
        weights[layer + "self_attn.k_proj.weight"] = matrix(spec.kv_heads * head_dim, hidden, 1.0)
        weights[layer + "self_attn.v_proj.weight"] = matrix(spec.kv_heads * head_dim, hidden, 1.0)
        weights[layer + "self_attn.o_proj.weight"] = matrix(hidden, spec.heads * head_dim, 1.5)
        weights[layer + "self_attn.q_norm.weight"] = norm(head_dim, 1.0, 2.0)
        weights[layer + "self_attn.k_norm.weight"] = norm(head_dim, 1.0, 2.0)
        weights[layer + "post_attention_layernorm.weight"] = norm(hidden, 0.5, 1.5)
        if spec.moe and spec.moe.is_sparse(i):
            weights[layer + "mlp.gate.weight"] = matrix(spec.moe.experts, hidden, 2.0)
            for e in range(spec.moe.experts):
                mlp(f"{layer}mlp.experts.{e}.", spec.moe.intermediate, 1.2)
        else:
            mlp(layer + "mlp.", spec.intermediate, 1.5)
    weights["model.norm.weight"] = norm(hidden, 0.5, 1.5)
    if not spec.tied or spec.stray_lm_head == "different":
        weights["lm_head.weight"] = matrix(spec.vocab, hidden, 3.0)
    elif spec.stray_lm_head == "same":
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    elif spec.stray_lm_head == "only":
        weights["lm_head.weight"] = weights.pop("model.embed_tokens.weight")
    return {
        spec.prefix + name.removeprefix("model.") if name.startswith("model.") else name: values
        for name, values in weights.items()
    }


def _store(spec: Spec, values: np.ndarray) -> Tensor:
    if spec.dtype == "bf16":
        return Bf16.round(values)
    return values.astype(np.float16) if spec.dtype == "f16" else values


def build(spec: Spec, folder: Path) -> None:
    """Writes the folder afresh."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    _write_json(folder / "config.json", make_config(spec))
    _write_json(
        folder / "generation_config.json",
        {"bos_token_id": 1, "do_sample": False, "eos_token_id": [2, 1], "transformers_version": "4.51.0"},
    )
    tensors = {name: _store(spec, values) for name, values in make_weights(spec).items()}
    metadata = {"format": "pt"}
    if spec.shards == 1:
        write(folder / "model.safetensors", tensors, metadata)
        return

    # Shards cut the list of tensors into equal counts, so that one layer's weights lie in different files.
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(spec.shards):
        file_name = f"model-{shard + 1:05}-of-{spec.shards:05}.safetensors"
        part = names[shard * len(names) // spec.shards : (shard + 1) * len(names) // spec.shards]
        write(folder / file_name, {name: tensors[name] for name in part}, metadata)
        weight_map |= {name: file_name for name in part}
    width = {"bf16": 2, "f16": 2, "f32": 4}[spec.dtype]
    total = sum(width * (t.bits.size if isinstance(t, Bf16) else t.size) for t in tensors.values())
    _write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
