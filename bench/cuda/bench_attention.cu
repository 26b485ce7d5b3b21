// Attention on the device: every path against a slow one in double, bit equality between paths, splits and chunkings,
// then how fast the paths are. Prints a line for each case; exits with 1 if any check failed.
//
//     bench_attention [check|time]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/attention_common.cuh"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/launch.cuh"
#include "ops/paged_kv.h"

namespace {

using namespace qwill::cuda;

void must(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

template <typename T>
struct Device {
  T* data = nullptr;
  size_t count = 0;

  explicit Device(size_t n) : count(n) {
    must(cudaMalloc(&data, std::max<size_t>(n, 1) * sizeof(T)), "cudaMalloc");
    must(cudaMemset(data, 0, n * sizeof(T)), "cudaMemset");
  }
  explicit Device(const std::vector<T>& host) : Device(host.size()) {
    must(cudaMemcpy(data, host.data(), count * sizeof(T), cudaMemcpyHostToDevice), "copy to the device");
  }
  Device(const Device&) = delete;
  Device(Device&& other) noexcept : data(std::exchange(other.data, nullptr)), count(other.count) {}
  ~Device() { cudaFree(data); }

  std::vector<T> host() const {
    std::vector<T> values(count);
    must(cudaMemcpy(values.data(), data, count * sizeof(T), cudaMemcpyDeviceToHost), "copy to the host");
    return values;
  }
  void clear() { must(cudaMemset(data, 0, count * sizeof(T)), "cudaMemset"); }
};

// About normal: the sum of four hashed uniforms.
template <typename T>
__global__ void fill_random(T* data, size_t count, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count; i += size_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + static_cast<uint32_t>(i >> 32) + seed * 747796405u;
    float sum = -2;
    for (int k = 0; k < 4; ++k) {
      x = (x ^ (x >> 16)) * 2246822519u + 3266489917u;
      x ^= x >> 13;
      sum += static_cast<float>(x >> 8) * 0x1p-24f;
    }
    data[i] = T(sum * 1.7f);
  }
}
template <typename T>
void randomize(Device<T>& d, uint32_t seed) {
  fill_random<<<1024, 256>>>(d.data, d.count, seed);
}

struct Shape {
  int num_kv_heads, group, head_dim, page_size;
  int num_heads() const { return num_kv_heads * group; }
  int padded_dim() const { return (head_dim + 63) / 64 * 64; }
  int qkv_cols() const { return (num_heads() + 2 * num_kv_heads) * head_dim; }
  int64_t out_cols() const { return (num_heads() * head_dim + 63) / 64 * 64; }
};
struct Span {
  int before, rows;  // keys in the cache, rows in this step
};

struct Index {
  std::vector<int32_t> positions, slots, row_begin = {0}, seq_lens, page_table;
};

// Indices in device memory.
struct DeviceIndex {
  Device<int32_t> positions, slots, row_begin, seq_lens, page_table;
  explicit DeviceIndex(const Index& i)
      : positions(i.positions),
        slots(i.slots),
        row_begin(i.row_begin),
        seq_lens(i.seq_lens),
        page_table(i.page_table) {}
};

// A step: its sequences on shuffled pages, random inputs, caches of random history in both types.
struct Scene {
  Shape shape;
  std::vector<Span> spans;
  int num_rows = 0, max_pages = 0, num_pages = 1;
  Index index;

  Scene(const Shape& shape, std::vector<Span> spans) : shape(shape), spans(std::move(spans)) {
    for (const Span& s : this->spans) {
      max_pages = std::max(max_pages, pages_of(s.before + s.rows));
      num_pages += pages_of(s.before + s.rows);
    }
    std::vector<int32_t> ids(static_cast<size_t>(num_pages) - 1);
    std::iota(ids.begin(), ids.end(), 1);
    std::ranges::shuffle(ids, std::mt19937(7));
    for (const Span& s : this->spans) {
      const int used = pages_of(s.before + s.rows);
      std::vector<int32_t> own(static_cast<size_t>(max_pages), 0);
      std::copy_n(ids.end() - used, used, own.begin());
      ids.resize(ids.size() - static_cast<size_t>(used));
      for (int i = 0; i < s.rows; ++i) {
        const int position = s.before + i;
        index.positions.push_back(position);
        index.slots.push_back(own[static_cast<size_t>(position / shape.page_size)] * shape.page_size +
                              position % shape.page_size);
      }
      num_rows += s.rows;
      index.row_begin.push_back(num_rows);
      index.seq_lens.push_back(s.before + s.rows);
      index.page_table.insert(index.page_table.end(), own.begin(), own.end());
    }
  }
  int pages_of(int keys) const { return (keys + shape.page_size - 1) / shape.page_size; }
  size_t pool_elements() const {
    return size_t{2} * static_cast<size_t>(num_pages) * static_cast<size_t>(shape.num_kv_heads) *
           static_cast<size_t>(shape.page_size) * static_cast<size_t>(shape.padded_dim());
  }

