#include "ops/reference.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <deque>
#include <numeric>

#include "base/error.h"
#include "ops/host_draws.h"
#include "tensor/fp8.h"
#include "tensor/int4.h"

namespace qwill {
namespace reference {

void rms_norm(std::span<const float> x, std::span<const float> weight, double eps, std::span<float> y) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * v;
  const double scale = 1 / std::sqrt(sum / static_cast<double>(x.size()) + eps);
  for (size_t c = 0; c < x.size(); ++c) y[c] = static_cast<float>(x[c] * scale * weight[c]);
}

void rotate(std::span<float> head, const float* cos, const float* sin) {
  const size_t half = head.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const double a = head[i], b = head[i + half];
    head[i] = static_cast<float>(a * cos[i] - b * sin[i]);
    head[i + half] = static_cast<float>(b * cos[i] + a * sin[i]);
  }
}

double silu(double x) { return x / (1 + std::exp(-x)); }

std::vector<Route> route(std::span<const float> logits, int64_t num_experts_per_tok, bool norm_topk_prob) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  std::vector<float> probs;
  float sum = 0;
  for (const float logit : logits) sum += probs.emplace_back(std::exp(logit - highest));
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto probability = [&](int32_t e) { return probs[static_cast<size_t>(e)]; };
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return probability(a) > probability(b); });
  ids.resize(static_cast<size_t>(num_experts_per_tok));
  std::sort(ids.begin(), ids.end());
  if (norm_topk_prob) {
    sum = 0;
    for (const int32_t e : ids) sum += probability(e);
  }
  std::vector<Route> routes;
  for (const int32_t e : ids) routes.push_back({e, probability(e) / sum});
  return routes;
}

namespace {

struct ReferenceWeight final : PlacedWeight {
  std::vector<float> values;
  Compute compute;
  int64_t read_bytes() const override { return rows * cols * 4; }
  std::span<const float> row(int64_t r) const { return {values.data() + r * cols, static_cast<size_t>(cols)}; }
};

float load(const WeightSource& source, int64_t i) {
  const char* bytes = static_cast<const char*>(source.data);
  if (source.dtype == DType::f32) {
    float value;
    std::memcpy(&value, bytes + 4 * i, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, bytes + 2 * i, 2);
  return source.dtype == DType::bf16 ? to_float(bf16{bits}) : to_float(f16{bits});
}

class ReferenceOps final : public Ops {
 public:
  PagedKv allocate_kv(const KvGeometry& geometry) override {
    CHECK(geometry.dtype == DType::f32 || geometry.dtype == DType::f8_e4m3, "the reference's cache is f32 or e4m3");
    kv_.emplace_back(static_cast<size_t>(geometry.total_bytes()));
    return {geometry, kv_.back().data()};
  }
  void free_kv(PagedKv& kv) override { kv = {}; }
  void copy_pages(const PagedKv& kv, std::span<const PageCopy> copies) override {
    const int64_t half_bytes = kv.geometry.layer_page_bytes() / 2;  // a page's keys, or its values
    for (int64_t half = 0; half < 2 * kv.geometry.num_layers; ++half) {
      char* pages = static_cast<char*>(kv.data) + half * kv.geometry.num_pages * half_bytes;
      for (const PageCopy& copy : copies)
        std::memcpy(pages + copy.to * half_bytes, pages + copy.from * half_bytes, static_cast<size_t>(half_bytes));
    }
  }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) override {
    std::vector<Draw> draws;
    for (size_t r = 0; r < rows.size(); ++r)
      draws.push_back(
          sample_row(row_of(logits, static_cast<int64_t>(r)), rows[r], num_drawable, draws_.last_id(rows[r])));
    draws_.push(std::move(draws));
  }
  std::vector<Draw> take_draws() override { return draws_.take(); }
  Tensor to_device(const Tensor& host) override { return host; }
  std::span<const float> to_host(const Tensor& t) override {
    return {t.row<const float>(0), static_cast<size_t>(t.rows * t.cols)};
  }
  int64_t owned_weight_bytes() const override { return 0; }

 protected:
  Weight do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard&) override {
    if (compute == Compute::int8) fail_unsupported("weights in int8: only the CPU backend takes them");
    auto weight = std::make_shared<ReferenceWeight>();
    weight->cols = sources[0].cols;
    weight->compute = use == WeightUse::vector ? Compute::f32 : compute;
    for (const WeightSource& source : sources) {
      weight->rows += source.rows;
      for (int64_t i = 0; i < source.rows * source.cols; ++i) {
        const float value = load(source, i);
        weight->values.push_back(meets_bf16(weight->compute) ? to_float(to_bf16(value)) : value);
      }
    }
    if (weight->compute == Compute::int4)
      for (int64_t r = 0; r < weight->rows; ++r)
        round_to_int4(std::span(weight->values)
                          .subspan(static_cast<size_t>(r * weight->cols), static_cast<size_t>(weight->cols)));
    if (weight->compute == Compute::fp8) {
      const auto cols = static_cast<size_t>(weight->cols);
      for (size_t row = 0; row < weight->values.size(); row += cols) round_to_fp8({&weight->values[row], cols});
    }
    return weight;
  }

