// Tests and times the e4m3 products of cuda/kernels/fp8.h and stream_fp8.h on the device at hand.
//   bench_fp8            all of it
//   bench_fp8 many       of the times those of 128 rows and more
//   bench_fp8 test       the tests alone; exit 1 if one fails
//   bench_fp8 cases      the same, and each case is named before it runs
//   bench_fp8 scales     rounding on the host, and what it costs with scales of several kinds; needs no device
// Tests: rounding and scales against the host's; every tile and the stream of few rows against sums in double of the
// rounded values on ragged shapes, and against each other bit for bit, with few rows and with many; groups against
// their experts one by one. Times: the matrices of Qwen3-8B, rounding of activations included, alone and as 36 layers.
#include <cmath>
#include <memory>
#include <random>

#include "cuda/kernels/fp8.h"
#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/stream_fp8.h"
#include "products.cuh"
#include "tensor/fp8.h"

using namespace qwill::cuda;

namespace {

using bfloat = __nv_bfloat16;

// --- where a test is ---

bool cases_are_named = false;

// Before a case is launched.
void begin_case(const std::string& what) {
  if (cases_are_named) std::printf("%s\n", what.c_str());
}
// After it: an error of the device is the case's.
void end_case(cudaError_t launched, const std::string& what) {
  const cudaError_t error = launched == cudaSuccess ? cudaStreamSynchronize(queue) : launched;
  if (error == cudaSuccess) return;
  std::printf("FAILED %s: %s\n", what.c_str(), cudaGetErrorString(error));
  std::exit(1);  // the device may run nothing more
}

// --- what rounding costs ---

float e4m3_value(uint8_t bits) {
  const __half_raw half = __nv_cvt_fp8_to_halfraw(bits, __NV_E4M3);
  return __half2float(__half(half));
}
float rounded(float x, float scale) {
  return e4m3_value(static_cast<uint8_t>(__nv_cvt_float_to_fp8(x / scale, __NV_SATFINITE, __NV_E4M3))) * scale;
}

// Relative error (root of mean squares) of a matrix whose groups of rows x cols share a scale.
double rounding_error(const std::vector<float>& w, int64_t rows, int64_t cols, int64_t group_rows, int64_t group_cols,
                      bool powers_of_2) {
  double errors = 0, squares = 0;
  for (int64_t r0 = 0; r0 < rows; r0 += group_rows)
    for (int64_t c0 = 0; c0 < cols; c0 += group_cols) {
      float most = 0;
      const auto each = [&](const auto& f) {
        for (int64_t r = r0; r < std::min(rows, r0 + group_rows); ++r)
          for (int64_t c = c0; c < std::min(cols, c0 + group_cols); ++c) f(w[r * cols + c]);
      };
      each([&](float x) { most = std::max(most, std::abs(x)); });
      const float scale = powers_of_2 ? std::exp2(std::ceil(std::log2(most / 448))) : fp8_scale(most);
      each([&](float x) {
        const double off = static_cast<double>(rounded(x, scale)) - x;
        errors += off * off;
        squares += static_cast<double>(x) * x;
      });
    }
  return std::sqrt(errors / squares);
}

void compare_scales() {
  constexpr int64_t kRows = 256, kCols = 4096;
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal;
  std::student_t_distribution<float> heavy(3);
  std::vector<float> gauss(kRows * kCols), tails(kRows * kCols), outliers(kRows * kCols);
  for (size_t i = 0; i < gauss.size(); ++i) {
    gauss[i] = normal(random);
    tails[i] = heavy(random);
    outliers[i] = normal(random) * (i % kCols % 512 == 7 ? 100.0f : 1.0f);  // some columns far larger
  }
  std::printf(
      "relative error of e4m3, %%: scale of           row x 128  128 x 128     row  tensor  row x 128, powers of 2\n");
  for (const auto& [name, w] : {std::pair<const char*, const std::vector<float>*>{"normal", &gauss},
                                {"Student, 3 degrees", &tails},
                                {"columns 100 times larger", &outliers}})
    std::printf("  %-40s %9.4f %11.4f %7.4f %8.4f %8.4f\n", name, 100 * rounding_error(*w, kRows, kCols, 1, 128, false),
                100 * rounding_error(*w, kRows, kCols, 128, 128, false),
                100 * rounding_error(*w, kRows, kCols, 1, kCols, false),
                100 * rounding_error(*w, kRows, kCols, kRows, kCols, false),
                100 * rounding_error(*w, kRows, kCols, 1, 128, true));
}

// The host's rounding is the reference's (tensor/fp8.h), and so are the scales.
void test_host_rounding() {
  int64_t wrong = 0;
  for (uint64_t i = 0; i < (1 << 22); ++i) {
    const float x = random_value(i, 21) * std::exp2(20 * random_value(i, 22));
    const uint32_t packed = pack_fp8(float4{x, -x, 2 * x, 0}, 1.0f / 3.0f);
    const float scaled[] = {x * (1.0f / 3.0f), -x * (1.0f / 3.0f), 2 * x * (1.0f / 3.0f), 0};
    for (int k = 0; k < 4; ++k)
      wrong += e4m3_value(static_cast<uint8_t>(packed >> 8 * k)) != qwill::round_to_e4m3(scaled[k]);
    wrong += fp8_scale(std::abs(x)) != qwill::fp8_scale(std::abs(x));
  }
  expect(wrong == 0, "rounding on the host: " + std::to_string(wrong) + " wrong");
  std::printf("rounding on the host: %ld wrong\n", wrong);
}

// --- random data ---

__global__ void fill(float* data, int64_t count, float scale, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x)
    data[i] = scale * random_value(i, seed);
}
// Rows of bf16 [rows, stride], zeros from `cols` on; every eighth row much larger, every 128 columns another size.
__global__ void fill_rows(bfloat* a, int64_t rows, int64_t cols, int64_t stride, uint64_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < rows * stride;
       i += int64_t{gridDim.x} * blockDim.x) {
    const float scale = (i / stride % 8 == 5 ? 300.0f : 3.0f) / static_cast<float>(1 + i % stride / 128 % 5);
    a[i] = __float2bfloat16(i % stride < cols ? scale * random_value(i, seed) : 0.0f);
  }
}
__global__ void widen(float* y, const bfloat* a, int64_t rows, int64_t cols, int64_t stride) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < rows * cols;
       i += int64_t{gridDim.x} * blockDim.x)
    y[i] = __bfloat162float(a[i / cols * stride + i % cols]);
}