  // Each row a sequence of its own, all on the same pages: what decode would have seen at that position.
  Index row_by_row() const {
    Index rows = index;
    rows.row_begin = {0};
    rows.seq_lens.clear();
    rows.page_table.clear();
    for (size_t s = 0; s < spans.size(); ++s)
      for (int t = index.row_begin[s]; t < index.row_begin[s + 1]; ++t) {
        rows.row_begin.push_back(t + 1);
        rows.seq_lens.push_back(index.positions[static_cast<size_t>(t)] + 1);
        const auto own = index.page_table.begin() + static_cast<int64_t>(s) * max_pages;
        rows.page_table.insert(rows.page_table.end(), own, own + max_pages);
      }
    return rows;
  }
  int64_t max_context() const { return *std::ranges::max_element(index.seq_lens); }
};

// Inputs of a step that do not depend on how it is run.
struct Inputs {
  Device<float> qkv, q_norm, k_norm, cos, sin;
  Inputs(const Shape& shape, const std::vector<int32_t>& positions)
      : qkv(positions.size() * static_cast<size_t>(shape.qkv_cols())),
        q_norm(static_cast<size_t>(shape.head_dim)),
        k_norm(static_cast<size_t>(shape.head_dim)),
        cos(positions.size() * static_cast<size_t>(shape.head_dim / 2)),
        sin(positions.size() * static_cast<size_t>(shape.head_dim / 2)) {
    randomize(qkv, 1);
    randomize(q_norm, 2);
    randomize(k_norm, 3);
    std::vector<float> c(cos.count), s(sin.count);
    const size_t half = static_cast<size_t>(shape.head_dim / 2);
    for (size_t i = 0; i < c.size(); ++i) {
      const double angle =
          positions[i / half] * std::pow(1e6, -static_cast<double>(i % half) / static_cast<double>(half));
      c[i] = static_cast<float>(std::cos(angle));
      s[i] = static_cast<float>(std::sin(angle));
    }
    must(cudaMemcpy(cos.data, c.data(), c.size() * 4, cudaMemcpyHostToDevice), "cos");
    must(cudaMemcpy(sin.data, s.data(), s.size() * 4, cudaMemcpyHostToDevice), "sin");
  }
};

AttendArgs make_args(const Scene& scene, const Inputs& in, const DeviceIndex& index, void* pages, void* q, void* out) {
  const Shape& shape = scene.shape;
  AttendArgs a;
  a.num_rows = static_cast<int32_t>(index.positions.count);
  a.num_sequences = static_cast<int32_t>(index.seq_lens.count);
  a.num_heads = shape.num_heads();
  a.num_kv_heads = shape.num_kv_heads;
  a.head_dim = shape.head_dim;
  a.qkv = in.qkv.data;
  a.ld_qkv = shape.qkv_cols();
  a.q_norm = in.q_norm.data;
  a.k_norm = in.k_norm.data;
  a.cos = in.cos.data;
  a.sin = in.sin.data;
  a.positions = index.positions.data;
  a.slots = index.slots.data;
  a.row_begin = index.row_begin.data;
  a.seq_lens = index.seq_lens.data;
  a.page_table = index.page_table.data;
  a.max_pages = scene.max_pages;
  a.kv = {pages, shape.num_kv_heads, shape.padded_dim(), shape.page_size};
  a.q = q;
  a.out = out;
  a.ld_out = shape.out_cols();
  return a;
}

// ---- The slow truth

__device__ double element(const KvLayout& kv, int64_t block, int64_t entry, int64_t dim, bfloat) {
  return static_cast<double>(__bfloat162float(static_cast<const bfloat*>(kv.data)[block + kv.in_block(entry, dim)]));
}
__device__ double element(const KvLayout& kv, int64_t block, int64_t entry, int64_t dim, float) {
  return static_cast<double>(static_cast<const float*>(kv.data)[block + entry * kv.padded_dim + dim]);
}

// Largest error of q, k and v as stored, relative to the head's largest element; a thread a head.
template <typename Element>
__global__ void check_heads(AttendArgs a, float* errors) {
  const int heads = a.num_heads + 2 * a.num_kv_heads, item = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (item >= a.num_rows * heads) return;
  const int row = item / heads, head = item % heads, dim = a.head_dim, half = dim / 2;
  const float* x = a.qkv + row * a.ld_qkv + head * dim;
  const bool is_value = head >= a.num_heads + a.num_kv_heads;
  double sum = 0;
  for (int d = 0; d < dim; ++d) sum += static_cast<double>(x[d]) * x[d];
  const double scale = 1 / sqrt(sum / dim + static_cast<double>(a.norm_eps));
  const float* weight = head < a.num_heads ? a.q_norm : a.k_norm;
  const auto normed = [&](int d) { return x[d] * scale * weight[d]; };
  const int kv_head = (head - a.num_heads) % a.num_kv_heads;
  const int64_t page = a.slots[row] / a.kv.page_size, entry = a.slots[row] % a.kv.page_size;
  double error = 0, largest = 0;
  for (int d = 0; d < a.kv.padded_dim; ++d) {
    double wanted = 0;
    if (d < dim) {
      const int i = d % half;
      const double c = a.cos[row * half + i], s = a.sin[row * half + i];
      wanted = is_value   ? static_cast<double>(x[d])
               : d < half ? normed(i) * c - normed(i + half) * s
                          : normed(i + half) * c + normed(i) * s;
    }
    const double got =
        head < a.num_heads
            ? static_cast<double>(static_cast<float>(
                  static_cast<const Element*>(a.q)[(int64_t{row} * a.num_heads + head) * a.kv.padded_dim + d]))
            : element(a.kv, is_value ? a.kv.values(page, kv_head) : a.kv.keys(page, kv_head), entry, d, Element());
    error = fmax(error, fabs(got - wanted));
    largest = fmax(largest, fabs(wanted));
  }
  errors[item] = static_cast<float>(error / largest);
}

// Attention in double of q and the pages as they are, a block a (row, head), a thread a dimension: the result, and the
// mean |v|, to which errors are compared.
template <typename Element>
__global__ void slow_attention(AttendArgs a, float* result, float* magnitude) {
  extern __shared__ double scores[];
  const int row = blockIdx.x, head = blockIdx.y, d = threadIdx.x, dim = a.head_dim;
  int sequence = 0;
  while (a.row_begin[sequence + 1] <= row) ++sequence;
  const int num_keys = a.positions[row] + 1, kv_head = head / a.group();
  const int32_t* pages = a.page_table + int64_t{sequence} * a.max_pages;
  const Element* q = static_cast<const Element*>(a.q) + (int64_t{row} * a.num_heads + head) * a.kv.padded_dim;
  for (int key = d; key < num_keys; key += blockDim.x) {
    const int64_t block = a.kv.keys(pages[key / a.kv.page_size], kv_head);
    double dot = 0;
    for (int i = 0; i < dim; ++i)
      dot += static_cast<double>(static_cast<float>(q[i])) * element(a.kv, block, key % a.kv.page_size, i, Element());
    scores[key] = dot / sqrt(static_cast<double>(dim));
  }
  __syncthreads();
  double m = -1e300, l = 0, o = 0, size = 0;
  for (int key = 0; key < num_keys; ++key) m = fmax(m, scores[key]);
  for (int key = 0; key < num_keys; ++key) {
    const double p = exp(scores[key] - m);
    const double v =
        d < dim ? element(a.kv, a.kv.values(pages[key / a.kv.page_size], kv_head), key % a.kv.page_size, d, Element())
                : 0;
    l += p;
    o += p * v;
    size += p * fabs(v);
  }
  if (d < dim) {
    result[row * a.ld_out + head * dim + d] = static_cast<float>(o / l);
    magnitude[row * a.ld_out + head * dim + d] = static_cast<float>(size / l);
  }
}

// ---- Checks

int failures = 0;

void report(bool ok, const char* what, const std::string& detail) {
  if (!ok) ++failures;
  std::printf("  %-34s %s%s\n", what, detail.c_str(), ok ? "" : "   FAILED");
}

size_t num_different(const std::vector<bfloat>& a, const std::vector<bfloat>& b, size_t* first = nullptr) {
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i)
    if (std::memcmp(&a[i], &b[i], sizeof(bfloat)) != 0 && different++ == 0 && first != nullptr) *first = i;
  return different;
}