  void do_begin_step(const Batch& batch, const RopeSettings& rope) override {
    arena_.clear();
    const size_t half = std::max(rope[0].inv_freq.size(), rope[1].inv_freq.size());
    cos_.assign(static_cast<size_t>(batch.num_rows()) * half, 0);
    sin_ = cos_;
    for (int64_t s = 0; s < batch.num_sequences(); ++s)
      for (size_t t = static_cast<size_t>(batch.row_begin[s]); t < static_cast<size_t>(batch.row_begin[s + 1]); ++t)
        rope_row(rope[static_cast<size_t>(batch.rope[s])], batch.positions[t], &cos_[t * half], &sin_[t * half]);
  }

  Tensor do_embed(const Batch& batch, const PlacedWeight& table) override {
    Tensor x = make(batch.num_rows(), table.cols);
    for (int64_t t = 0; t < x.rows; ++t) std::ranges::copy(weight(table).row(draws_.token(batch, t)), x.row<float>(t));
    return x;
  }

  Tensor do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& w) override {
    return linear(normed(x, norm), weight(w), 0, w.rows);
  }

  void do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& w) override {
    const Tensor y = linear(a, weight(w), 0, w.rows);
    for (int64_t i = 0; i < x.rows * x.cols; ++i) x.row<float>(0)[i] += y.row<float>(0)[i];
  }

  Tensor do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) override {
    return gated(normed(x, norm), weight(gate_up), 0, gate_up.rows / 2);
  }

  Tensor do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                   const LayerKv& kv) override {
    const KvGeometry& g = *kv.geometry;
    const int64_t D = g.head_dim, KV = g.num_kv_heads, H = qkv.cols / D - 2 * KV;
    for (int64_t t = 0; t < qkv.rows; ++t) {
      for (int64_t h = 0; h < H + KV; ++h) {
        const std::span<float> head(qkv.row<float>(t) + h * D, static_cast<size_t>(D));
        const Norm& norm = h < H ? q_norm : k_norm;
        rms_norm(head, weight(*norm.weight).row(0), norm.eps, head);
        rotate(head, &cos_[static_cast<size_t>(t * D / 2)], &sin_[static_cast<size_t>(t * D / 2)]);
      }
      for (int64_t h = 0; h < KV; ++h) {
        store_entry(kv, 0, batch.slots[t], h, qkv.row<float>(t) + (H + h) * D);
        store_entry(kv, 1, batch.slots[t], h, qkv.row<float>(t) + (H + KV + h) * D);
      }
    }
    Tensor out = make(qkv.rows, H * D);
    for (int64_t s = 0; s < batch.num_sequences(); ++s)
      for (int64_t t = batch.row_begin[s]; t < batch.row_begin[s + 1]; ++t)
        for (int64_t h = 0; h < H; ++h)
          attend_row(qkv.row<float>(t) + h * D, batch.pages(s), batch.positions[t] + 1, h / (H / KV), kv,
                     out.row<float>(t) + h * D);
    return out;
  }

  void do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) override {
    const int64_t F = moe.down->cols;
    const Tensor h = normed(x, norm);
    const Tensor logits = linear(h, weight(*moe.router), 0, moe.num_experts);
    for (int64_t t = 0; t < x.rows; ++t) {
      const Tensor row{h.row<float>(t), 1, h.cols, DType::f32};
      std::vector<double> sum(static_cast<size_t>(x.cols));
      for (const auto& [e, share] : route(row_of(logits, t), moe.num_experts_per_tok, moe.norm_topk_prob)) {
        const Tensor act = gated(row, weight(*moe.gate_up), e * 2 * F, F);
        const Tensor y = linear(act, weight(*moe.down), e * x.cols, x.cols);
        for (int64_t c = 0; c < x.cols; ++c)
          sum[static_cast<size_t>(c)] += static_cast<double>(share) * y.row<float>(0)[c];
      }
      for (int64_t c = 0; c < x.cols; ++c) x.row<float>(t)[c] += static_cast<float>(sum[static_cast<size_t>(c)]);
    }
  }

  Tensor do_take_rows(const Tensor& x, std::span<const int32_t> rows) override {
    Tensor y = make(static_cast<int64_t>(rows.size()), x.cols);
    for (int64_t r = 0; r < y.rows; ++r) std::ranges::copy(row_of(x, rows[static_cast<size_t>(r)]), y.row<float>(r));
    return y;
  }

 private:
  // Numerator and denominator of a softmax-weighted sum over some keys, relative to their largest score.
  struct Partial {
    double m = 0, l = 0;
    std::vector<double> o;

    void merge(const Partial& b) {
      if (b.l == 0) return;
      if (l == 0) {
        *this = b;
        return;
      }
      const double top = std::max(m, b.m), ea = std::exp(m - top), eb = std::exp(b.m - top);
      m = top;
      l = l * ea + b.l * eb;
      for (size_t d = 0; d < o.size(); ++d) o[d] = o[d] * ea + b.o[d] * eb;
    }
  };

  // Attention of one query head over keys 0 … num_keys - 1, in the tiles and groups that ops.h lays down.
  void attend_row(const float* q, const int32_t* pages, int64_t num_keys, int64_t kv_head, const LayerKv& kv,
                  float* out) {
    const KvGeometry& g = *kv.geometry;
    const int64_t D = g.head_dim;
    const double scale = 1 / std::sqrt(static_cast<double>(D));
    const auto slot = [&](int64_t key) { return pages[key / g.page_size] * g.page_size + key % g.page_size; };
    Partial total, group;
    for (int64_t tile = 0; tile * kTileKeys < num_keys; ++tile) {
      if (tile % kGroupTiles == 0) total.merge(std::exchange(group, {}));
      const int64_t first = tile * kTileKeys, last = std::min(num_keys, first + kTileKeys);
      std::vector<double> scores;
      for (int64_t key = first; key < last; ++key) {
        const std::vector<float> k = load_entry(kv, 0, slot(key), kv_head);
        double dot = 0;
        for (int64_t d = 0; d < D; ++d) dot += static_cast<double>(q[d]) * k[static_cast<size_t>(d)];
        scores.push_back(dot * scale);
      }
      Partial part{*std::ranges::max_element(scores), 0, std::vector<double>(static_cast<size_t>(D))};
      for (int64_t key = first; key < last; ++key) {
        const double p = std::exp(scores[static_cast<size_t>(key - first)] - part.m);
        const std::vector<float> v = load_entry(kv, 1, slot(key), kv_head);
        part.l += p;
        for (size_t d = 0; d < v.size(); ++d) part.o[d] += p * v[d];
      }
      group.merge(part);
    }
    total.merge(group);
    for (int64_t d = 0; d < D; ++d) out[d] = static_cast<float>(total.o[static_cast<size_t>(d)] / total.l);
  }

  // [2 (key, value)][slot][kv head][D] of f32 or e4m3
  static int64_t entry(const LayerKv& kv, int64_t which, int64_t slot, int64_t head) {
    const KvGeometry& g = *kv.geometry;
    return ((which * g.num_pages * g.page_size + slot) * g.num_kv_heads + head) * g.head_dim;
  }
  static void store_entry(const LayerKv& kv, int64_t which, int64_t slot, int64_t head, const float* from) {
    const int64_t D = kv.geometry->head_dim, first = entry(kv, which, slot, head);
    if (kv.geometry->dtype == DType::f32)
      std::copy_n(from, D, static_cast<float*>(kv.data) + first);
    else
      std::transform(from, from + D, static_cast<f8_e4m3*>(kv.data) + first, to_f8_e4m3);
  }
  static std::vector<float> load_entry(const LayerKv& kv, int64_t which, int64_t slot, int64_t head) {
    const int64_t first = entry(kv, which, slot, head);
    std::vector<float> values(static_cast<size_t>(kv.geometry->head_dim));
    for (size_t d = 0; d < values.size(); ++d)
      values[d] = kv.geometry->dtype == DType::f32
                      ? static_cast<const float*>(kv.data)[first + static_cast<int64_t>(d)]
                      : to_float(static_cast<const f8_e4m3*>(kv.data)[first + static_cast<int64_t>(d)]);
    return values;
  }

  Tensor make(int64_t rows, int64_t cols) {
    arena_.emplace_back(static_cast<size_t>(rows * cols));
    return {arena_.back().data(), rows, cols, DType::f32};
  }
  static const ReferenceWeight& weight(const PlacedWeight& w) { return static_cast<const ReferenceWeight&>(w); }
  static std::span<const float> row_of(const Tensor& t, int64_t r) {
    return {t.row<const float>(r), static_cast<size_t>(t.cols)};
  }

  Tensor normed(const Tensor& x, const Norm& norm) {
    Tensor y = make(x.rows, x.cols);
    for (int64_t t = 0; t < x.rows; ++t)
      rms_norm(row_of(x, t), weight(*norm.weight).row(0), norm.eps, {y.row<float>(t), static_cast<size_t>(y.cols)});
    return y;
  }

  // a times rows first … first + count - 1 of w, transposed.
  Tensor linear(const Tensor& a, const ReferenceWeight& w, int64_t first, int64_t count) {
    Tensor y = make(a.rows, count);
    for (int64_t t = 0; t < a.rows; ++t) {
      std::vector<float> operand(row_of(a, t).begin(), row_of(a, t).end());
      if (meets_bf16(w.compute))
        for (float& v : operand) v = to_float(to_bf16(v));
      if (w.compute == Compute::fp8)
        for (size_t k = 0; k < operand.size(); k += kFp8BlockCols)
          round_to_fp8(std::span(operand).subspan(k, std::min<size_t>(kFp8BlockCols, operand.size() - k)));
      for (int64_t n = 0; n < count; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < a.cols; ++k)
          sum += static_cast<double>(operand[static_cast<size_t>(k)]) * w.row(first + n)[static_cast<size_t>(k)];
        y.row<float>(t)[n] = static_cast<float>(sum);
      }
    }
    return y;
  }

  // silu(gate) * up, with gate rows at first and up rows F behind.
  Tensor gated(const Tensor& h, const ReferenceWeight& w, int64_t first, int64_t F) {
    const Tensor gate = linear(h, w, first, F), up = linear(h, w, first + F, F);
    Tensor y = make(h.rows, F);
    for (int64_t i = 0; i < y.rows * F; ++i)
      y.row<float>(0)[i] = static_cast<float>(silu(gate.row<float>(0)[i]) * up.row<float>(0)[i]);
    return y;
  }

  std::deque<std::vector<float>> arena_;
  std::deque<std::vector<std::byte>> kv_;
  std::vector<float> cos_, sin_;
  HostDraws draws_;
};

}  // namespace
}  // namespace reference

std::unique_ptr<Ops> make_reference_ops() { return std::make_unique<reference::ReferenceOps>(); }

}  // namespace qwill