// --- weights and rows ---

struct Weight {
  Fp8Layout layout;
  Buffer<uint8_t> data;
  Buffer<float> scales;
  Fp8Weight view;

  Weight(int64_t rows, int64_t cols, int64_t num_matrices = 1)
      : layout{(rows + 7) / 8 * num_matrices, (cols + 127) / 128},
        data(static_cast<size_t>(layout.bytes())),
        scales(static_cast<size_t>(layout.rows())) {
    check(cudaMemset(data.data, 0, data.size), "memset");
    check(cudaMemset(scales.data, 0, scales.size * 4), "memset");
    view = {.data = data.data, .scales = scales.data, .layout = layout, .rows = rows, .map = {}};
    check(make_weight_map(data.data, {layout.row_blocks, layout.col_blocks}, view.map), "make_weight_map");
  }
  Fp8Destination destination(int64_t first_block = 0, int64_t block_stride = 1) {
    return {data.data, scales.data, layout, first_block, block_stride};
  }
  // One of several matrices.
  Fp8Weight part(int64_t i, int64_t rows) const {
    const int64_t blocks = (rows + 7) / 8;
    Fp8Weight one = view;
    one.layout.row_blocks = blocks;
    one.data = data.data + i * one.layout.bytes();
    one.scales = scales.data + i * blocks * 8;
    check(make_weight_map(one.data, {blocks, layout.col_blocks}, one.map), "make_weight_map");
    return one;
  }
};

struct Rows {
  Buffer<uint8_t> data;
  Buffer<float> scales;
  Fp8Rows view;
  Rows(int64_t rows, int64_t cols, int32_t copies = 1)
      : data(static_cast<size_t>(rows * ((cols + 127) / 128 * 128))),
        scales(static_cast<size_t>(copies * ((cols + 127) / 128) * ((rows + 3) / 4 * 4))) {
    view = {data.data, scales.data, (cols + 127) / 128 * 128, (rows + 3) / 4 * 4, copies};
  }
};

std::vector<GemmTile> all_tiles() {
  std::vector<GemmTile> tiles(std::begin(kFp8Tiles), std::end(kFp8Tiles));
  tiles.insert(tiles.end(), std::begin(kWideFp8Tiles), std::end(kWideFp8Tiles));
  return tiles;
}

// --- rounding, against the host's ---

