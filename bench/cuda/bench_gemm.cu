// Tests and times the bf16 products of cuda/kernels/gemm.h on the device at hand.
//   bench_gemm            all of it
//   bench_gemm test       the tests alone; exit 1 if one fails
//   bench_gemm ROWS …     times of products with so many rows alone
// Tests: every tile and the portable path against sums in double on ragged shapes, and against each other bit for bit,
// with few rows and with many. Times: the matrices of Qwen3-8B, alone and as a step of 36 layers, and grouped products.
#include <algorithm>
#include <cmath>

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/gemm.h"
#include "ops/tensor_core_sum.h"
#include "products.cuh"

using namespace qwill::cuda;

namespace {

__global__ void fill(bfloat* data, int64_t count, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    data[i] = __float2bfloat16(scale * random_value(i, seed));
}
__global__ void fill(float* data, int64_t count, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    data[i] = scale * random_value(i, seed);
}
// The columns from `cols` on as zeros, as the padding of a placed weight and of activations is.
__global__ void fill_rows(bfloat* a, int64_t rows, int64_t cols, int64_t lda, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < rows * lda; i += int64_t{gridDim.x} * blockDim.x)
    a[i] = __float2bfloat16(i % lda < cols ? scale * random_value(i, seed) : 0.0f);
}
__global__ void fill_weight(bfloat* data, MatrixLayout layout, int64_t rows, int64_t cols, float scale, uint64_t seed) {
  const int64_t padded = layout.padded_cols(), all = layout.row_blocks * 8 * padded;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < all; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t row = i / padded, col = i % padded;
    data[layout.offset(row, col)] = __float2bfloat16(row < rows && col < cols ? scale * random_value(i, seed) : 0.0f);
  }
}

// --- the truth: sums in double, and how far tensor cores may be from them ---

__global__ void multiply_plainly(const bfloat* a, int64_t lda, int64_t num_rows, const bfloat* weights,
                                 MatrixLayout layout, int64_t rows, double* y, double* error) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < num_rows * rows;
       i += int64_t{gridDim.x} * blockDim.x) {
    qwill::test::TensorCoreSum sum;
    for (int64_t k = 0; k < layout.padded_cols(); ++k)
      sum.add(static_cast<double>(__bfloat162float(a[i / rows * lda + k])) *
              __bfloat162float(weights[layout.offset(i % rows, k)]));
    y[i] = sum.sum;
    error[i] = sum.error;
  }
}

GemmWeight make_weight(const bfloat* data, int64_t rows, int64_t cols, int64_t num_matrices = 1) {
  GemmWeight weight;
  weight.data = data;
  weight.layout = {(rows + 7) / 8 * num_matrices, (cols + 63) / 64};
  weight.rows = rows;
  check(make_weight_map(data, weight.layout, weight.map), "make_weight_map");
  return weight;
}

// Every way to compute a call.
struct Path {
  std::string name;
  std::function<cudaError_t(const GemmCall&)> run;
};
std::vector<Path> all_paths(int32_t min_tokens) {
  std::vector<Path> paths;
  for (const GemmTile& tile : kGemmTiles)
    if (tile.tokens >= min_tokens)
      paths.push_back({name_of(tile), [tile](const GemmCall& call) { return gemm_wgmma(call, tile, num_sms, queue); }});
  if (min_tokens <= 128) paths.push_back({"portable", [](const GemmCall& c) { return gemm_portable(c, queue); }});
  return paths;
}

// What a call leaves in a buffer of `height` rows of 0xFF bytes (or, for add, of random values).
constexpr int64_t kHeight = 320;
std::vector<uint8_t> run_path(const Path& path, GemmCall call, const std::string& what) {
  Buffer<uint8_t> y(kHeight * call.ldy * element_bytes(call.epilogue));
  call.y = y.data;
  check(cudaMemsetAsync(y.data, 0xFF, y.size, queue), "memset");
  if (call.epilogue == Epilogue::add)
    fill<<<256, 256, 0, queue>>>(reinterpret_cast<float*>(y.data), kHeight * call.ldy, 1, 7);
  const cudaError_t error = path.run(call);
  expect(error == cudaSuccess, what + " " + path.name + ": " + cudaGetErrorString(error));
  return y.host();
}