void must_be_equal(const char* what, const std::vector<bfloat>& got, const std::vector<bfloat>& wanted, int64_t ld) {
  size_t first = 0;
  const size_t different = num_different(got, wanted, &first);
  std::string detail = std::to_string(different) + " of " + std::to_string(got.size()) + " differ";
  if (different > 0)
    detail += ", first at row " + std::to_string(first / static_cast<size_t>(ld)) + " column " +
              std::to_string(first % static_cast<size_t>(ld)) + ": " + std::to_string(static_cast<float>(got[first])) +
              " for " + std::to_string(static_cast<float>(wanted[first]));
  if (different > 0) report(false, what, detail);
}

// Largest error in units of `unit` times the mean magnitude of what was summed.
template <typename T>
double worst_error(const std::vector<T>& got, const std::vector<float>& wanted, const std::vector<float>& magnitude,
                   double unit) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double error = std::abs(static_cast<double>(static_cast<float>(got[i])) - static_cast<double>(wanted[i]));
    if (!(error <= 1e30)) return 1e30;
    worst = std::max(worst, error / (unit * static_cast<double>(magnitude[i]) + 1e-9));
  }
  return worst;
}

struct DecodeScratch {
  Device<uint32_t> counters;
  Device<float> partials;
  Device<int32_t> sequences;
  DecodeScratch(const AttendArgs& args, const DecodePlan& plan, const std::vector<int32_t>& list)
      : counters(static_cast<size_t>(plan.num_sequences) * static_cast<size_t>(args.num_kv_heads)),
        partials(static_cast<size_t>(decode_partial_bytes(args, plan) / 4)),
        sequences(list) {}
};