void test_rounding() {
  constexpr int64_t kRows = 21, kCols = 328, kStride = 384;
  Buffer<bfloat> source(kRows * kStride);
  fill_rows<<<64, 256, 0, queue>>>(source.data, kRows, kCols, kStride, 3);
  std::vector<bfloat> values = source.host();
  for (int64_t c = 0; c < kCols; ++c) values[3 * kStride + c] = __float2bfloat16(0);  // a row of zeros
  values[4 * kStride + 9] = __float2bfloat16(NAN);
  values[6 * kStride + 10] = __float2bfloat16(INFINITY);
  values[7 * kStride + 11] = __float2bfloat16(1e-38f);
  for (int64_t c = 0; c < 128; ++c) values[9 * kStride + c] = __float2bfloat16(448 * (c % 2 ? 1.0f : -0.25f));
  for (int64_t c = 0; c < 128; ++c) values[10 * kStride + c] = __float2bfloat16(450.0f - static_cast<float>(c));
  source.set(values);
  const auto value = [&](int64_t r, int64_t c) { return c < kCols ? __bfloat162float(values[r * kStride + c]) : 0.0f; };
  const auto most_of = [&](int64_t r, int64_t c0, int64_t c1) {
    float most = 0;
    for (int64_t c = c0; c < c1; ++c) most = std::fmax(most, std::abs(value(r, c)));
    return most;
  };
  const auto byte = [&](int64_t r, int64_t c, float scale) {
    return static_cast<uint8_t>(__nv_cvt_float_to_fp8(value(r, c) * (1.0f / scale), __NV_SATFINITE, __NV_E4M3));
  };

  // Activations of bf16 and f32.
  Buffer<float> wide(kRows * kCols);
  widen<<<64, 256, 0, queue>>>(wide.data, source.data, kRows, kCols, kStride);
  for (const bool from_f32 : {false, true}) {
    const Rows rows(kRows, kCols, from_f32 ? kGroupedScaleCopies : 1);
    const std::string what = "activations of " + std::string(from_f32 ? "f32" : "bf16");
    begin_case(what);
    end_case(from_f32 ? f32_to_fp8(rows.view, wide.data, kCols, kCols, kRows, queue)
                      : bf16_to_fp8(rows.view, source.data, kStride, kRows, queue),
             what);
    const std::vector<uint8_t> bytes = rows.data.host();
    const std::vector<float> scales = rows.scales.host();
    int64_t wrong = 0;
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t c = 0; c < rows.view.padded_cols; ++c) {
        const float scale = fp8_scale(most_of(r, c / 128 * 128, c / 128 * 128 + 128));
        wrong += bytes[r * rows.view.padded_cols + c] != byte(r, c, scale);
        for (int64_t copy = 0; copy < rows.view.scale_copies && copy <= r; ++copy)
          wrong +=
              scales[(copy * (rows.view.padded_cols / 128) + c / 128) * rows.view.scale_stride + r - copy] != scale;
      }
    expect(wrong == 0, what + ": " + std::to_string(wrong) + " wrong");
  }

  // A norm and then rounding is the same in one.
  Buffer<float> weight(kCols), normed(kRows * kCols);
  fill<<<4, 256, 0, queue>>>(weight.data, kCols, 1, 5);
  check(norm_rows(nullptr, normed.data, wide.data, weight.data, 1e-6f, kCols, kCols, kRows, queue), "norm_rows");
  const Rows in_two(kRows, kCols), in_one(kRows, kCols);
  check(f32_to_fp8(in_two.view, normed.data, kCols, kCols, kRows, queue), "f32_to_fp8");
  begin_case("norm_to_fp8");
  end_case(norm_to_fp8(in_one.view, wide.data, weight.data, 1e-6f, kCols, kRows, queue), "norm_to_fp8");
  expect(in_one.data.host() == in_two.data.host(), "norm_to_fp8: other bytes than norm_rows and f32_to_fp8");
  const std::vector<float> one_scales = in_one.scales.host(), two_scales = in_two.scales.host();
  bool same = true;
  for (int64_t b = 0; b < in_one.view.padded_cols / 128; ++b)
    for (int64_t r = 0; r < kRows; ++r)
      same &= one_scales[b * in_one.view.scale_stride + r] == two_scales[b * in_one.view.scale_stride + r];
  expect(same, "norm_to_fp8: other scales than norm_rows and f32_to_fp8");

  // Weights, every second row block.
  Weight placed(48, kCols);
  const std::vector<float> flat = wide.host();
  check(place_fp8(placed.destination(1, 2), wide.data, SourceType::f32, 0, 5, kCols, queue), "place_fp8");
  check(place_fp8(placed.destination(1, 2), wide.data + 5 * kCols, SourceType::f32, 5, kRows - 5, kCols, queue),
        "place_fp8");
  const std::vector<uint8_t> bytes = placed.data.host();
  const std::vector<float> scales = placed.scales.host();
  int64_t wrong = 0;
  for (int64_t r = 0; r < 48; ++r) {
    const int64_t from = r / 16 * 8 + r % 8;
    const bool there = r / 8 % 2 == 1 && from < kRows;
    const float scale = there ? fp8_scale(most_of(from, 0, kCols)) : 0;
    wrong += scales[r] != scale;
    for (int64_t c = 0; c < placed.layout.padded_cols(); ++c)
      wrong += bytes[placed.layout.offset(r, c)] != (there ? byte(from, c, scale) : 0);
  }
  expect(wrong == 0, "weights: " + std::to_string(wrong) + " wrong");
}

// --- products, against sums in double of the rounded values ---