// Largest error of a result, in units of what its sums may lose; and that nothing else was written.
double compare(const std::vector<uint8_t>& y, const GemmCall& call, int64_t valid_cols, const std::vector<double>& sums,
               const std::vector<double>& errors, const std::string& what) {
  double worst = 0;
  bool others_kept = true, padding_zero = true;
  const int64_t rows = call.weight->rows;
  for (int64_t t = 0; t < kHeight; ++t)
    for (int64_t n = 0; n < call.ldy; ++n) {
      const int64_t i = t * call.ldy + n;
      const uint8_t* at = &y[i * element_bytes(call.epilogue)];
      if (call.epilogue == Epilogue::silu_mul) {
        if (t >= call.num_rows) {
          others_kept &= at[0] == 0xFF && at[1] == 0xFF;
        } else if (n >= valid_cols) {
          padding_zero &= at[0] == 0 && at[1] == 0;
        } else {
          const int64_t gate = t * rows + n / 8 * 16 + n % 8, up = gate + 8;
          const double g = sums[gate], silu_g = g / (1 + std::exp(-g)), wanted = silu_g * sums[up];
          const double allowed = 0x1p-8 * std::abs(wanted) + 1.1 * errors[gate] * (std::abs(sums[up]) + errors[up]) +
                                 std::abs(silu_g) * errors[up];
          worst = std::max(worst, std::abs(bf16_value(at) - wanted) / (allowed + 1e-30));
        }
        continue;
      }
      const float before = call.epilogue == Epilogue::add ? random_value(i, 7) : 0;
      if (t >= call.num_rows || n >= rows) {
        others_kept &= call.epilogue == Epilogue::add ? float_value(at) == before : at[0] == 0xFF && at[3] == 0xFF;
        continue;
      }
      const double wanted = before + sums[t * rows + n];
      const double allowed = errors[t * rows + n] + 0x1p-23 * std::abs(wanted);
      worst = std::max(worst, std::abs(float_value(at) - wanted) / (allowed + 1e-30));
    }
  expect(others_kept, what + ": written outside");
  expect(padding_zero, what + ": padding is not zero");
  return worst;
}

void test_shape(int64_t rows, int64_t cols, Epilogue epilogue, int64_t valid_cols) {
  const MatrixLayout layout{(rows + 7) / 8, (cols + 63) / 64};
  const int64_t lda = layout.padded_cols();
  Buffer<bfloat> weights(layout.bytes() / 2), a(kHeight * lda);
  fill_weight<<<1024, 256, 0, queue>>>(weights.data, layout, rows, cols, 1.5f / std::sqrt(static_cast<float>(cols)), 1);
  fill_rows<<<1024, 256, 0, queue>>>(a.data, kHeight, cols, lda, 3, 2);
  // Padding of the last gate and up blocks.
  const GemmWeight weight = make_weight(weights.data, rows, cols);
  if (epilogue == Epilogue::silu_mul && valid_cols % 8) {
    for (int64_t row : {rows - 16, rows - 8})
      for (int64_t r = row + valid_cols % 8; r < row + 8; ++r)
        for (int64_t k = 0; k < layout.padded_cols(); ++k)
          check(cudaMemsetAsync(weights.data + layout.offset(r, k), 0, 2, queue), "memset");
  }
  Buffer<double> sums(kHeight * rows), errors(kHeight * rows);
  multiply_plainly<<<4096, 128, 0, queue>>>(a.data, lda, kHeight, weights.data, layout, rows, sums.data, errors.data);
  const std::vector<double> host_sums = sums.host(), host_errors = errors.host();
  std::vector<uint8_t> longest;
  int64_t longest_ldy = 0;
  double worst = 0;
  for (int64_t num_rows : {300, 256, 130, 100, 64, 33, 16, 7, 1}) {
    GemmCall call = {.weight = &weight, .a = a.data, .lda = lda, .num_rows = num_rows, .epilogue = epilogue};
    const int64_t width = epilogue == Epilogue::silu_mul ? valid_cols : rows;
    if (epilogue == Epilogue::silu_mul)
      call.ldy = (width + 63) / 64 * 64;
    else  // rows that are aligned, and rows that are not
      call.ldy = num_rows % 2 == 0 ? (width + 3) / 4 * 4 + 4 : width / 2 * 2 + 7;
    const std::string what = "epilogue " + std::to_string(static_cast<int>(epilogue)) + " N " + std::to_string(rows) +
                             " K " + std::to_string(cols) + " T " + std::to_string(num_rows);
    std::vector<uint8_t> first;
    for (const Path& path : all_paths(0)) {
      std::vector<uint8_t> y = run_path(path, call, what);
      if (first.empty()) {
        worst = std::max(worst, compare(y, call, valid_cols, host_sums, host_errors, what));
        first = std::move(y);
      } else {
        expect(y == first, what + " " + path.name + ": other bits than the first path");
      }
    }
    if (longest.empty()) longest = first, longest_ldy = call.ldy;
    // The sums to add to differ with ldy.
    bool same = true;
    for (int64_t t = 0; t < num_rows && (epilogue != Epilogue::add || call.ldy == longest_ldy); ++t)
      same &= std::memcmp(&first[t * call.ldy * element_bytes(epilogue)],
                          &longest[t * longest_ldy * element_bytes(epilogue)], width * element_bytes(epilogue)) == 0;
    expect(same, what + ": other bits than in 300 rows");
  }
  expect(worst <= 1, "error against the sums in double");
  std::printf("epilogue %d N %6ld K %5ld: largest error %.3f of the allowed\n", static_cast<int>(epilogue), rows, cols,
              worst);
}