// What a block takes: so many tiles, or with kAllGroups all groups of them; 0: as planned; -n: an n-th of all tiles.
constexpr int kAllGroups = 16;
void split_by(DecodePlan& plan, int split) {
  if (split == 0) return;
  plan.sequence_blocks = std::max(0, -split);
  if (split < 0) return;
  plan.tiles_per_block = std::min<int>(split, qwill::kGroupTiles);
  plan.all_groups = split == kAllGroups;
}

void decode(const AttendArgs& args, int64_t max_context, int split, const std::vector<int32_t>& list = {}) {
  const int32_t count = list.empty() ? args.num_sequences : static_cast<int32_t>(list.size());
  DecodePlan plan = plan_decode(args, count, max_context, 132);
  split_by(plan, split);
  DecodeScratch scratch(args, plan, list);
  plan.counters = scratch.counters.data;
  plan.partials = scratch.partials.data;
  if (!list.empty()) plan.sequences = scratch.sequences.data;
  must(attend_decode(args, plan, nullptr), "attend_decode");
  must(cudaDeviceSynchronize(), "attend_decode");
  const std::vector<uint32_t> counters = scratch.counters.host();
  if (std::ranges::any_of(counters, [](uint32_t c) { return c != 0; })) report(false, "counters are left zero", "");
}

using Prefill = cudaError_t (*)(const AttendArgs&, const QueryTile*, int32_t, cudaStream_t);
void prefill(Prefill launch, const AttendArgs& args, const Index& index) {
  const Device<QueryTile> tiles(list_query_tiles(index.row_begin, index.seq_lens, args.group(), 1));
  must(launch(args, tiles.data, static_cast<int32_t>(tiles.count), nullptr), "attention");
  must(cudaDeviceSynchronize(), "attention");
}

// What is rounded to e4m3 on its way is what rounding the result by itself yields.
void check_rounded(const AttendArgs& args, const Index& index) {
  const auto rows = static_cast<size_t>(args.num_rows), heads = static_cast<size_t>(args.num_heads);
  const int64_t stride = (args.num_rows + 3) / 4 * 4;
  Device<uint8_t> at_once(rows * heads * 128), in_two(rows * heads * 128);
  Device<float> scales_at_once(heads * static_cast<size_t>(stride)), scales_in_two(heads * static_cast<size_t>(stride));
  const Device<QueryTile> tiles(list_query_tiles(index.row_begin, index.seq_lens, args.group(), 1));
  must(attend_prefill_to_fp8(args, {at_once.data, scales_at_once.data, args.ld_out, stride, 1}, tiles.data,
                             static_cast<int32_t>(tiles.count), nullptr),
       "attention to e4m3");
  must(bf16_to_fp8({in_two.data, scales_in_two.data, args.ld_out, stride, 1}, args.out, args.ld_out, args.num_rows,
                   nullptr),
       "rounding");
  must(cudaDeviceSynchronize(), "attention to e4m3");
  report(at_once.host() == in_two.host() && scales_at_once.host() == scales_in_two.host(), "rounded to e4m3 at once",
         "");
}