__device__ double device_value(uint8_t bits) {
  const __half_raw half = __nv_cvt_fp8_to_halfraw(bits, __NV_E4M3);
  return static_cast<double>(__half2float(__half(half)));
}
__global__ void multiply_plainly(Fp8Rows a, int64_t num_rows, Fp8Weight weight, int64_t rows, double* y,
                                 double* magnitude) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < num_rows * rows;
       i += int64_t{gridDim.x} * blockDim.x) {
    double sum = 0, total = 0;
    const int64_t t = i / rows, n = i % rows;
    for (int64_t k = 0; k < a.padded_cols; ++k) {
      const double product = device_value(static_cast<const uint8_t*>(a.data)[t * a.padded_cols + k]) *
                             a.scales[k / 128 * a.scale_stride + t] *
                             device_value(static_cast<const uint8_t*>(weight.data)[weight.layout.offset(n, k)]) *
                             weight.scales[n];
      sum += product;
      total += fabs(product);
    }
    y[i] = sum;
    magnitude[i] = total;
  }
}

constexpr int64_t kHeight = 320;
double worst_product = 0;  // error of a sum, of its magnitudes

// What a call leaves in kHeight rows of 0xFF bytes (or, for add, of random values).
std::vector<uint8_t> run(Epilogue epilogue, int64_t ldy, const std::function<cudaError_t(void* y)>& launch,
                         const std::string& what) {
  Buffer<uint8_t> y(kHeight * ldy * element_bytes(epilogue));
  check(cudaMemsetAsync(y.data, 0xFF, y.size, queue), "memset");
  if (epilogue == Epilogue::add) fill<<<256, 256, 0, queue>>>(reinterpret_cast<float*>(y.data), kHeight * ldy, 1, 7);
  check(cudaStreamSynchronize(queue), "what a case needs");
  begin_case(what);
  end_case(launch(y.data), what);
  return y.host();
}

// A tile that rounds what it stores leaves what rounding by itself would.
void test_rounded_at_once(Fp8Call call, const GemmTile& tile, const std::vector<uint8_t>& y, const std::string& what) {
  const Rows at_once(call.num_rows, call.ldy), in_two(call.num_rows, call.ldy);
  Buffer<uint8_t> stored(y), again(y.size());
  call.y = again.data;
  call.rounded = at_once.view;
  begin_case(what + " rounded");
  end_case(gemm_fp8(call, tile, num_sms, queue), what + " rounded");
  end_case(bf16_to_fp8(in_two.view, stored.data, call.ldy, call.num_rows, queue), what + " rounded apart");
  expect(at_once.data.host() == in_two.data.host(), what + ": rounded at once to other bytes");
  const std::vector<float> scales = at_once.scales.host(), wanted = in_two.scales.host();
  bool same = true;
  for (int64_t b = 0; b < at_once.view.padded_cols / 128; ++b)
    for (int64_t t = 0; t < call.num_rows; ++t)
      same &= scales[b * at_once.view.scale_stride + t] == wanted[b * at_once.view.scale_stride + t];
  expect(same, what + ": rounded at once by other scales");
}

void compare(const std::vector<uint8_t>& y, const Fp8Call& call, int64_t valid_cols, const std::vector<double>& sums,
             const std::vector<double>& magnitudes, const std::string& what) {
  // Of a sum's magnitudes. The tensor cores sum 32 products and what they have with the largest term's exponent and
  // some 13 bits behind it, and cut off the rest of each: in theory up to 128 times 2^-13 for 128 columns, if one term
  // is 2^13 times all others. Random values came to 2.44e-4, which is 2^-12.
  constexpr double kSumError = 1e-3;
  bool others_kept = true, padding_zero = true;
  double worst = 0;
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
          const double gate_error = kSumError * magnitudes[gate], up_error = kSumError * magnitudes[up];
          const double allowed = 0x1p-8 * std::abs(wanted) + 1.1 * gate_error * (std::abs(sums[up]) + up_error) +
                                 std::abs(silu_g) * up_error;
          worst = std::max(worst, std::abs(bf16_value(at) - wanted) / (allowed + 1e-30));
        }
        continue;
      }
      const float before = call.epilogue == Epilogue::add ? random_value(i, 7) : 0;
      if (t >= call.num_rows || n >= rows) {
        others_kept &= call.epilogue == Epilogue::add ? float_value(at) == before : at[0] == 0xFF && at[3] == 0xFF;
        continue;
      }
      const double wanted = before + sums[t * rows + n], off = std::abs(float_value(at) - wanted);
      worst = std::max(worst, off / (kSumError * magnitudes[t * rows + n] + 0x1p-23 * std::abs(wanted) + 1e-30));
      if (call.epilogue == Epilogue::store)
        worst_product = std::max(worst_product, off / (magnitudes[t * rows + n] + 1e-30));
    }
  expect(others_kept, what + ": written outside");
  expect(padding_zero, what + ": padding is not zero");
  expect(worst <= 1, what + ": error " + std::to_string(worst) + " of the allowed");
}

StreamOutput output_of(Epilogue epilogue) {
  return epilogue == Epilogue::store ? StreamOutput::store
         : epilogue == Epilogue::add ? StreamOutput::add
                                     : StreamOutput::silu_mul;
}

