// Where the time of a decode step of many sequences goes: the layers of Qwen3-8B as a step's chain of kernels, timed
// as a recorded graph, whole and without one kind of kernel at a time.
//   bench_batch ROWS [CONTEXT] [LAYERS]
// and with other tiles and other splits of attention. What a kind costs by this is what the step would gain if it took
// no time, its neighbours being nearer to each other.
#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/rows.h"
#include "products.cuh"

using namespace qwill::cuda;

namespace {

constexpr int64_t kHeads = 32, kKvHeads = 8, kDim = 128, kWidth = 4096, kMlp = 12288, kVocab = 151936, kPage = 64;

enum Kind : int { norm1, qkv, attention, o, norm2, gate_up, down, final_norm, head, kNumKinds };
constexpr const char* kNames[] = {"norm", "qkv", "attention", "o", "norm 2", "gate_up", "down", "last norm", "head"};

__global__ void fill(bfloat* data, int64_t count, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    data[i] = __float2bfloat16(scale * random_value(i, seed));
}

template <typename T>
Buffer<T> make(int64_t count) {
  return Buffer<T>(static_cast<size_t>(count));
}

struct Step {
  int64_t rows, context, layers, pages_each = (context + kPage - 1) / kPage;
  Buffer<bfloat> weights{
      static_cast<size_t>(layers * (kWidth * (6144 + 4096 + 2 * kMlp) + kMlp * kWidth) + kVocab * kWidth)};
  int64_t layer_cache = rows * pages_each * kKvHeads * 2 * kPage * kDim;
  Buffer<bfloat> cache{static_cast<size_t>(layers * layer_cache + kKvHeads * 2 * kPage * kDim)};
  Buffer<float> x = make<float>(rows * kWidth), qkv_rows = make<float>(rows * 6144), norm = make<float>(kWidth),
                logits = make<float>(rows * kVocab), angles = make<float>(rows * kDim / 2);
  Buffer<bfloat> normed = make<bfloat>(rows * kWidth), attended = make<bfloat>(rows * kWidth),
                 gated = make<bfloat>(rows * kMlp);
  Buffer<int32_t> positions{std::vector<int32_t>(rows, static_cast<int32_t>(context - 1))};
  Buffer<int32_t> seq_lens{std::vector<int32_t>(rows, static_cast<int32_t>(context))};
  Buffer<int32_t> slots{static_cast<size_t>(rows)}, row_begin{static_cast<size_t>(rows) + 1};
  Buffer<int32_t> page_table{static_cast<size_t>(rows * pages_each)};
  std::vector<GemmWeight> of_layers;
  GemmWeight of_head;
  DecodePlan plan;
  bool ahead = true;  // attention reads the cache while queries are multiplied
  Buffer<uint32_t> counters{static_cast<size_t>(rows * kKvHeads)};
  Buffer<float> partials{static_cast<size_t>(rows * kHeads * 4 * part_row_floats(kDim))};

