#!/usr/bin/env python3
"""Writes a GGUF file from a checkpoint folder in the hub's format, tokenizer and chat template included.

    python tools/make_gguf.py FOLDER OUT.gguf [--type Q8_0] [--embedding TYPE] [--max-tensors N] [--decoded]

Types: F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0 and Q5_1 as the gguf package makes them; Q4_K, Q5_K and Q6_K as
tools/k_quants.py does, without the search for good scales that llama.cpp's own tool makes. Norms and routers are F32, and
a matrix whose rows are not whole blocks is F16, as in published files. --embedding is the type of embedding and head
(the same by default). --max-tensors splits the model into files NAME-00001-of-0000N.gguf. --decoded stores what the
values became as F32: the same model, for whoever has no kernel for its blocks. Needs the gguf package
(tests/requirements.txt); tensors are read and written one by one, so memory does not depend on the model's size.
"""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

import gguf
import numpy as np

import k_quants

MODEL_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp",
}
EXPERT_NAMES = {"gate_proj": "ffn_gate_exps", "up_proj": "ffn_up_exps", "down_proj": "ffn_down_exps"}
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}


class Checkpoint:
    """The tensors of a folder, mapped."""

    def __init__(self, folder: Path):
        self.entries = {}
        for path in sorted(folder.glob("*.safetensors")):
            with open(path, "rb") as file:
                (size,) = struct.unpack("<Q", file.read(8))
                header = json.loads(file.read(size))
            data = np.memmap(path, np.uint8, "r", 8 + size)
            for name, entry in header.items():
                if name != "__metadata__":
                    self.entries[name] = (entry, data)

    def read(self, name: str) -> np.ndarray:
        """As float32."""
        entry, data = self.entries[name]
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[begin:end].tobytes(), DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        return values.astype(np.float32)

    def shape(self, name: str) -> list[int]:
        return self.entries[name][0]["shape"]


def read_json(path: Path) -> dict:
    return json.loads(path.read_text()) if path.exists() else {}


def plan(checkpoint: Checkpoint, config: dict) -> dict[str, list[str]]:
    """GGUF's name of each tensor, and the checkpoint's tensors that it is made of: experts are stacked."""
    tensors = {}
    for hub, name in MODEL_NAMES.items():
        if hub in checkpoint.entries and not (hub == "lm_head.weight" and config.get("tie_word_embeddings")):
            tensors[name] = [hub]
    for i in range(config["num_hidden_layers"]):
        for hub, name in LAYER_NAMES.items():
            source = f"model.layers.{i}.{hub}.weight"
            if source in checkpoint.entries:
                tensors[f"blk.{i}.{name}.weight"] = [source]
        for hub, name in EXPERT_NAMES.items():
            experts = [f"model.layers.{i}.mlp.experts.{e}.{hub}.weight" for e in range(config.get("num_experts") or 0)]
            if experts and experts[0] in checkpoint.entries:
                tensors[f"blk.{i}.{name}.weight"] = experts
    return tensors


def type_of(name: str, cols: int, wanted: str, embedding: str) -> gguf.GGMLQuantizationType:
    types = gguf.GGMLQuantizationType
    if name.endswith("_norm.weight") or "ffn_gate_inp" in name:
        return types.F32
    chosen = types[embedding if name in ("token_embd.weight", "output.weight") else wanted]
    return chosen if cols % gguf.GGML_QUANT_SIZES[chosen][0] == 0 else types.F16


def quantize(values: np.ndarray, qtype: gguf.GGMLQuantizationType) -> np.ndarray:
    make = k_quants.QUANTIZERS.get(qtype.name)
    return make(values) if make else gguf.quants.quantize(values, qtype)