void test_shape(int64_t rows, int64_t cols, Epilogue epilogue, int64_t valid_cols) {
  const int64_t stride = (cols + 63) / 64 * 64;
  Weight weight(rows, cols);
  check(random_fp8(weight.destination(), 0, rows, cols, 1, 0, 1.5f / std::sqrt(static_cast<float>(cols)), queue),
        "random_fp8");
  if (epilogue == Epilogue::silu_mul && valid_cols % 8)  // padding of the last gate and up blocks
    for (const int64_t block : {rows - 16, rows - 8})
      for (int64_t row = block + valid_cols % 8; row < block + 8; ++row) {
        check(cudaMemsetAsync(weight.scales.data + row, 0, 4, queue), "memset");
        for (int64_t k = 0; k < weight.layout.padded_cols(); k += kFp8AtomCols)  // 128 bytes of an atom's row
          check(cudaMemsetAsync(weight.data.data + weight.layout.offset(row, k) / 128 * 128, 0, 128, queue), "memset");
      }
  Buffer<bfloat> a(kHeight * stride);
  fill_rows<<<1024, 256, 0, queue>>>(a.data, kHeight, cols, stride, 2);
  const Rows all(kHeight, cols);
  check(bf16_to_fp8(all.view, a.data, stride, kHeight, queue), "bf16_to_fp8");
  Buffer<double> sums(kHeight * rows), magnitudes(kHeight * rows);
  multiply_plainly<<<4096, 128, 0, queue>>>(all.view, kHeight, weight.view, rows, sums.data, magnitudes.data);
  const std::vector<double> host_sums = sums.host(), host_magnitudes = magnitudes.host();
  // Of the norm the stream makes its own.
  Buffer<float> x(kHeight * cols), norm(cols);
  fill<<<256, 256, 0, queue>>>(x.data, kHeight * cols, 1, 11);
  fill<<<16, 256, 0, queue>>>(norm.data, cols, 1, 12);

  std::vector<uint8_t> longest;
  int64_t longest_ldy = 0;
  const int64_t width = epilogue == Epilogue::silu_mul ? valid_cols : rows;
  for (const int64_t num_rows : {300, 256, 130, 100, 64, 33, 16, 8, 3, 2, 1}) {
    const Rows part(num_rows, cols);
    check(bf16_to_fp8(part.view, a.data, stride, num_rows, queue), "bf16_to_fp8");
    Fp8Call call = {.weight = &weight.view, .a = part.view, .num_rows = num_rows, .epilogue = epilogue};
    if (epilogue == Epilogue::silu_mul)
      call.ldy = (width + 63) / 64 * 64;
    else  // rows that are aligned, and rows that are not
      call.ldy = num_rows % 2 == 0 ? (width + 3) / 4 * 4 + 4 : width / 2 * 2 + 7;
    const std::string what = "epilogue " + std::to_string(static_cast<int>(epilogue)) + " N " + std::to_string(rows) +
                             " K " + std::to_string(cols) + " T " + std::to_string(num_rows);
    std::vector<uint8_t> first;
    for (const GemmTile& tile : all_tiles()) {
      const std::string name = what + " " + (is_wide(tile) ? "wide " : "") + name_of(tile);
      std::vector<uint8_t> y = run(
          epilogue, call.ldy,
          [&](void* to) {
            call.y = to;
            return gemm_fp8(call, tile, num_sms, queue);
          },
          name);
      if (epilogue == Epilogue::silu_mul && rounds_at_once(tile)) test_rounded_at_once(call, tile, y, name);
      if (first.empty()) {
        compare(y, call, valid_cols, host_sums, host_magnitudes, name);
        first = std::move(y);
      } else {
        expect(y == first, name + ": other bits than the first tile");
      }
    }
    if (longest.empty()) longest = first, longest_ldy = call.ldy;
    bool same = true;  // the sums to add to differ with ldy
    for (int64_t t = 0; t < num_rows && (epilogue != Epilogue::add || call.ldy == longest_ldy); ++t)
      same &= std::memcmp(&first[t * call.ldy * element_bytes(epilogue)],
                          &longest[t * longest_ldy * element_bytes(epilogue)], width * element_bytes(epilogue)) == 0;
    expect(same, what + ": other bits than in 300 rows");

    StreamCall few = {.weight = weight.data.data,
                      .scales = weight.scales.data,
                      .layout = {weight.layout.row_blocks, stride / kAtomCols},
                      .format = StreamFormat::fp8,
                      .num_outputs = static_cast<int32_t>(rows),
                      .a = a.data,
                      .cols = static_cast<int32_t>(cols),
                      .num_rows = static_cast<int32_t>(num_rows),
                      .output = output_of(epilogue),
                      .ldy = call.ldy};
    if (!stream_fp8_fits(few, num_sms)) continue;
    const auto run_few = [&](void* to) {
      few.y = to;
      return stream_fp8(few, num_sms, queue);
    };
    // Padding of what silu_mul leaves is not the stream's to write.
    const auto equal = [&](const std::vector<uint8_t>& y, const std::vector<uint8_t>& z) {
      const size_t row_bytes = call.ldy * element_bytes(epilogue),
                   written = epilogue == Epilogue::silu_mul ? width * 2 : row_bytes;
      for (int64_t t = 0; t < kHeight; ++t)
        if (std::memcmp(&y[t * row_bytes], &z[t * row_bytes], t < num_rows ? written : row_bytes) != 0) return false;
      return true;
    };
    expect(equal(run(epilogue, call.ldy, run_few, what + " stream"), first),
           what + " stream: other bits than the tiles");
    if (cols > kMaxNormCols) continue;
    check(norm_to_fp8(part.view, x.data, norm.data, 1e-6f, cols, num_rows, queue), "norm_to_fp8");
    const std::vector<uint8_t> normed = run(
        epilogue, call.ldy,
        [&](void* to) {
          call.y = to;
          return gemm_fp8(call, kFp8Tiles[0], num_sms, queue);
        },
        what + " normed");
    few.a = nullptr;
    few.x = x.data;
    few.norm = norm.data;
    few.eps = 1e-6f;
    expect(equal(run(epilogue, call.ldy, run_few, what + " stream with norm"), normed),
           what + " stream with norm: other bits than norm_to_fp8 and a tile");
  }
}

