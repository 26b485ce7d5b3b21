// The op set: every step of the model's maths as a virtual call, and the whole contract between the model and a
// backend. Letters in shapes: T rows, C hidden, H heads, KV kv heads, D head_dim, F intermediate, V vocabulary,
// E experts, R logit rows. What each op must equal is written as plain loops in ops/reference.cpp.
//
// Rounding: the residual stream, all sums, norms, softmax, router and logits are float32. Where a weight was placed
// with Compute::bf16 or int4, the activations that meet it are rounded to bf16 just before the product, and nowhere
// else. On the CPU weights in int8, int4 and blocks of files meet activations rounded to eight bits with a scale for
// each 32 columns of a row (cpu/panels.h). With Compute::fp8 both are rounded to e4m3 there, divided by scales: of a
// weight's row the scale is its largest magnitude / 448, of activations that of each 128 columns of a row
// (tensor/fp8.h); results of attend and norm_gated_mlp may be rounded to bf16 on the way. What a cache of fewer bits
// holds is rounded when it is stored: to f8_e4m3 to the nearest (ties to even, beyond 448 to 448, NaN stays), without
// scales; everybody reads that, the row itself and those of the same step too.
//
// Determinism: each output row depends on its own row only, and a sum's order is fixed by the weight's shape and dtype:
// the same bits whatever else is in the batch, however it was chunked, however many threads run.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/memory_ledger.h"
#include "ops/batch.h"
#include "ops/paged_kv.h"
#include "ops/rope.h"
#include "ops/sampling.h"
#include "tensor/block_format.h"
#include "tensor/tensor.h"

namespace qwill {

// How a weight enters products. int4: on cards as bf16 numbers of four bits and a scale for each group of columns
// (tensor/int4.h), which meet activations as those of bf16 do. Not every backend takes fp8 and int8.
enum class Compute : uint8_t { f32, bf16, fp8, int8, int4 };

// Whether weight and activations meet as bf16.
constexpr bool meets_bf16(Compute compute) { return compute == Compute::bf16 || compute == Compute::int4; }

// Random values instead of stored ones, for measurements: uniform in centre ± spread.
struct RandomFill {
  uint64_t seed = 0;
  float centre = 0;
  float spread = 0;
};

// Rows of one stored matrix: row-major [rows, cols], any alignment, alive as long as the weight.
struct WeightSource {
  const void* data = nullptr;  // null: see `random`
  DType dtype = DType::bf16;   // f32, bf16 or f16; of blocks: nothing
  int64_t rows = 0;
  int64_t cols = 0;
  BlockFormat format = BlockFormat::none;
  bool sensitive = false;  // few weights on which much depends: int4 keeps them in six bits on a CPU
  RandomFill random = {};  // where data is null; only devices with memory of their own make their values in place
};

// What a placed weight is for.
enum class WeightUse : uint8_t {
  matrix,   // operand of a product; may be gathered from as well (a tied embedding is one weight)
  gated,    // the same for norm_gated_mlp and moe_add: its sources are pairs, gate then up
  experts,  // the same for moe_add's down: one source for each expert
  table,    // of embeddings, only gathered from
  vector,   // a norm's scale, kept in f32
};

// The slice of a weight that this rank owns. One rank owns everything for now.
struct Shard {
  enum class Axis : uint8_t { none, rows, cols };
  Axis axis = Axis::none;
  int32_t rank = 0;
  int32_t world = 1;
};

// A weight where the backend wants it. Only the backend knows how.
struct PlacedWeight {
  int64_t rows = 0;
  int64_t cols = 0;
  bool keeps_sources = true;  // they are read after place as well
  virtual ~PlacedWeight() = default;
  // Bytes that a product with all of it reads, scales included.
  virtual int64_t read_bytes() const = 0;
};
using Weight = std::shared_ptr<const PlacedWeight>;

// A root-mean-square norm (Zhang & Sennrich 2019, arXiv:1910.07467): y = x / sqrt(mean(x^2) + eps) * weight.
struct Norm {
  Weight weight;
  float eps = 1e-6f;
};

// A mixture-of-experts layer's weights.
struct MoeWeights {
  Weight router;   // [E, C], f32 product whatever the compute dtype
  Weight gate_up;  // [E * 2F, C]: gate then up rows of expert 0, of expert 1, …; WeightUse::gated, 2 E sources
  Weight down;     // [E * C, F]; WeightUse::experts, E sources
  int64_t num_experts = 0;
  int64_t num_experts_per_tok = 0;
  bool norm_topk_prob = false;  // divide the chosen probabilities by their sum
};

// Shapes are checked here, once, before dispatch. Results are views into memory that the Ops owns, at stable addresses:
// valid until the same op is called again.
class Ops {
 public:
  virtual ~Ops() = default;