// All paths on one ragged step.
void check_step(const Shape& shape, const std::vector<Span>& spans) {
  const Scene scene(shape, spans);
  std::printf("group %d head_dim %d page_size %d: %d rows of %zu sequences\n", shape.group, shape.head_dim,
              shape.page_size, scene.num_rows, spans.size());
  const Inputs in(shape, scene.index.positions);
  const DeviceIndex index(scene.index);
  const size_t q_elements = static_cast<size_t>(scene.num_rows * shape.num_heads() * shape.padded_dim());
  const size_t out_elements = static_cast<size_t>(scene.num_rows * shape.out_cols());
  const size_t num_heads_all = static_cast<size_t>(scene.num_rows * (shape.num_heads() + 2 * shape.num_kv_heads));
  Device<float> errors(num_heads_all), wanted(out_elements), magnitude(out_elements);
  const auto largest_head_error = [&] { return std::ranges::max(errors.host()); };
  const dim3 slow_grid(static_cast<unsigned>(scene.num_rows), static_cast<unsigned>(shape.num_heads()));
  const size_t slow_shared = static_cast<size_t>(scene.max_context()) * 8;

  Device<bfloat> pages(scene.pool_elements()), q(q_elements), out(out_elements);
  if (shape.head_dim == shape.padded_dim()) randomize(pages, 4);
  const AttendArgs args = make_args(scene, in, index, pages.data, q.data, out.data);
  must(rope_and_store(args, nullptr), "rope_and_store");
  check_heads<bfloat><<<static_cast<unsigned>(num_heads_all / 128 + 1), 128>>>(args, errors.data);
  must(cudaDeviceSynchronize(), "check_heads");
  const float head_error = largest_head_error();
  report(head_error < 0x1.02p-8, "norm, rotation, pages", std::to_string(head_error * 256) + " half ulp of bf16");
  slow_attention<bfloat><<<slow_grid, 128, slow_shared>>>(args, wanted.data, magnitude.data);
  must(cudaDeviceSynchronize(), "slow_attention");
  const std::vector<float> truth = wanted.host(), size = magnitude.host();

  const auto filled_out = [&] { must(cudaMemset(out.data, 0x41, out_elements * 2), "cudaMemset"); };
  filled_out();
  prefill(attend_portable, args, scene.index);
  const std::vector<bfloat> portable = out.host();
  const double error = worst_error(portable, truth, size, 0x1p-8);
  report(error < 2.5, "portable against double", std::to_string(error) + " half ulp of the magnitude");
  filled_out();
  prefill(attend_prefill, args, scene.index);
  must_be_equal("prefill = portable", out.host(), portable, args.ld_out);
  if (shape.head_dim == kFp8AtomCols) check_rounded(args, scene.index);

  const Index rows = scene.row_by_row();
  const DeviceIndex row_index(rows);
  const AttendArgs row_args = make_args(scene, in, row_index, pages.data, q.data, out.data);
  for (const int split : {1, 2, 4, 8, kAllGroups, -1, -2, -3, -4, -5, -8}) {
    if (split < 0 && scene.max_context() > qwill::kTileKeys * DecodePlan::kMostSequenceTiles) continue;
    // The new key and value must come from the launch itself, except where an earlier row's is another row's history.
    filled_out();
    decode(row_args, scene.max_context(), split);
    must_be_equal(("decode by " + std::to_string(split) + " = portable").c_str(), out.host(), portable, args.ld_out);
  }
  std::vector<int32_t> list(static_cast<size_t>(scene.num_rows));
  std::iota(list.rbegin(), list.rend(), 0);
  list.push_back(-1);
  filled_out();
  decode(row_args, scene.max_context() + 3000, 0, list);
  must_be_equal("decode of a list = portable", out.host(), portable, args.ld_out);

  Device<float> pages_f32(scene.pool_elements()), q_f32(q_elements), out_f32(out_elements);
  if (shape.head_dim == shape.padded_dim()) randomize(pages_f32, 4);
  const AttendArgs exact = make_args(scene, in, index, pages_f32.data, q_f32.data, out_f32.data);
  must(rope_and_store_f32(exact, nullptr), "rope_and_store_f32");
  check_heads<float><<<static_cast<unsigned>(num_heads_all / 128 + 1), 128>>>(exact, errors.data);
  const float exact_head_error = largest_head_error();
  slow_attention<float><<<slow_grid, 128, slow_shared>>>(exact, wanted.data, magnitude.data);
  must(attend_f32(exact, nullptr), "attend_f32");
  must(cudaDeviceSynchronize(), "attend_f32");
  const double exact_error = worst_error(out_f32.host(), wanted.host(), magnitude.host(), 1e-6);
  report(exact_head_error < 1e-6f && exact_error < 10, "f32 against double",
         std::to_string(exact_error) + "e-6, heads " + std::to_string(exact_head_error * 1e6f) + "e-6");
}