void test_grouped(int64_t rows, int64_t cols, Epilogue epilogue) {
  const std::vector<int32_t> counts = {3, 0, 17, 40, 1, 130, 16};
  const auto num_experts = static_cast<int64_t>(counts.size());
  const int64_t stride = (cols + 63) / 64 * 64;
  int64_t num_rows = 0;
  for (const int32_t count : counts) num_rows += count;
  Weight weight(rows, cols, num_experts);
  check(random_fp8(weight.destination(), 0, weight.layout.rows(), cols, 1, 0,
                   1.5f / std::sqrt(static_cast<float>(cols)), queue),
        "random_fp8");
  Buffer<bfloat> a(num_rows * stride);
  fill_rows<<<1024, 256, 0, queue>>>(a.data, num_rows, cols, stride, 2);
  const Rows all(num_rows, cols, kGroupedScaleCopies);
  check(bf16_to_fp8(all.view, a.data, stride, num_rows, queue), "bf16_to_fp8");
  Fp8Call call = {.weight = &weight.view, .a = all.view, .num_rows = num_rows, .epilogue = epilogue};
  call.ldy = epilogue == Epilogue::silu_mul ? (rows / 2 + 63) / 64 * 64 : rows + rows % 2;
  const size_t row_bytes = call.ldy * element_bytes(epilogue);
  std::vector<uint8_t> wanted(kHeight * row_bytes, 0xFF);
  int64_t row = 0;
  for (size_t e = 0; e < counts.size(); row += counts[e++]) {
    if (counts[e] == 0) continue;
    const Fp8Weight one = weight.part(static_cast<int64_t>(e), rows);
    const Rows own(counts[e], cols);
    check(bf16_to_fp8(own.view, a.data + row * stride, stride, counts[e], queue), "bf16_to_fp8");
    Fp8Call part = call;
    part.weight = &one;
    part.a = own.view;
    part.num_rows = counts[e];
    const std::vector<uint8_t> y = run(
        epilogue, call.ldy,
        [&](void* to) {
          part.y = to;
          return gemm_fp8(part, kFp8Tiles[0], num_sms, queue);
        },
        "expert " + std::to_string(e) + " of N " + std::to_string(rows) + " K " + std::to_string(cols));
    std::copy_n(y.begin(), counts[e] * row_bytes, wanted.begin() + static_cast<int64_t>(row * row_bytes));
  }
  for (const int32_t tile_rows : {8, 16, 32, 64, 128, 256}) {
    const std::vector<ExpertTile> list = list_tiles(counts, tile_rows);
    Buffer<ExpertTile> tiles(list.size());
    Buffer<int32_t> count(1);
    tiles.set(list);
    count.set({static_cast<int32_t>(list.size())});
    const GroupTiles groups = {tiles.data, count.data, static_cast<int32_t>(list.size()) + 9, tile_rows,
                               static_cast<int32_t>((rows + 7) / 8)};
    call.grouped = &groups;
    for (const GemmTile& tile : kFp8Tiles) {
      if (tile.tokens < tile_rows) continue;
      const std::string what = "grouped, epilogue " + std::to_string(static_cast<int>(epilogue)) + " N " +
                               std::to_string(rows) + " K " + std::to_string(cols) + " tiles of " +
                               std::to_string(tile_rows) + " " + name_of(tile);
      expect(run(
                 epilogue, call.ldy,
                 [&](void* to) {
                   call.y = to;
                   return gemm_fp8(call, tile, num_sms, queue);
                 },
                 what) == wanted,
             what + ": other bits than expert by expert");
    }
  }
}

