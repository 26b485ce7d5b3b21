// Attention by itself on the CPU: in decode the rate at which the cache is read, beside the read bandwidth measured
// around it; in prefill the operations of products.
//
//     bench_attend --kv-dtype f16 --group 4 --kv-heads 8 --path avx512
//
// Caches of all layers together exceed what the processor's own caches hold (--cache-mb 0: one layer, perhaps not).
// Each layer's time is the best of several passes.
#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <span>
#include <vector>

#include "base/error.h"
#include "cpu/cpu_ops.h"
#include "support/random.h"

namespace qwill {
namespace {

constexpr int64_t kPageSize = 64;

struct Options {
  CpuOptions cpu;
  DType kv_dtype = DType::f32;
  int64_t group = 2, kv_heads = 8, head_dim = 128, sequences = 1, rows = 512;
  std::vector<int64_t> contexts = {512, 4096, 32768};
  int64_t cache_mb = 256;  // of all layers, at least
  double seconds = 1;      // of each figure
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Sequences of `context` keys each; of the last `rows` of them queries come.
Batch make_batch(int64_t sequences, int64_t context, int64_t rows) {
  Batch batch;
  batch.max_pages = (context + kPageSize - 1) / kPageSize;
  batch.row_begin.push_back(0);
  for (int64_t s = 0; s < sequences; ++s) {
    for (int64_t page = 0; page < batch.max_pages; ++page)
      batch.page_table.push_back(static_cast<int32_t>(s * batch.max_pages + page));
    for (int64_t key = context - rows; key < context; ++key) {
      batch.positions.push_back(static_cast<int32_t>(key));
      batch.slots.push_back(static_cast<int32_t>(s * batch.max_pages * kPageSize + key));
    }
    batch.row_begin.push_back(static_cast<int32_t>(batch.positions.size()));
    batch.seq_lens.push_back(static_cast<int32_t>(context));
  }
  batch.tokens.assign(batch.positions.size(), 0);
  batch.draw_source.assign(batch.positions.size(), Batch::kFromHost);
  batch.rope.assign(batch.seq_lens.size(), RopeKind::plain);
  batch.cache_namespace.assign(batch.seq_lens.size(), 0);
  batch.adapter.assign(batch.seq_lens.size(), 0);
  return batch;
}

class Bench {
 public:
  explicit Bench(const Options& options) : o_(options), ops_(make_cpu_ops(options.cpu)) {
    const std::vector<float> ones(static_cast<size_t>(o_.head_dim), 1.0f);
    const WeightSource source{ones.data(), DType::f32, 1, o_.head_dim};
    norm_ = {ops_->place({&source, 1}, WeightUse::vector, Compute::f32), 1e-6f};
    probe_.resize(size_t{256} << 20, std::byte{1});
  }

  void run(int64_t context) {
    KvGeometry geometry{.num_layers = 1,
                        .num_kv_heads = o_.kv_heads,
                        .head_dim = o_.head_dim,
                        .page_size = kPageSize,
                        .num_pages = o_.sequences * ((context + kPageSize - 1) / kPageSize),
                        .dtype = o_.kv_dtype};
    geometry.num_layers = std::max<int64_t>(1, (o_.cache_mb << 20) / geometry.total_bytes());
    PagedKv kv = ops_->allocate_kv(geometry);
    for (int64_t key = 0; key < context; key += kPageSize) {
      Batch batch = make_batch(o_.sequences, std::min(key + kPageSize, context), std::min(kPageSize, context - key));
      for (size_t i = 0; i < batch.slots.size(); ++i) {  // into their places, each as a sequence's first key
        const auto s = static_cast<int64_t>(i) / std::min(kPageSize, context - key);
        batch.slots[i] += static_cast<int32_t>(s * (geometry.num_pages / o_.sequences - batch.max_pages) * kPageSize);
      }
      pass(kv, alone(batch));
    }
    const Batch decode = make_batch(o_.sequences, context, 1);
    const double probed = probe();
    const double decode_s = best(kv, decode);
    const double bandwidth = std::max(probed, probe());
    const double bytes = static_cast<double>(kv.geometry.token_bytes() * context * o_.sequences);
    const int64_t rows = std::min(o_.rows, context);
    const double prefill_s = best(kv, make_batch(1, context, rows));
    const double flops = 4.0 * static_cast<double>(o_.head_dim * o_.group * o_.kv_heads * rows * geometry.num_layers) *
                         (static_cast<double>(context) - static_cast<double>(rows - 1) / 2);
    fmt::print("{:>6}  {:>8.1f} {:>8.1f} {:>7.1f} %  {:>8.1f}\n", context, bytes / decode_s / 1e9, bandwidth / 1e9,
               100 * bytes / decode_s / bandwidth, flops / prefill_s / 1e9);
    std::fflush(stdout);
    ops_->free_kv(kv);
  }