void test_grouped(int64_t rows, int64_t cols, Epilogue epilogue) {
  const std::vector<int32_t> counts = {3, 0, 17, 40, 1, 130, 16};
  const auto num_experts = static_cast<int64_t>(counts.size());
  const MatrixLayout layout{(rows + 7) / 8 * num_experts, (cols + 63) / 64};
  const int64_t lda = layout.padded_cols(), expert_elements = layout.bytes() / 2 / num_experts;
  int64_t num_rows = 0;
  for (int32_t count : counts) num_rows += count;
  Buffer<bfloat> weights(layout.bytes() / 2), a(num_rows * lda);
  fill_weight<<<1024, 256, 0, queue>>>(weights.data, layout, layout.row_blocks * 8, cols,
                                       1.5f / std::sqrt(static_cast<float>(cols)), 1);
  fill_rows<<<1024, 256, 0, queue>>>(a.data, num_rows, cols, lda, 3, 2);
  const GemmWeight weight = make_weight(weights.data, rows, cols, num_experts);
  GemmCall call = {.weight = &weight, .a = a.data, .lda = lda, .num_rows = num_rows, .epilogue = epilogue};
  call.ldy = epilogue == Epilogue::silu_mul ? (rows / 2 + 63) / 64 * 64 : rows + rows % 2;
  const size_t row_bytes = call.ldy * element_bytes(epilogue);
  // Each expert by itself.
  std::vector<uint8_t> wanted(kHeight * row_bytes, 0xFF);
  int64_t row = 0;
  for (size_t e = 0; e < counts.size(); row += counts[e++]) {
    if (counts[e] == 0) continue;
    const GemmWeight one = make_weight(weights.data + e * expert_elements, rows, cols);
    GemmCall part = call;
    part.weight = &one;
    part.a = a.data + row * lda;
    part.num_rows = counts[e];
    const std::vector<uint8_t> y = run_path(all_paths(0)[0], part, "one expert");
    std::copy_n(y.begin(), counts[e] * row_bytes, wanted.begin() + row * row_bytes);
  }
  for (int32_t tile_rows : {8, 16, 32, 64, 128, 256}) {
    const std::vector<ExpertTile> list = list_tiles(counts, tile_rows);
    Buffer<ExpertTile> tiles(list.size());
    Buffer<int32_t> count(1);
    tiles.set(list);
    count.set({static_cast<int32_t>(list.size())});
    const GroupTiles groups = {tiles.data, count.data, static_cast<int32_t>(list.size()) + 9, tile_rows,
                               static_cast<int32_t>((rows + 7) / 8)};
    call.grouped = &groups;
    for (const Path& path : all_paths(tile_rows)) {
      const std::string what = "grouped, epilogue " + std::to_string(static_cast<int>(epilogue)) + " N " +
                               std::to_string(rows) + " K " + std::to_string(cols) + " tiles of " +
                               std::to_string(tile_rows);
      expect(run_path(path, call, what) == wanted, what + " " + path.name + ": other bits than expert by expert");
    }
  }
}

