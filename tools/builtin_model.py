"""The built-in models: their shapes, their configuration files and how they are written and read."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ROWS = 2560
END_ID, TURN_END_ID = 2540, 2542  # <|endoftext|>, <|im_end|>
MODELS = Path(__file__).resolve().parent.parent / "models"

_COMMON = {
    "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": END_ID, "eos_token_id": END_ID, "head_dim": 128,
    "hidden_act": "silu", "hidden_size": 256, "initializer_range": 0.02, "max_position_embeddings": 2048,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "rope_scaling": None,
    "rope_theta": 1000000, "sliding_window": None, "tie_word_embeddings": True, "torch_dtype": "bfloat16",
    "transformers_version": "4.51.0", "use_cache": True, "use_sliding_window": False, "vocab_size": ROWS,
}
CONFIGS: dict[str, dict] = {
    "nib": _COMMON | {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "intermediate_size": 512,
        "num_hidden_layers": 5, "max_window_layers": 5,
    },
    "nib-moe": _COMMON | {
        "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "intermediate_size": 512,
        "num_hidden_layers": 2, "max_window_layers": 2, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "moe_intermediate_size": 256, "norm_topk_prob": True, "num_experts": 4, "num_experts_per_tok": 2,
        "output_router_logits": False, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001,
    },
}
GENERATION = {
    "bos_token_id": END_ID, "do_sample": False, "eos_token_id": [END_ID, TURN_END_ID], "max_new_tokens": 512,
    "pad_token_id": END_ID, "transformers_version": "4.51.0",
}


def build(name: str) -> torch.nn.Module:
    """An untrained model of transformers' own class, in float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = dict(CONFIGS[name])
    config.pop("transformers_version")
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(config.pop("model_type"), **config), dtype=torch.float32, attn_implementation="sdpa"
    )


def published_tensors(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under their published names: one matrix an expert, no second copy of tied embeddings, bfloat16."""
    out: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        tensor = tensor.detach().to("cpu", torch.bfloat16)
        if name == "lm_head.weight":
            continue
        if name.endswith("experts.gate_up_proj"):
            stem = name.removesuffix("gate_up_proj")
            for expert, matrix in enumerate(tensor):
                gate, up = matrix.chunk(2)
                out[f"{stem}{expert}.gate_proj.weight"] = gate.contiguous()
                out[f"{stem}{expert}.up_proj.weight"] = up.contiguous()
        elif name.endswith("experts.down_proj"):
            stem = name.removesuffix("down_proj")
            for expert, matrix in enumerate(tensor):
                out[f"{stem}{expert}.down_proj.weight"] = matrix.contiguous()
        else:
            out[name] = tensor.contiguous()
    return out


def save(name: str, model: torch.nn.Module, folder: Path) -> None:
    """Writes model.safetensors, config.json and generation_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(published_tensors(model.state_dict()), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    for file, data in (("config.json", CONFIGS[name]), ("generation_config.json", GENERATION)):
        (folder / file).write_text(json.dumps(dict(sorted(data.items())), indent=2) + "\n")


def load(folder: Path, device: str) -> torch.nn.Module:
    """The saved model as transformers reads it."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa").to(device).eval()