void run_tests() {
  test_rounding();
  std::printf("rounding: %d failed\n", num_failed);
  const int before = num_failed;
  for (const Epilogue epilogue : {Epilogue::store, Epilogue::add})
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{24, 128}, {7, 40}, {200, 192}, {1000, 640}, {384, 4096}, {136, 12288}})
      test_shape(rows, cols, epilogue, rows);
  test_shape(40000, 128, Epilogue::store, 40000);
  // More tiles than multiprocessors, and more stages than a ring: the second tile begins within it.
  for (const Epilogue epilogue : {Epilogue::store, Epilogue::add}) test_shape(9000, 1152, epilogue, 9000);
  test_shape(9008, 1152, Epilogue::silu_mul, 4500);
  for (const auto& [width, cols] : {std::pair<int64_t, int64_t>{24, 64}, {20, 64}, {100, 192}, {608, 640}, {192, 4096}})
    test_shape((width + 7) / 8 * 16, cols, Epilogue::silu_mul, width);
  std::printf("products: largest error %.2e of the sum of magnitudes, %d failed\n", worst_product, num_failed - before);
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
  bool norm;
};
constexpr Matrix kMatrices[] = {{"qkv", 6144, 4096, Epilogue::store, true},
                                {"o", 4096, 4096, Epilogue::add, false},
                                {"gate_up", 24576, 4096, Epilogue::silu_mul, true},
                                {"down", 4096, 12288, Epilogue::add, false}};
constexpr int kNumMatrices = static_cast<int>(std::size(kMatrices));
constexpr int kNumLayers = 36;
constexpr int64_t kMaxRows = 8192;

struct Bench {
  std::vector<std::unique_ptr<Weight>> weights;  // [layer][matrix]
  Buffer<float> x{kMaxRows * 4096}, norm{4096}, y{kMaxRows * 12288};
  Buffer<bfloat> a{kMaxRows * 12288};
  Rows operand{kMaxRows, 12288}, gated{kMaxRows, 12288};
  double elements = 0;

  Bench() {
    for (int layer = 0; layer < kNumLayers; ++layer)
      for (const Matrix& m : kMatrices) {
        weights.push_back(std::make_unique<Weight>(m.rows, m.cols));
        check(random_fp8(weights.back()->destination(), 0, m.rows, m.cols, weights.size(), 0, 0.03f, queue),
              "random_fp8");
        elements += static_cast<double>(m.rows * m.cols);
      }
    fill<<<4096, 256, 0, queue>>>(x.data, static_cast<int64_t>(x.size), 1, 1);
    fill<<<16, 256, 0, queue>>>(norm.data, static_cast<int64_t>(norm.size), 1, 2);
    fill<<<4096, 256, 0, queue>>>(y.data, static_cast<int64_t>(y.size), 1, 3);
    fill_rows<<<4096, 256, 0, queue>>>(a.data, kMaxRows, 12288, 12288, 4);
  }

  void quantize(const Matrix& m, int64_t num_rows) {
    Fp8Rows rows = operand.view;
    rows.padded_cols = m.cols;
    rows.scale_stride = (num_rows + 3) / 4 * 4;
    check(m.norm ? norm_to_fp8(rows, x.data, norm.data, 1e-6f, m.cols, num_rows, queue)
                 : bf16_to_fp8(rows, a.data, m.cols, num_rows, queue),
          "quantize");
  }
  void multiply(int layer, int matrix, int64_t num_rows, const GemmTile& tile) {
    const Matrix& m = kMatrices[matrix];
    Fp8Rows rounded;
    if (m.epilogue == Epilogue::silu_mul && rounds_at_once(tile)) {
      rounded = gated.view;
      rounded.scale_stride = (num_rows + 3) / 4 * 4;
    }
    Fp8Rows rows = operand.view;
    rows.padded_cols = m.cols;
    rows.scale_stride = (num_rows + 3) / 4 * 4;
    const Fp8Call call = {.weight = &weights[layer * kNumMatrices + matrix]->view,
                          .a = rows,
                          .num_rows = num_rows,
                          .epilogue = m.epilogue,
                          .y = y.data,
                          .ldy = m.epilogue == Epilogue::silu_mul ? m.rows / 2 : m.rows,
                          .grouped = nullptr,
                          .rounded = rounded};
    check(gemm_fp8(call, tile, num_sms, queue), "gemm_fp8");
  }
  void multiply_few(int layer, int matrix, int64_t num_rows) {
    const Matrix& m = kMatrices[matrix];
    const Weight& weight = *weights[layer * kNumMatrices + matrix];
    const StreamCall call = {.weight = weight.data.data,
                             .scales = weight.scales.data,
                             .layout = {weight.layout.row_blocks, m.cols / kAtomCols},
                             .format = StreamFormat::fp8,
                             .num_outputs = static_cast<int32_t>(m.rows),
                             .x = m.norm ? x.data : nullptr,
                             .norm = m.norm ? norm.data : nullptr,
                             .eps = 1e-6f,
                             .a = m.norm ? nullptr : a.data,
                             .cols = static_cast<int32_t>(m.cols),
                             .num_rows = static_cast<int32_t>(num_rows),
                             .output = output_of(m.epilogue),
                             .y = y.data,
                             .ldy = m.epilogue == Epilogue::silu_mul ? m.rows / 2 : m.rows};
    if (stream_fp8_fits(call, num_sms)) {
      check(stream_fp8(call, num_sms, queue), "stream_fp8");
    } else {
      quantize(m, num_rows);
      multiply(layer, matrix, num_rows, choose_fp8_tile(m.rows, num_rows, num_sms));
    }
  }