  Step(int64_t rows, int64_t context, int64_t layers) : rows(rows), context(context), layers(layers) {
    fill<<<4096, 256, 0, queue>>>(weights.data, static_cast<int64_t>(weights.size), 0.03f, 1);
    fill<<<4096, 256, 0, queue>>>(cache.data, static_cast<int64_t>(cache.size), 1.0f, 2);
    check(random_f32(x.data, x.size, 3, 0, 1, queue), "random");
    check(random_f32(norm.data, norm.size, 4, 1, 0.1f, queue), "random");
    check(random_f32(angles.data, angles.size, 5, 0, 0.7f, queue), "random");
    counters.fill(0);
    std::vector<int32_t> table, slot, begin{0};
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t p = 0; p < pages_each; ++p) table.push_back(static_cast<int32_t>(p * rows + r));
      slot.push_back(table.back() * static_cast<int32_t>(kPage) + static_cast<int32_t>((context - 1) % kPage));
      begin.push_back(static_cast<int32_t>(r + 1));
    }
    page_table.set(table), slots.set(slot), row_begin.set(begin);
    const bfloat* at = weights.data;
    const auto place = [&](int64_t n, int64_t k) {
      GemmWeight w;
      w.data = at, w.layout = {n / 8, k / 64}, w.rows = n;
      check(make_weight_map(at, w.layout, w.map), "map");
      at += n * k;
      return w;
    };
    for (int64_t l = 0; l < layers; ++l)
      for (const auto& [n, k] : {std::pair{6144, 4096}, {4096, 4096}, {2 * 12288, 4096}, {4096, 12288}})
        of_layers.push_back(place(n, k));
    of_head = place(kVocab, kWidth);
    plan = plan_decode(attend_args(0), static_cast<int32_t>(rows), context, num_sms);
    plan.counters = counters.data, plan.partials = partials.data;
  }

  AttendArgs attend_args(int64_t layer) const {
    AttendArgs a;
    a.num_rows = a.num_sequences = static_cast<int32_t>(rows);
    a.num_heads = kHeads, a.num_kv_heads = kKvHeads, a.head_dim = kDim;
    a.qkv = qkv_rows.data, a.ld_qkv = 6144;
    a.q_norm = norm.data, a.k_norm = norm.data + kDim;
    a.cos = angles.data, a.sin = angles.data;
    a.positions = positions.data, a.slots = slots.data, a.row_begin = row_begin.data, a.seq_lens = seq_lens.data;
    a.page_table = page_table.data, a.max_pages = static_cast<int32_t>(pages_each);
    a.kv = {cache.data + layer * layer_cache, kKvHeads, kDim, kPage};
    a.out = attended.data, a.ld_out = kWidth;
    return a;
  }
  std::map<Kind, GemmTile> tiles;  // that are not the chosen ones
  void multiply(Kind kind, const GemmWeight& w, const bfloat* a, int64_t k, Epilogue epilogue, void* y,
                int64_t ldy) const {
    GemmCall call = {.weight = &w, .a = a, .lda = k, .num_rows = rows, .epilogue = epilogue, .y = y, .ldy = ldy};
    if (kind == qkv && ahead) call.next = NextStart::behind;
    const auto tile = tiles.find(kind);
    const GemmTile chosen = choose_gemm_tile(w.rows, rows, num_sms);
    check(gemm_wgmma(call, tile == tiles.end() ? chosen : tile->second, num_sms, queue), "product");
  }
  void norm_x() const {
    check(norm_rows(normed.data, nullptr, x.data, norm.data, 1e-6f, kWidth, kWidth, rows, queue), "norm");
  }
  template <typename Has>
  void enqueue(const Has& has) const {
    for (int64_t l = 0; l < layers; ++l) {
      const GemmWeight* w = &of_layers[4 * l];
      if (has(norm1)) norm_x();
      if (has(qkv)) multiply(qkv, w[0], normed.data, kWidth, Epilogue::store, qkv_rows.data, 6144);
      if (has(attention)) {
        DecodePlan of_layer = plan;
        of_layer.reads_ahead = ahead && has(qkv);
        check(attend_decode(attend_args(l), of_layer, queue), "attend");
      }
      if (has(o)) multiply(o, w[1], attended.data, kWidth, Epilogue::add, x.data, kWidth);
      if (has(norm2)) norm_x();
      if (has(gate_up)) multiply(gate_up, w[2], normed.data, kWidth, Epilogue::silu_mul, gated.data, kMlp);
      if (has(down)) multiply(down, w[3], gated.data, kMlp, Epilogue::add, x.data, kWidth);
    }
    if (has(final_norm)) norm_x();
    if (has(head)) multiply(head, of_head, normed.data, kWidth, Epilogue::store, logits.data, kVocab);
  }

  void run() {
    const auto time = [&](const auto& has) { return time_ms([&] { enqueue(has); }); };
    const double whole = time([](int) { return true; });
    const double weight_gb = 2e-9 * static_cast<double>(weights.size);
    const double cache_gb = 4e-9 * kKvHeads * kDim * static_cast<double>(layers * rows * context);
    std::printf(
        "%ld rows at %ld, %ld layers: %.3f ms, %.1f GB of weights and %.1f of the cache: %.0f GB/s, %.0f tok/s\n", rows,
        context, layers, whole, weight_gb, cache_gb, (weight_gb + cache_gb) / whole * 1e3, rows / whole * 1e3);
    std::printf("  %-10s %12s %12s\n", "us each", "by itself", "in the step");
    for (int kind = 0; kind < kNumKinds; ++kind) {
      const double count = kind < final_norm ? static_cast<double>(layers) : 1;
      const double alone = time([&](int k) { return k == kind; }), without = time([&](int k) { return k != kind; });
      std::printf("  %-10s %12.2f %12.2f\n", kNames[kind], alone / count * 1e3, (whole - without) / count * 1e3);
    }
    const double products = time([](int k) { return k != norm1 && k != norm2 && k != attention && k != final_norm; });
    std::printf("  products alone %.3f ms, without head %.2f us a layer\n", products,
                1e3 / layers * time([](int k) { return k == qkv || k == o || k == gate_up || k == down; }));
    ahead = false;
    std::printf("  attention that does not read ahead: the step %.3f ms\n", time([](int) { return true; }));
    ahead = true;
    for (int blocks : {1, 2, 3}) try_plan(blocks);
    try_tiles();
  }

  // Other tiles for one product, each beside the chosen ones.
  void try_tiles() {
    const auto whole = [&] { return time_ms([&] { enqueue([](int) { return true; }); }); };
    for (const auto& [kind, n] : {std::pair{qkv, 6144}, {o, 4096}, {gate_up, 24576}, {down, 4096}, {head, 151936}})
      for (const GemmTile& tile : kGemmTiles) {
        const int64_t covered = int64_t{tile.tokens} * tile.token_cluster;
        if (tile.tokens > 16 && covered >= 2 * rows) continue;
        if (covered < std::min<int64_t>(rows, 128) || (tile.rows < 64 && n > 24000)) continue;
        const double before = whole();
        tiles[kind] = tile;
        const double ms = whole();
        tiles.clear();
        std::printf("  %-8s %-16s%s %.3f ms, %+.0f us a step\n", kNames[kind], name_of(tile).c_str(),
                    tile == choose_gemm_tile(n, rows, num_sms) ? "*" : " ", ms, (ms - before) * 1e3);
      }
  }

  // Other ways to split attention.
  void try_plan(int blocks) {
    const DecodePlan chosen = plan;
    plan.all_groups = false, plan.sequence_blocks = blocks;
    const double ms = time_ms([&] { enqueue([](int) { return true; }); });
    const double alone = time_ms([&] { enqueue([](int k) { return k == attention; }); });
    std::printf("  attention by %d blocks%s: the step %.3f ms, attention by itself %.2f us\n", blocks,
                chosen.sequence_blocks == blocks ? "*" : "", ms, alone / layers * 1e3);
    plan = chosen;
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::printf("bench_batch ROWS [CONTEXT] [LAYERS]\n"), 1;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "device");
  num_sms = properties.multiProcessorCount;
  check(cudaStreamCreate(&queue), "stream");
  check(prepare_gemm(true), "prepare");
  Step(std::atoll(argv[1]), argc > 2 ? std::atoll(argv[2]) : 1056, argc > 3 ? std::atoll(argv[3]) : 36).run();
}