__global__ void silu_error(float* worst) {
  float most = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < 1 << 26; i += int64_t{gridDim.x} * blockDim.x) {
    const float g = 86.9f * random_value(i, 3) * (i % 2 ? 1.0f : 0.1f);
    const double wanted = g / (1 + exp(-static_cast<double>(g)));
    most = fmaxf(most, static_cast<float>(fabs(silu(g) - wanted) / fabs(wanted)));
  }
  atomicMax(reinterpret_cast<int*>(worst), __float_as_int(most));
}

void run_tests() {
  Buffer<float> worst(1);
  check(cudaMemset(worst.data, 0, 4), "memset");
  silu_error<<<1024, 256, 0, queue>>>(worst.data);
  const float error = worst.host()[0];
  std::printf("silu: largest relative error %.3g\n", error);
  expect(error <= 1e-6f, "silu");
  for (Epilogue epilogue : {Epilogue::store, Epilogue::add})
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{24, 64}, {7, 40}, {200, 192}, {1000, 576}, {384, 4096}})
      test_shape(rows, cols, epilogue, rows);
  test_shape(40000, 64, Epilogue::store, 40000);
  for (const auto& [width, cols] : {std::pair<int64_t, int64_t>{24, 64}, {20, 64}, {100, 192}, {608, 576}, {192, 4096}})
    test_shape((width + 7) / 8 * 16, cols, Epilogue::silu_mul, width);
  test_grouped(40, 192, Epilogue::store);
  test_grouped(300, 1024, Epilogue::store);
  test_grouped(48, 192, Epilogue::silu_mul);
  test_grouped(320, 1024, Epilogue::silu_mul);
  std::printf("%s\n", num_failed ? "FAILED" : "all tests passed");
}

// --- times ---

struct Matrix {
  const char* name;
  int64_t rows;
  int64_t cols;
  Epilogue epilogue;
};
constexpr Matrix kMatrices[] = {{"qkv", 6144, 4096, Epilogue::store},
                                {"o", 4096, 4096, Epilogue::add},
                                {"gate_up", 24576, 4096, Epilogue::silu_mul},
                                {"down", 4096, 12288, Epilogue::add}};
constexpr int kNumLayers = 36;
constexpr int64_t kMaxRows = 8192;

struct Bench {
  Buffer<bfloat> pool;
  Buffer<bfloat> a{kMaxRows * 12288};
  Buffer<float> y{kMaxRows * 12288};
  std::vector<GemmWeight> weights;  // [layer][matrix]

  static size_t pool_elements() {
    size_t count = 0;
    for (const Matrix& m : kMatrices) count += m.rows * m.cols;
    return count * kNumLayers;
  }
  Bench() : pool(pool_elements()) {
    fill<<<4096, 256, 0, queue>>>(pool.data, static_cast<int64_t>(pool.size), 0.03f, 1);
    fill<<<4096, 256, 0, queue>>>(a.data, static_cast<int64_t>(a.size), 1.0f, 2);
    fill<<<4096, 256, 0, queue>>>(y.data, static_cast<int64_t>(y.size), 1.0f, 3);
    const bfloat* at = pool.data;
    for (int layer = 0; layer < kNumLayers; ++layer)
      for (const Matrix& m : kMatrices) {
        weights.push_back(make_weight(at, m.rows, m.cols));
        at += m.rows * m.cols;
      }
  }

  GemmCall make_call(int layer, int matrix, int64_t num_rows) const {
    const Matrix& m = kMatrices[matrix];
    return {.weight = &weights[layer * std::size(kMatrices) + matrix],
            .a = a.data,
            .lda = m.cols,
            .num_rows = num_rows,
            .epilogue = m.epilogue,
            .y = y.data,
            .ldy = m.epilogue == Epilogue::silu_mul ? m.rows / 2 : m.rows};
  }
  void enqueue(int layer, int matrix, int64_t num_rows, const GemmTile& tile) const {
    check(gemm_wgmma(make_call(layer, matrix, num_rows), tile, num_sms, queue), "gemm_wgmma");
  }

