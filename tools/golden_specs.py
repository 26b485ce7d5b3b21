"""The tiny checkpoints behind tests/data: one for each shape family and each way a checkpoint can be written down.

Shapes keep the proportions that matter (heads * head_dim against hidden_size, query heads per key head, tied or not)
and nothing of the size. `tools/make_goldens.py` builds them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Spelling = Literal["v4", "v5"]


@dataclass(frozen=True)
class Moe:
    """The mixture-of-experts half of a spec."""

    experts: int
    top_k: int
    intermediate: int
    norm_topk_prob: bool | None = True  # None: key absent
    sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()

    def is_sparse(self, layer: int) -> bool:
        return layer not in self.mlp_only_layers and (layer + 1) % self.sparse_step == 0


@dataclass(frozen=True)
class Spec:
    """One checkpoint and the sequences that its reference file is made of."""

    name: str
    about: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int = 128
    tied: bool = False
    dtype: Literal["bf16", "f16", "f32"] = "bf16"
    theta: float | int = 1000000
    max_position: int = 40960
    spelling: Spelling = "v4"
    rope_scaling: dict[str, Any] | None = None
    omit: tuple[str, ...] = ()  # keys left out of config.json
    config_extra: dict[str, Any] = field(default_factory=dict)  # keys added or overwritten, last
    moe: Moe | None = None
    shards: int = 1
    stray_lm_head: Literal["none", "same", "different", "only"] = "none"  # a head stored in spite of tied
    prefix: str = "model."  # of every tensor but the head
    seq_lens: tuple[int, ...] = (1, 2, 7, 33, 64, 128, 129, 160)
    num_rows: int | None = None  # logit rows kept, evenly spread; None: all
    seed: int = 0

    @property
    def model_type(self) -> str:
        return "qwen3_moe" if self.moe else "qwen3"


# Rows of every length near the 128-key tile, and past eight tiles (1,024 keys) where the name says so.
LONG = (1, 2, 7, 33, 257, 1200)

DENSE = [
    Spec("06b", "like 0.6B: tied and yet stores the same head; heads * head_dim = 2 hidden; 2 query heads a key head",
         hidden=64, layers=3, heads=4, kv_heads=2, head_dim=32, intermediate=192, tied=True, stray_lm_head="same"),
    Spec("17b", "like 1.7B: tied; heads * head_dim = hidden; config as transformers 5 saves it; vocabulary of 1,000",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=32, intermediate=192, vocab=1000, tied=True, spelling="v5",
         num_rows=100),
    Spec("4b-2507", "like 4B-2507: tied; heads * head_dim = 1.6 hidden; 4 query heads a key head; rope_theta 5e6",
         hidden=80, layers=2, heads=4, kv_heads=1, head_dim=32, intermediate=224, tied=True, theta=5000000,
         max_position=262144),
    Spec("8b", "like 8B: untied; heads * head_dim = hidden; 4 query heads a key head",
         hidden=128, layers=2, heads=4, kv_heads=1, head_dim=32, intermediate=160, vocab=256,
         seq_lens=(1, 2, 7, 33, 64, 127, 190)),
    Spec("8b-long", "head_dim 128 and a sequence of 1,200 tokens; 4 query heads a key head",
         hidden=64, layers=2, heads=4, kv_heads=1, head_dim=128, intermediate=96, seq_lens=LONG),
    Spec("14b", "like 14B: 5 query heads a key head; heads * head_dim = hidden",
         hidden=160, layers=2, heads=5, kv_heads=1, head_dim=32, intermediate=96),
    Spec("32b", "like 32B: 8 query heads a key head; in three shards with an index",
         hidden=64, layers=2, heads=8, kv_heads=1, head_dim=32, intermediate=160, shards=3),
    Spec("d128", "head_dim 128; heads * head_dim = 4 hidden; 2 query heads a key head",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=128, intermediate=128),
    Spec("ragged", "hidden 72, intermediate 200, vocabulary 149: nothing is a multiple of 16; 3 query heads a key head",
         hidden=72, layers=2, heads=3, kv_heads=1, head_dim=64, intermediate=200, vocab=149),
    Spec("f16", "float16 weights; 2 query heads a key head",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=64, intermediate=128, dtype="f16"),
    Spec("f32", "float32 weights that bfloat16 cannot hold; as many key heads as query heads",
         hidden=64, layers=2, heads=2, kv_heads=2, head_dim=32, intermediate=96, dtype="f32", spelling="v5"),
    Spec("tied-head", "tied, yet stores another head, which is ignored; sharded",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=32, intermediate=96, vocab=96, tied=True,
         stray_lm_head="different", shards=2),
    Spec("bare", "every key that has a default is absent: head_dim 128, untied, rope_theta 10000, rms_norm_eps 1e-6",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=128, intermediate=96, vocab=96, theta=10000,
         max_position=32768,
         omit=("head_dim", "tie_word_embeddings", "rope_theta", "rope_scaling", "rms_norm_eps", "attention_bias",
               "attention_dropout", "hidden_act", "max_position_embeddings", "sliding_window", "use_sliding_window",
               "max_window_layers", "torch_dtype", "use_cache", "initializer_range", "bos_token_id", "eos_token_id")),
]

YARN_LENS = (1, 2, 7, 33, 64, 65, 150, 250)

YARN = [
    Spec("yarn", "YaRN factor 4 over 64, everything else by default; spelled with rope_type",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=64, intermediate=128, vocab=96, max_position=256,
         rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
         seq_lens=YARN_LENS),
    Spec("yarn-type", "YaRN spelled with type; attention_factor, beta_fast and beta_slow given; head_dim 128",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=128, intermediate=96, vocab=96, max_position=512,
         rope_scaling={"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128,
                       "attention_factor": 1.25, "beta_fast": 8, "beta_slow": 0.5},
         seq_lens=(1, 2, 7, 33, 127, 129, 300)),
    Spec("yarn-mscale", "YaRN in rope_parameters: mscale and mscale_all_dim, not truncated, theta 5e6",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=64, intermediate=128, vocab=96, max_position=1024,
         theta=5000000, spelling="v5",
         rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 256,
                       "mscale": 1.2, "mscale_all_dim": 0.7, "truncate": False},
         seq_lens=(1, 2, 7, 33, 600)),
]

MOE = [
    Spec("moe-30b", "like 30B-A3B: 32 experts, 8 a token; 8 query heads a key head",
         hidden=48, layers=2, heads=8, kv_heads=1, head_dim=32, intermediate=192, vocab=96, theta=1000000.0,
         moe=Moe(experts=32, top_k=8, intermediate=16), seed=3),
    Spec("moe-235b", "like 235B-A22B: 16 query heads a key head",
         hidden=48, layers=2, heads=16, kv_heads=1, head_dim=32, intermediate=192, vocab=96, theta=5000000.0,
         moe=Moe(experts=8, top_k=4, intermediate=24)),
    Spec("moe-odd", "7 experts, 3 a token, weights not normalised; ragged expert width; config of transformers 5",
         hidden=72, layers=2, heads=2, kv_heads=1, head_dim=32, intermediate=96, vocab=96, spelling="v5",
         moe=Moe(experts=7, top_k=3, intermediate=40, norm_topk_prob=False)),
    Spec("moe-sparse", "decoder_sparse_step 2: layers 0 and 2 are dense; sharded",
         hidden=64, layers=4, heads=2, kv_heads=1, head_dim=32, intermediate=112, vocab=96, shards=2,
         moe=Moe(experts=8, top_k=2, intermediate=24, sparse_step=2)),
    Spec("moe-mlp-only", "mlp_only_layers [1]; tied; no head_dim key: hidden / heads; no norm_topk_prob key: false",
         hidden=64, layers=3, heads=2, kv_heads=1, head_dim=32, intermediate=96, vocab=96, tied=True,
         omit=("head_dim",), moe=Moe(experts=6, top_k=3, intermediate=32, norm_topk_prob=None, mlp_only_layers=(1,))),
    Spec("moe-yarn", "tied mixture of experts with YaRN over 64; head_dim 128",
         hidden=64, layers=2, heads=2, kv_heads=1, head_dim=128, intermediate=96, vocab=96, tied=True, max_position=256,
         rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
         seq_lens=YARN_LENS, moe=Moe(experts=8, top_k=4, intermediate=24)),
]

TINY = (1, 2, 7, 20, 33)

# How a checkpoint may be written down, on the smallest model there is.
WRITTEN = [
    Spec("both-spellings", "old and new keys disagree: rope_parameters and dtype win over rope_theta and torch_dtype",
         hidden=64, layers=1, heads=2, kv_heads=1, head_dim=32, intermediate=64, vocab=64, theta=5000000, spelling="v5",
         config_extra={"rope_theta": 10000, "rope_scaling": {}, "torch_dtype": "float32"}, seq_lens=TINY),
    Spec("both-moe", "disagreeing keys: rope_scaling hides rope_parameters, num_local_experts wins over num_experts, "
         "original_max_position_embeddings beside rope_scaling wins over the one in it",
         hidden=64, layers=1, heads=2, kv_heads=1, head_dim=32, intermediate=64, vocab=64, theta=100000,
         rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192},
         config_extra={"rope_parameters": {"rope_type": "default", "rope_theta": 777.0}, "num_local_experts": 5,
                       "num_experts": 3, "original_max_position_embeddings": 16},
         moe=Moe(experts=5, top_k=2, intermediate=16), seq_lens=TINY),
    Spec("head-only", "tied, and stores the matrix as lm_head.weight instead of embed_tokens.weight",
         hidden=64, layers=1, heads=2, kv_heads=1, head_dim=32, intermediate=64, vocab=64, tied=True,
         stray_lm_head="only", seq_lens=TINY),
    Spec("no-prefix", "tensor names without model., as a bare body is saved; tied, no head",
         hidden=64, layers=1, heads=2, kv_heads=1, head_dim=32, intermediate=64, vocab=64, tied=True, prefix="",
         seq_lens=TINY),
]

SPECS = DENSE + YARN + MOE + WRITTEN