// One sequence from empty pages: whole, in chunks, and one by one.
void check_chunks(const Shape& shape, int length) {
  const Scene whole(shape, {{0, length}});
  std::printf("one sequence of %d, group %d head_dim %d page_size %d\n", length, shape.group, shape.head_dim,
              shape.page_size);
  const Inputs in(shape, whole.index.positions);
  const DeviceIndex index(whole.index);
  Device<bfloat> pages(whole.pool_elements()), out(static_cast<size_t>(length * shape.out_cols()));
  Device<bfloat> q(static_cast<size_t>(length * shape.num_heads() * shape.padded_dim()));
  const AttendArgs args = make_args(whole, in, index, pages.data, q.data, out.data);
  must(rope_and_store(args, nullptr), "rope_and_store");
  prefill(attend_prefill, args, whole.index);
  const std::vector<bfloat> wanted = out.host(), wanted_pages = pages.host();

  // Rows first … first + rows - 1 as a step of their own.
  const auto step = [&](int first, int rows, const std::function<void(const AttendArgs&, const Index&)>& attend) {
    const auto slice = [&](const std::vector<int32_t>& v) {
      return std::vector<int32_t>(v.begin() + first, v.begin() + first + rows);
    };
    Index part = whole.index;
    part.positions = slice(part.positions);
    part.slots = slice(part.slots);
    part.row_begin = {0, rows};
    part.seq_lens = {first + rows};
    const DeviceIndex device(part);
    AttendArgs a = make_args(whole, in, device, pages.data, q.data, out.data + first * args.ld_out);
    a.qkv += first * a.ld_qkv;
    a.cos += first * (a.head_dim / 2);
    a.sin += first * (a.head_dim / 2);
    attend(a, part);
    must(cudaDeviceSynchronize(), "step");
  };
  const auto run = [&](const char* name, const std::vector<int>& chunks,
                       const std::function<void(const AttendArgs&, const Index&)>& attend) {
    pages.clear();
    out.clear();
    int first = 0;
    for (const int rows : chunks) {
      step(first, rows, attend);
      first += rows;
    }
    must_be_equal(name, out.host(), wanted, args.ld_out);
    must_be_equal((std::string(name) + ", pages").c_str(), pages.host(), wanted_pages, 1);
  };
  const auto by = [](Prefill launch) {
    return [launch](const AttendArgs& a, const Index& i) {
      must(rope_and_store(a, nullptr), "rope_and_store");
      prefill(launch, a, i);
    };
  };
  const std::vector<int> chunks = {300, 1, 7, 500, length - 808};
  run("chunks by prefill", chunks, by(attend_prefill));
  run("chunks by portable", chunks, by(attend_portable));
  run("one by one", std::vector<int>(static_cast<size_t>(length), 1),
      [&](const AttendArgs& a, const Index& i) { decode(a, length, 1 << i.seq_lens[0] % 5); });
  report(true, "whole = chunks = one by one", "checked");
}

// ---- Timing