  void print(const char* name, double ms, double matrix_elements, int64_t num_rows) {
    std::printf("  %s %.1f us (%.0f GB/s, %.0f TFLOP/s)", name, ms * 1e3, matrix_elements * 1e-6 / ms,
                2e-9 * matrix_elements * static_cast<double>(num_rows) / ms);
  }

  // Each matrix in turn through all layers: the stream, rounding alone, every sensible tile; a star at the chosen one.
  void time_matrices(int64_t num_rows) {
    for (int m = 0; m < kNumMatrices; ++m) {
      const Matrix& matrix = kMatrices[m];
      const double size = static_cast<double>(matrix.rows * matrix.cols);
      const int layers = num_rows <= 256 ? kNumLayers : 12;
      const auto time = [&](const auto& f) {
        return time_ms([&] {
                 for (int layer = 0; layer < layers; ++layer) f(layer);
               }) /
               layers;
      };
      std::printf("T %5ld %-8s", num_rows, matrix.name);
      if (num_rows <= kMaxFp8StreamRows)
        print("stream", time([&](int layer) { multiply_few(layer, m, num_rows); }), size, num_rows);
      std::printf("  rounding %.1f us", 1e3 * time([&](int) { quantize(matrix, num_rows); }));
      const GemmTile chosen = choose_fp8_tile(matrix.rows, num_rows, num_sms);
      for (const GemmTile& tile : all_tiles()) {
        if (tile.tokens >= std::max<int64_t>(17, 2 * num_rows) || tile.tokens * 4 < std::min<int64_t>(num_rows, 512) ||
            (num_rows > 256 && tile.rows == 64))
          continue;
        print(((tile == chosen ? "*" : "") + std::string(is_wide(tile) ? "wide " : "") + name_of(tile)).c_str(),
              time([&](int layer) { multiply(layer, m, num_rows, tile); }), size, num_rows);
      }
      std::printf("\n");
    }
  }

  // All of a step's matrices and the rounding between them.
  void time_step(int64_t num_rows, bool as_stream) {
    const double ms = time_ms([&] {
      for (int layer = 0; layer < kNumLayers; ++layer)
        for (int m = 0; m < kNumMatrices; ++m) {
          if (as_stream) {
            multiply_few(layer, m, num_rows);
            continue;
          }
          // What goes down has been rounded with the product before, or is rounded now.
          if (m < 3 || !rounds_at_once(choose_fp8_tile(kMatrices[2].rows, num_rows, num_sms)))
            quantize(kMatrices[m], num_rows);
          multiply(layer, m, num_rows, choose_fp8_tile(kMatrices[m].rows, num_rows, num_sms));
        }
    });
    std::printf("T %5ld step of 36 layers%s %.3f ms: %.0f GB/s of weights, %.0f TFLOP/s, %.0f rows/s\n", num_rows,
                as_stream ? " as a stream" : "", ms, elements * 1e-6 / ms,
                2e-9 * elements * static_cast<double>(num_rows) / ms, 1e3 * static_cast<double>(num_rows) / ms);
  }

  void run(int64_t least_rows) {
    for (const int64_t rows : {1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2048, 8192}) {
      if (rows < least_rows) continue;
      time_matrices(rows);
      if (rows <= kMaxFp8StreamRows) time_step(rows, true);
      time_step(rows, false);
    }
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string mode = argc < 2 ? "" : argv[1];
  compare_scales();
  test_host_rounding();
  cases_are_named = mode == "cases";
  if (mode == "scales") return num_failed ? 1 : 0;
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0), "device");
  num_sms = properties.multiProcessorCount;
  std::printf("%s, %d multiprocessors\n", properties.name, num_sms);
  check(cudaStreamCreate(&queue), "stream");
  check(prepare_gemm_fp8(), "prepare_gemm_fp8");
  check(prepare_stream_fp8(), "prepare_stream_fp8");
  run_tests();
  if (mode != "test" && mode != "cases") Bench().run(mode == "many" ? 128 : 1);
  return num_failed ? 1 : 0;
}