def add_config(writer: gguf.GGUFWriter, config: dict) -> None:
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    rope = config.get("rope_scaling") or {}
    writer.add_rope_freq_base(config["rope_theta"])
    if rope.get("rope_type", rope.get("type")) == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope["factor"])
        if "original_max_position_embeddings" in rope:
            writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if "num_experts" in config:
        writer.add_expert_count(config["num_experts"])
        writer.add_expert_used_count(config["num_experts_per_tok"])
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, config: dict) -> None:
    tokenizer = read_json(folder / "tokenizer.json")
    if not tokenizer:
        return
    tokens = {index: token for token, index in tokenizer["model"]["vocab"].items()}
    types = dict.fromkeys(tokens, gguf.TokenType.NORMAL)
    for added in tokenizer["added_tokens"]:
        content = added["content"]
        looks_special = content.startswith("<|") and content.endswith("|>")
        tokens[added["id"]] = content
        control = added["special"] or looks_special
        types[added["id"]] = gguf.TokenType.CONTROL if control else gguf.TokenType.USER_DEFINED
    size = max(config.get("vocab_size", 0), max(tokens) + 1)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([tokens.get(i, f"[PAD{i}]") for i in range(size)])
    writer.add_token_types([types.get(i, gguf.TokenType.UNUSED) for i in range(size)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_add_bos_token(False)
    settings = read_json(folder / "tokenizer_config.json")
    template = settings.get("chat_template")
    if (folder / "chat_template.jinja").exists():
        template = (folder / "chat_template.jinja").read_text()
    if template:
        writer.add_chat_template(template)


def add_generation(writer: gguf.GGUFWriter, folder: Path, config: dict) -> None:
    generation = config | read_json(folder / "generation_config.json")
    ends = generation.get("eos_token_id")
    for add, index in zip(
        (writer.add_eos_token_id, writer.add_eot_token_id), ends if isinstance(ends, list) else [ends]
    ):
        if index is not None:
            add(index)
    if generation.get("pad_token_id") is not None:
        writer.add_pad_token_id(generation["pad_token_id"])
    if generation.get("do_sample"):
        writer.add_sampling_temp(generation.get("temperature", 1.0))
        writer.add_sampling_top_k(generation.get("top_k", 50))
        writer.add_sampling_top_p(generation.get("top_p", 1.0))


def make_gguf(
    folder: Path, out: Path, wanted: str, embedding: str, max_tensors: int = 0, decoded: bool = False
) -> None:
    config = read_json(folder / "config.json")
    checkpoint = Checkpoint(folder)
    architecture = "qwen3moe" if config["model_type"] == "qwen3_moe" else "qwen3"
    writer = gguf.GGUFWriter(out, architecture, split_max_tensors=max_tensors)
    add_config(writer, config)
    add_tokenizer(writer, folder, config)
    add_generation(writer, folder, config)
    tensors = plan(checkpoint, config)
    types = {}
    for name, sources in tensors.items():
        shape = checkpoint.shape(sources[0])
        if len(sources) > 1 or "_exps" in name:
            shape = [len(sources), *shape]
        types[name] = qtype = type_of(name, shape[-1], wanted, embedding)
        stored = gguf.GGMLQuantizationType.F32 if decoded else qtype
        cols, size = gguf.GGML_QUANT_SIZES[stored]
        num_bytes = int(np.prod(shape)) // cols * size
        writer.add_tensor_info(name, shape, np.dtype(np.float32), num_bytes, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, sources in tensors.items():
        parts = [quantize(checkpoint.read(source), types[name]) for source in sources]
        if decoded:
            parts = [gguf.quants.dequantize(part, types[name]) for part in parts]
        writer.write_tensor_data(np.stack(parts) if "_exps" in name else parts[0])
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--type", default="Q8_0")
    parser.add_argument("--embedding")
    parser.add_argument("--max-tensors", type=int, default=0)
    parser.add_argument("--decoded", action="store_true")
    args = parser.parse_args()
    make_gguf(args.folder, args.out, args.type, args.embedding or args.type, args.max_tensors, args.decoded)


if __name__ == "__main__":
    main()