// Microseconds of one `launch(i)`, i = 0 … count - 1 captured in a graph; the median of several replays.
double time_graph(int count, const std::function<void(int, cudaStream_t)>& launch) {
  cudaStream_t stream;
  must(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  must(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < count; ++i) launch(i, stream);
  cudaGraph_t graph;
  must(cudaStreamEndCapture(stream, &graph), "capture");
  cudaGraphExec_t exec;
  must(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  must(cudaEventCreate(&begin), "event");
  must(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 9; ++i) {
    must(cudaEventRecord(begin, stream), "record");
    must(cudaGraphLaunch(exec, stream), "launch");
    must(cudaEventRecord(end, stream), "record");
    must(cudaStreamSynchronize(stream), "replay");
    float ms = 0;
    must(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    if (i > 0) times.push_back(ms);
  }
  std::ranges::nth_element(times, times.begin() + times.size() / 2);
  must(cudaGraphExecDestroy(exec), "destroy");
  must(cudaGraphDestroy(graph), "destroy");
  must(cudaStreamDestroy(stream), "destroy");
  return static_cast<double>(times[times.size() / 2]) * 1000 / count;
}

// Reads `count` 16-byte words, as a product with a weight matrix would: drives the L2's contents out.
__global__ void stream_kernel(const uint4* data, size_t count, uint32_t* sink) {
  let_next_kernel_start();
  wait_for_previous_kernel();
  uint32_t sum = 0;
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < count; i += size_t{gridDim.x} * blockDim.x) {
    const uint4 v = __ldcs(data + i);
    sum += v.x ^ v.y ^ v.z ^ v.w;
  }
  if (sum == 0x12345678) *sink = sum;
}
__global__ void empty_kernel() {
  let_next_kernel_start();
  wait_for_previous_kernel();
}

// What one decode costs between two streams of weights.
void time_decode_between(int num_sequences, int context) {
  const Shape shape{8, 4, 128, 64};
  const Scene scene(shape, std::vector<Span>(static_cast<size_t>(num_sequences), {context - 1, 1}));
  const Inputs in(shape, scene.index.positions);
  const DeviceIndex index(scene.index);
  Device<bfloat> pages(scene.pool_elements()), out(static_cast<size_t>(scene.num_rows * shape.out_cols()));
  Device<uint4> weights(size_t{6} << 20);
  Device<uint32_t> sink(1);
  randomize(pages, 5);
  const AttendArgs args = make_args(scene, in, index, pages.data, nullptr, out.data);
  std::printf("decode %3d x %5d between streams of 100 MB:", num_sequences, context);
  const auto stream_weights = [&](cudaStream_t stream) {
    must(launch(stream_kernel, dim3(264), dim3(512), 0, stream, weights.data, weights.count, sink.data), "stream");
  };
  const double alone = time_graph(24, [&](int, cudaStream_t stream) { stream_weights(stream); });
  const double empty = time_graph(24, [&](int, cudaStream_t stream) {
    stream_weights(stream);
    must(launch(empty_kernel, dim3(32), dim3(128), 0, stream), "empty");
  });
  std::printf(" stream %.2f us, an empty kernel %.2f us;", alone, empty - alone);
  for (const int split : {1, 2, 4, 8}) {
    DecodePlan plan = plan_decode(args, num_sequences, context, 132);
    split_by(plan, split);
    const DecodeScratch scratch(args, plan, {});
    plan.counters = scratch.counters.data;
    plan.partials = scratch.partials.data;
    const double us = time_graph(24, [&](int, cudaStream_t stream) {
      stream_weights(stream);
      must(attend_decode(args, plan, stream), "attend_decode");
    });
    std::printf("  %d %6.2f us", split, us - alone);
  }
  std::printf("\n");
}

// Decode of equal contexts, layer after layer: as many layers as it takes to miss the L2.
void time_decode(int num_sequences, int context, int page_size) {
  const Shape shape{8, 4, 128, page_size};
  const Scene scene(shape, std::vector<Span>(static_cast<size_t>(num_sequences), {context - 1, 1}));
  const Inputs in(shape, scene.index.positions);
  const DeviceIndex index(scene.index);
  const double layer_bytes = 2.0 * static_cast<double>(scene.pool_elements());
  const int layers = std::clamp(static_cast<int>(3e8 / layer_bytes), 2, 144);
  Device<bfloat> pages(scene.pool_elements() * static_cast<size_t>(layers));
  randomize(pages, 5);
  Device<bfloat> out(static_cast<size_t>(scene.num_rows * shape.out_cols()));
  const AttendArgs args = make_args(scene, in, index, pages.data, nullptr, out.data);
  const double bytes = 4.0 * num_sequences * context * shape.num_kv_heads * shape.head_dim;
  std::printf("decode %3d x %5d, pages of %3d:", num_sequences, context, page_size);
  const DecodePlan planned = plan_decode(args, num_sequences, context, 132);
  const int chosen = planned.all_groups ? kAllGroups : planned.tiles_per_block;
  for (const int split : {1, 2, 4, 8, kAllGroups}) {
    DecodePlan plan = plan_decode(args, num_sequences, context, 132);
    split_by(plan, split);
    const DecodeScratch scratch(args, plan, {});
    plan.counters = scratch.counters.data;
    plan.partials = scratch.partials.data;
    const double us = time_graph(std::max(layers, 20), [&](int i, cudaStream_t stream) {
      AttendArgs a = args;
      a.kv.data = pages.data + static_cast<size_t>(i % layers) * scene.pool_elements();
      must(attend_decode(a, plan, stream), "attend_decode");
    });
    std::printf("  %d%c %7.2f us %6.0f GB/s", split, split == chosen ? '*' : ' ', us, bytes / us / 1e3);
  }
  std::printf("\n");
}

void time_prefill(int before, int rows, int sequences = 1) {
  const Shape shape{8, 4, 128, 64};
  const Scene scene(shape, std::vector<Span>(static_cast<size_t>(sequences), {before, rows}));
  const Inputs in(shape, scene.index.positions);
  const DeviceIndex index(scene.index);
  Device<bfloat> pages(scene.pool_elements()), out(static_cast<size_t>(scene.num_rows * shape.out_cols()));
  randomize(pages, 5);
  Device<bfloat> q(static_cast<size_t>(scene.num_rows) * static_cast<size_t>(shape.num_heads() * shape.padded_dim()));
  const AttendArgs args = make_args(scene, in, index, pages.data, q.data, out.data);
  const Device<QueryTile> tiles(list_query_tiles(scene.index.row_begin, scene.index.seq_lens, args.group(), 1));
  double keys = 0;
  for (const int32_t p : scene.index.positions) keys += p + 1;
  const double flops = 4.0 * shape.num_heads() * shape.head_dim * keys;
  const double rope = time_graph(5, [&](int, cudaStream_t stream) { must(rope_and_store(args, stream), "rope"); });
  std::printf("prefill %d x %5d after %5d: rope %7.1f us %5.0f GB/s", sequences, rows, before, rope,
              6.0 * scene.num_rows * shape.qkv_cols() / rope / 1e3);
  for (const auto& [name, launch] :
       {std::pair<const char*, Prefill>{"wgmma", attend_prefill}, {"portable", attend_portable}}) {
    const double us = time_graph(rows > 4096 ? 2 : 8, [&](int, cudaStream_t stream) {
      must(launch(args, tiles.data, static_cast<int32_t>(tiles.count), stream), name);
    });
    std::printf("  %s %8.1f us %5.0f TFLOP/s", name, us, flops / us / 1e6);
  }
  std::printf("\n");
}

void check_all() {
  const std::vector<Span> ragged = {{0, 1},     {0, 5},   {0, 130}, {37, 64}, {200, 1},
                                    {1000, 30}, {127, 2}, {0, 300}, {2095, 5}};
  for (const int group : {1, 2, 4, 5, 8, 16})
    for (const int dim : {24, 64, 128})
      for (const int page_size : {64, 128}) check_step({2, group, dim, page_size}, ragged);
  for (const int page_size : {64, 128})
    check_step({2, 4, 128, page_size},
               {{0, 1}, {0, 9}, {127, 2}, {128, 1}, {300, 1}, {1023, 1}, {1024, 1}, {1100, 9}, {2040, 8}});
  check_step({1, 16, 128, 64}, {{2047, 1}, {1151, 1}});
  check_step({2, 4, 128, 64}, {{0, 2100}});
  check_step({1, 1, 2, 64}, {{0, 200}});
  check_chunks({2, 4, 128, 64}, 1100);
  check_chunks({1, 5, 64, 128}, 1100);
}

void time_all() {
  const double empty = time_graph(
      100, [](int, cudaStream_t stream) { must(launch(empty_kernel, dim3(32), dim3(128), 0, stream), "empty"); });
  std::printf("an empty kernel: %.2f us\n", empty);
  for (const int context : {128, 512, 1024, 4096}) time_decode_between(1, context);
  time_decode_between(8, 1024);
  for (const int page_size : {64, 128})
    for (const auto& [sequences, context] : std::initializer_list<std::pair<int, int>>{{1, 128},
                                                                                       {1, 512},
                                                                                       {1, 1024},
                                                                                       {1, 4096},
                                                                                       {1, 32768},
                                                                                       {8, 2048},
                                                                                       {64, 1024},
                                                                                       {128, 1024},
                                                                                       {256, 1024},
                                                                                       {64, 1100},
                                                                                       {256, 1100}})
      time_decode(sequences, context, page_size);
  for (const int rows : {512, 1024, 2048, 4096, 8192, 16384}) time_prefill(0, rows);
  time_prefill(8192, 2048);
  time_prefill(1024, 8, 64);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "all";
  if (what != "time") check_all();
  if (what != "check") time_all();
  std::printf("%d checks failed\n", failures);
  return failures > 0;
}