  // Neither far larger than the rows, nor so small that weights are read time and again.
  static bool is_sensible(const GemmTile& tile, int64_t num_rows) {
    return tile.tokens < std::max<int64_t>(17, 2 * num_rows) && tile.tokens * 4 >= std::min<int64_t>(num_rows, 512) &&
           (num_rows <= 256 || tile.rows > 64);
  }

  // Every sensible tile for every matrix; a star at the chosen one.
  void time_matrices(int64_t num_rows) {
    const bool few = num_rows <= 256;
    const int layers = few ? kNumLayers : num_rows <= 2048 ? 12 : 4;
    double chosen_ms = 0, best_ms = 0;
    for (int m = 0; m < static_cast<int>(std::size(kMatrices)); ++m) {
      const Matrix& matrix = kMatrices[m];
      const GemmTile chosen = choose_gemm_tile(matrix.rows, num_rows, num_sms);
      double best = 1e30;
      std::printf("T %5ld %-8s", num_rows, matrix.name);
      for (const GemmTile& tile : kGemmTiles) {
        if (!is_sensible(tile, num_rows)) continue;
        const double ms = time_ms([&] {
                            for (int layer = 0; layer < layers; ++layer) enqueue(layer, m, num_rows, tile);
                          }) /
                          layers;
        const double gb = static_cast<double>(matrix.rows) * matrix.cols * 2e-9;
        const double tflop = 2e-12 * static_cast<double>(matrix.rows) * matrix.cols * num_rows;
        std::printf("  %s%s %.1f", tile == chosen ? "*" : "", name_of(tile).c_str(), ms * 1e3);
        if (few)
          std::printf(" us (%.0f GB/s)", gb / ms * 1e3);
        else
          std::printf(" us (%.0f TFLOP/s)", tflop / ms * 1e3);
        if (tile == chosen) chosen_ms += ms;
        best = std::min(best, ms);
      }
      best_ms += best;
      std::printf("\n");
    }
    std::printf("T %5ld sum of the chosen %.1f us, of the best %.1f us\n", num_rows, chosen_ms * 1e3, best_ms * 1e3);
  }

  void time_step(int64_t num_rows) {
    const double ms = time_ms([&] {
      for (int layer = 0; layer < kNumLayers; ++layer)
        for (int m = 0; m < static_cast<int>(std::size(kMatrices)); ++m)
          enqueue(layer, m, num_rows, choose_gemm_tile(kMatrices[m].rows, num_rows, num_sms));
    });
    std::printf("T %5ld step of 36 layers %.3f ms: %.0f GB/s of weights, %.0f TFLOP/s\n", num_rows, ms,
                pool.size * 2e-6 / ms, pool.size * 2e-9 * num_rows / ms);
  }

  void time_portable(int64_t num_rows) {
    for (int m = 0; m < static_cast<int>(std::size(kMatrices)); ++m) {
      const double ms = time_ms([&] {
                          for (int layer = 0; layer < 4; ++layer)
                            check(gemm_portable(make_call(layer, m, num_rows), queue), "gemm_portable");
                        }) /
                        4;
      std::printf("T %5ld %-8s portable %.1f us: %.0f GB/s, %.0f TFLOP/s\n", num_rows, kMatrices[m].name, ms * 1e3,
                  kMatrices[m].rows * kMatrices[m].cols * 2e-6 / ms,
                  kMatrices[m].rows * kMatrices[m].cols * 2e-9 * num_rows / ms);
    }
  }

  // A vocabulary head.
  void time_head(int64_t num_rows) {
    const GemmWeight weight = make_weight(pool.data, 151936, 4096);
    const GemmCall call = {
        .weight = &weight, .a = a.data, .lda = 4096, .num_rows = num_rows, .y = y.data, .ldy = 151936};
    const GemmTile chosen = choose_gemm_tile(151936, num_rows, num_sms);
    std::printf("T %5ld head    ", num_rows);
    for (const GemmTile& tile : kGemmTiles) {
      if (!is_sensible(tile, num_rows)) continue;
      const double ms = time_ms([&] { check(gemm_wgmma(call, tile, num_sms, queue), "head"); });
      std::printf("  %s%s %.1f us (%.0f GB/s)", tile == chosen ? "*" : "", name_of(tile).c_str(), ms * 1e3,
                  151936 * 8192e-6 / ms);
    }
    std::printf("\n");
  }