  // Weights of so many bytes are about to be placed: room for them may be taken in one piece.
  virtual void expect_weights(int64_t) {}
  // Whether place takes such blocks; if not, it throws Error(unsupported) that names them.
  virtual bool takes(BlockFormat format) const { return format == BlockFormat::none; }
  // How weights in blocks enter products where nobody chose.
  virtual Compute block_compute() const { return Compute::bf16; }
  // Sources are row segments of one matrix (q|k|v, gate|up), all with the same number of columns.
  Weight place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard& shard = {});
  // How the output head enters products where layers enter so; beyond that WeightSource::sensitive asks for more bits.
  virtual Compute head_compute(Compute layers) const { return layers == Compute::f32 ? Compute::f32 : Compute::bf16; }
  // The element type of the cache that suits the weights placed so far.
  virtual DType kv_dtype() const { return DType::f32; }
  // Memory for a cache, every value finite. The result's geometry may pad the head's dimensions further than was asked
  // for.
  virtual PagedKv allocate_kv(const KvGeometry& geometry) = 0;
  virtual void free_kv(PagedKv& kv) = 0;
  // Copies pages in all layers, before the step that begins next. No page is both a source and a destination.
  virtual void copy_pages(const PagedKv& kv, std::span<const PageCopy> copies);
  // The batch's step comes next. A page that it begins and does not fill holds what others left: a backend that reads
  // masked entries sees that these values are finite, since it multiplies them by zero.
  void begin_pages(const PagedKv& kv, const Batch& batch);

  // While rehearsing, ops (sample included, which draws nothing then) compute nothing and only make room for their
  // results: after a rehearsal of the largest step, no step allocates. False: nothing is kept between steps.
  virtual bool rehearse(bool) { return false; }
  // Decode steps (Batch::is_decode) of at most so many rows are recorded when they come again: a caller that must not
  // wait for that later runs one of each size twice before. Ascending. All are of one model.
  virtual std::span<const int64_t> recorded_sizes() const { return {}; }

  // Starts a step: checks the batch, drops the last step's results, prepares what all layers share.
  void begin_step(const Batch& batch, const RopeSettings& rope);

  // x[t] = table[tokens[t]]: [T, C] f32.
  Tensor embed(const Batch& batch, const Weight& table);
  // y = norm(x) W^T: [T, N] f32.
  Tensor norm_linear(const Tensor& x, const Norm& norm, const Weight& weight);
  // x += a W^T, in place.
  void linear_add(Tensor& x, const Tensor& a, const Weight& weight);
  // silu(g) * u with [g | u] = norm(x) W^T, W = [2F, C]: [T, F].
  Tensor norm_gated_mlp(const Tensor& x, const Norm& norm, const Weight& gate_up);
  // Per head: norm and rotate queries and keys, store keys and values to their slots, then causal attention over the
  // sequence's pages, scaled by D^-0.5: qkv [T, (H + 2 KV) D] -> [T, H D].
  //
  // One formula for every row, prefill or decode (bits depend on it): keys in tiles of kTileKeys at absolute positions;
  // per tile m = max of scores, p = exp(score - m), l = sum p, o = sum p v, each from a fresh start; tiles merged in
  // order to groups of kGroupTiles, groups merged in order; merge(a, b): m = max(a.m, b.m), l = a.l e^(a.m-m) +
  // b.l e^(b.m-m), o likewise; result o / l. Masked entries add exact zeros.
  Tensor attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch, const LayerKv& kv);
  // x += sum over the chosen experts e, ascending, of weight_e * down_e(silu(gate_e h) * up_e h), h = norm(x).
  // Probabilities: softmax over all router logits in f32; the num_experts_per_tok largest (ties: the lower id).
  void moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe);
  // Row r of the result is x[rows[r]].
  Tensor take_rows(const Tensor& x, std::span<const int32_t> rows);
  // Draws one token per row of logits (ops/sampling.h). V columns from `num_drawable` on are padding and never drawn.
  // The draws are fetched by take_draws, in the order of the calls; a device may still be at work when sample returns.
  virtual void sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) = 0;
  virtual std::vector<Draw> take_draws() = 0;
  // Whether sample returns while a device is still at work, so that the next step is best begun before take_draws.
  virtual bool overlaps_steps() const { return false; }
  // Products take rows by so many at once: a step of a few rows more costs as much as one of the next multiple.
  virtual int64_t row_tile() const { return 1; }

  // Grows while a step is computed, several times a layer. May be read from any thread.
  int64_t progress() const { return progress_; }

  // A tensor of the host where the ops can take it, valid until the next call.
  virtual Tensor to_device(const Tensor& host) = 0;
  // The tensor's values on the host as float, valid as long as the tensor.
  virtual std::span<const float> to_host(const Tensor& tensor) = 0;
  // Bytes that placed weights occupy beyond the sources they point into.
  virtual int64_t owned_weight_bytes() const = 0;
  // All memory held: weights as above, cache, and what steps need. "Dry" ops hold none and count what would be held;
  // of them only place, allocate_kv and what runs while rehearsing may be called, and no stored value is read.
  virtual std::vector<MemoryPool> memory() const { return {}; }

 protected:
  virtual Weight do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute,
                          const Shard& shard) = 0;
  virtual void do_begin_step(const Batch& batch, const RopeSettings& rope) = 0;
  virtual Tensor do_embed(const Batch& batch, const PlacedWeight& table) = 0;
  virtual Tensor do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& weight) = 0;
  virtual void do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& weight) = 0;
  virtual Tensor do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) = 0;
  virtual Tensor do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                           const LayerKv& kv) = 0;
  virtual void do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) = 0;
  virtual Tensor do_take_rows(const Tensor& x, std::span<const int32_t> rows) = 0;

  // An op that may take seconds gets on. From any thread.
  void advance() { progress_.store(progress_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

  virtual void do_begin_pages(const PagedKv&, std::span<const PageRest>) {}

 private:
  std::atomic<int64_t> progress_ = 0;
};

}  // namespace qwill