 private:
  // The best over parts of the memory in turn, each of more than caches hold, which take a moment each.
  double probe() const {
    const size_t part = probe_.size() / 4;
    double best = 0;
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < 4 || seconds_since(start) < o_.seconds; ++i)
      best = std::max(best, read_bandwidth(o_.cpu, std::span(probe_).subspan(i % 4 * part, part), 1));
    return best;
  }

  // The rows as sequences of one key each, which are stored at little cost.
  static Batch alone(Batch batch) {
    const auto rows = static_cast<size_t>(batch.num_rows());
    batch.max_pages = 1;
    batch.page_table.clear();
    batch.row_begin = {0};
    for (size_t i = 0; i < rows; ++i) {
      batch.page_table.push_back(static_cast<int32_t>(batch.slots[i] / kPageSize));
      batch.row_begin.push_back(static_cast<int32_t>(i) + 1);
    }
    batch.positions.assign(rows, 0);
    batch.seq_lens.assign(rows, 1);
    batch.rope.assign(rows, RopeKind::plain);
    batch.cache_namespace.assign(rows, 0);
    batch.adapter.assign(rows, 0);
    return batch;
  }

  // Each layer's least time is kept.
  void pass(const PagedKv& kv, const Batch& batch, std::vector<double>* least = nullptr) {
    const int64_t cols = (o_.group + 2) * o_.kv_heads * o_.head_dim, count = batch.num_rows() * cols;
    if (static_cast<int64_t>(qkv_.size()) < count) qkv_ = random_.floats(count, -1, 1);
    ops_->begin_step(batch, rope_);
    for (int64_t layer = 0; layer < kv.geometry.num_layers; ++layer) {
      const auto start = std::chrono::steady_clock::now();
      ops_->attend({qkv_.data(), batch.num_rows(), cols, DType::f32}, norm_, norm_, batch, kv[layer]);
      if (least)
        (*least)[static_cast<size_t>(layer)] = std::min((*least)[static_cast<size_t>(layer)], seconds_since(start));
    }
  }

  double best(const PagedKv& kv, const Batch& batch) {
    std::vector<double> least(static_cast<size_t>(kv.geometry.num_layers), 1e30);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 2 || seconds_since(start) < o_.seconds; ++i) pass(kv, batch, &least);
    return std::accumulate(least.begin(), least.end(), 0.0);
  }

  Options o_;
  std::unique_ptr<Ops> ops_;
  Norm norm_;
  RopeSettings rope_ = {plain_rope(o_.head_dim, 1e6), plain_rope(o_.head_dim, 1e6)};
  test::Random random_{1};
  std::vector<float> qkv_;
  std::vector<std::byte> probe_;
};

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  using namespace qwill;
  Options options;
  CLI::App app("Attention on the CPU.");
  const std::map<std::string, DType> dtypes = {
      {"f32", DType::f32}, {"f16", DType::f16}, {"bf16", DType::bf16}, {"int8", DType::i8}};
  app.add_option("--kv-dtype", options.kv_dtype)->transform(CLI::CheckedTransformer(dtypes));
  app.add_option("--path", options.cpu.path);
  app.add_option("--threads", options.cpu.num_threads);
  app.add_option("--group", options.group, "query heads of a KV head");
  app.add_option("--kv-heads", options.kv_heads);
  app.add_option("--head-dim", options.head_dim);
  app.add_option("--sequences", options.sequences, "that decode");
  app.add_option("--rows", options.rows, "of a prefill's chunk: the last of the context");
  app.add_option("--contexts", options.contexts)->delimiter(',');
  app.add_option("--cache-mb", options.cache_mb, "of all layers, at least");
  app.add_option("--seconds", options.seconds, "of each figure");
  CLI11_PARSE(app, argc, argv);
  try {
    Bench bench(options);
    fmt::print("{}, {} KV heads of {}, group of {}, {} sequence(s)\n", cpu_device_name(options.cpu), options.kv_heads,
               options.head_dim, options.group, options.sequences);
    fmt::print("context  decode GB/s, measured    share   prefill GFLOP/s ({} rows)\n", options.rows);
    for (const int64_t context : options.contexts) bench.run(context);
  } catch (const Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