  // Qwen3-30B-A3B: 128 experts, eight a token, [1536, 2048] and [2048, 768] each.
  void time_experts(int64_t num_tokens) {
    constexpr int64_t kExperts = 128;
    std::vector<int32_t> counts(kExperts);
    for (int64_t i = 0; i < num_tokens * 8; ++i)
      ++counts[static_cast<size_t>((random_value(i, 5) + 1) * 64) % kExperts];
    int64_t used = 0;
    for (int32_t count : counts) used += count > 0;
    for (const Matrix& m : {Matrix{"gate_up", 1536, 2048, Epilogue::silu_mul}, {"down", 2048, 768, Epilogue::store}}) {
      for (const GemmTile& tile : kGemmTiles) {
        const int32_t tile_rows = tile.tokens;
        if (tile_rows > 16 && tile_rows > num_tokens) continue;
        const std::vector<ExpertTile> list = list_tiles(counts, tile_rows);
        Buffer<ExpertTile> tiles(list.size());
        Buffer<int32_t> count(1);
        tiles.set(list);
        count.set({static_cast<int32_t>(list.size())});
        const GroupTiles groups = {tiles.data, count.data, static_cast<int32_t>(kExperts + num_tokens * 8 / tile_rows),
                                   tile_rows, static_cast<int32_t>(m.rows / 8)};
        const int64_t elements = kExperts * m.rows * m.cols;
        const int layers = static_cast<int>(pool.size / elements);
        std::vector<GemmWeight> layer_weights;
        for (int layer = 0; layer < layers; ++layer)
          layer_weights.push_back(make_weight(pool.data + layer * elements, m.rows, m.cols, kExperts));
        const double ms = time_ms([&] {
                            for (const GemmWeight& weight : layer_weights) {
                              const GemmCall call = {.weight = &weight,
                                                     .a = a.data,
                                                     .lda = m.cols,
                                                     .num_rows = num_tokens * 8,
                                                     .epilogue = m.epilogue,
                                                     .y = y.data,
                                                     .ldy = m.epilogue == Epilogue::silu_mul ? m.rows / 2 : m.rows,
                                                     .grouped = &groups};
                              check(gemm_wgmma(call, tile, num_sms, queue), "grouped");
                            }
                          }) /
                          layers;
        const bool chosen = tile == choose_grouped_gemm_tile(tile_rows);
        std::printf("experts T %5ld %-8s %s%s %.1f us, %.0f GB/s, %.0f TFLOP/s\n", num_tokens, m.name,
                    chosen ? "*" : "", name_of(tile).c_str(), ms * 1e3, used * m.rows * m.cols * 2e-6 / ms,
                    num_tokens * 8 * m.rows * m.cols * 2e-9 / ms);
      }
    }
  }

  void run_rows(const std::vector<std::string>& list) {
    for (const std::string& rows : list) {
      time_matrices(std::stoll(rows));
      time_step(std::stoll(rows));
      if (std::stoll(rows) <= 256) time_head(std::stoll(rows));
    }
  }
  void run() {
    for (int64_t rows : {9, 16, 32, 48, 64, 96, 128, 192, 256}) {
      time_matrices(rows);
      time_step(rows);
      time_head(rows);
    }
    for (int64_t rows : {384, 512, 1024, 2000, 2048, 8192}) {
      time_matrices(rows);
      time_step(rows);
    }
    for (int64_t rows : {16, 2048}) time_portable(rows);
    for (int64_t tokens : {1, 8, 64, 256, 2048}) time_experts(tokens);
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "device");
  num_sms = properties.multiProcessorCount;
  std::printf("%s, %d multiprocessors\n", properties.name, num_sms);
  check(cudaStreamCreate(&queue), "stream");
  check(prepare_gemm_wgmma(), "prepare_gemm_wgmma");
  check(prepare_gemm_portable(), "prepare_gemm_portable");
  if (argc < 2 || std::strcmp(argv[1], "test") == 0) run_tests();
  if (argc < 2) Bench().run();
  if (argc >= 2 && std::strcmp(argv[1], "test") != 0) Bench().run_rows({argv + 1, argv + argc});
  return num_failed ? 1 : 0;
}
