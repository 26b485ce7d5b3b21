// Tests and times four-bit weights: cuda/kernels/int4.h, and stream.h with them, on the device at hand.
//   bench_int4        all of it
//   bench_int4 test   the tests alone; exit 1 if one fails
//   bench_int4 host   the part that needs no device: layout and widening, by the host's own reading of the layout
// Tests: rounding bit for bit that of tensor/int4.h on the host, widening too; a stream of 1 to 8 rows against sums in
// double and bit for bit against widening and gemm_wgmma, for every row and output. Times: rounding and widening, and
// the matrices of Qwen3-8B, alone and as a step of 36 layers.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels/int4.h"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/stream.h"
#include "ops/tensor_core_sum.h"
#include "products.cuh"

using namespace qwill;
using namespace qwill::cuda;

namespace {

// Normal-like: the sum of a few.
float random_normal(uint64_t i, uint64_t seed) {
  float sum = 0;
  for (uint64_t k = 0; k < 6; ++k) sum += random_value(6 * i + k, seed);
  return sum * 0.7071f;
}

// --- the host's own view ---

struct Matrix {
  int64_t rows, cols;
  MatrixLayout layout;
  std::vector<float> values;     // [rows, cols], bf16 numbers
  std::vector<uint16_t> placed;  // in atoms

  Matrix(int64_t rows_in, int64_t cols_in, uint64_t seed)
      : rows(rows_in), cols(cols_in), layout{(rows_in + 7) / 8, (cols_in + 63) / 64} {
    values.resize(static_cast<size_t>(rows * cols));
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = rounded_to_bf16(random_normal(i, seed) / std::sqrt(static_cast<float>(cols)));
    // What the rounding must survive: groups of zeros, of one value, of tiny and of large ones.
    for (int64_t c = 0; c < std::min<int64_t>(cols, 64); ++c) {
      values[static_cast<size_t>(c)] = 0;
      if (rows > 1) values[static_cast<size_t>(cols + c)] = c == 5 ? -3.0f : 0.0f;
      if (rows > 2) values[static_cast<size_t>(2 * cols + c)] = 0x1p-100f;
      if (rows > 3) values[static_cast<size_t>(3 * cols + c)] *= 0x1p60f;
    }
    place(values, placed);
  }
  void place(const std::vector<float>& from, std::vector<uint16_t>& to) const {
    to.assign(static_cast<size_t>(layout.bytes() / 2), 0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c)
        to[static_cast<size_t>(layout.offset(r, c))] = to_bf16(from[static_cast<size_t>(r * cols + c)]).bits;
  }
  // As tensor/int4.h rounds it.
  std::vector<float> rounded() const {
    std::vector<float> result = values;
    for (int64_t r = 0; r < rows; ++r)
      round_to_int4(std::span(result).subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols)));
    return result;
  }
};

// The packed form, made on the host element by element.
std::vector<uint8_t> pack(const Matrix& m) {
  const Int4Layout packed = Int4Layout::of(m.layout);
  std::vector<uint8_t> bytes(static_cast<size_t>(packed.bytes()), 0);
  for (int64_t r = 0; r < packed.row_blocks * 8; ++r)
    for (int64_t first = 0; first < packed.col_blocks * Int4Layout::kBlockCols; first += kInt4Group) {
      const auto value = [&](int i) {
        return r < m.rows && first + i < m.cols ? m.values[static_cast<size_t>(r * m.cols + first + i)] : 0.0f;
      };
      const float scale = choose_int4_scale<kInt4Group>(value);
      uint8_t* block = &bytes[static_cast<size_t>(packed.block(r / 8, first / Int4Layout::kBlockCols))];
      const uint16_t bits = to_bf16(scale).bits;
      std::memcpy(block + Int4Layout::scale(r % 8, first % Int4Layout::kBlockCols), &bits, 2);
      for (int i = 0; i < kInt4Group; ++i) {
        const int64_t col = (first + i) % Int4Layout::kBlockCols;
        uint32_t word;
        std::memcpy(&word, block + Int4Layout::word(r % 8, col), 4);
        word |= std::rotl(static_cast<uint32_t>(static_cast<int32_t>(int4_level(value(i), int4_inverse(scale))) + 8),
                          Int4Layout::shift(col));
        std::memcpy(block + Int4Layout::word(r % 8, col), &word, 4);
      }
    }
  return bytes;
}

// What mma.m16n8k16 wants, from its definition, of what the streaming kernel gives it: lane l, register i of word w.
void test_layout() {
  std::vector<int> seen(8 * 128, 0);
  for (int64_t lane = 0; lane < 32; ++lane)
    for (int64_t w = 0; w < 4; ++w)
      for (int64_t i = 0; i < 4; ++i)
        for (int64_t half = 0; half < 2; ++half) {
          // Word w holds steps 2 w and 2 w + 1 of 16 columns; registers 2 s and 2 s + 1 of a step are four columns.
          const int64_t row = lane / 4, col = 16 * (2 * w + i / 2) + 4 * (lane % 4) + 2 * (i % 2) + half;
          expect(Int4Layout::word(row, col) == lane * 16 + w * 4, "word of a fragment");
          expect(Int4Layout::shift(col) == 4 * i + 16 * half + 3, "shift of a fragment");
          ++seen[static_cast<size_t>(row * 128 + col)];
        }
  expect(std::ranges::all_of(seen, [](int n) { return n == 1; }), "every column has one place");
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t c = 0; c < 128; ++c)
      expect(Int4Layout::scale(r, c) >= 512 && Int4Layout::scale(r, c) + 2 <= Int4Layout::kBlockBytes, "scale inside");
  expect(Int4Layout::kBlockBytes % 16 == 0, "a block is copied by 16 bytes");
}

// The instructions of widen_word, with a fused one in double.
void test_widening() {
  for (uint32_t q = 0; q < 16; ++q)
    for (uint32_t bits = 0; bits < 0x10000; bits += 4) {
      const float scale = to_float(bf16{static_cast<uint16_t>(bits)});
      if (!(std::fabs(scale) < 0x1p122f)) continue;
      expect(rounded_int4_scale(scale) == scale, "six significant bits");
      const float with_base = to_float(bf16{static_cast<uint16_t>(0x4180 | q << 3)}), bias = scale * -24;
      expect(with_base == 16.0f + static_cast<float>(q), "16 + q");
      expect(rounded_to_bf16(bias) == bias, "24 times a scale is a bf16 number");
      const double exact = static_cast<double>(with_base) * scale + bias;
      expect(rounded_to_bf16(static_cast<float>(exact)) == int4_value(static_cast<float>(q) - 8, scale),
             "a weight of 16 + q");
    }
}

void test_host() {
  test_layout();
  test_widening();
  double error = 0, power = 0;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{24, 128}, {9, 40}, {17, 200}}) {
    const Matrix m(rows, cols, 3);
    const std::vector<float> rounded = m.rounded();
    const std::vector<uint8_t> packed = pack(m);
    const Int4Layout layout = Int4Layout::of(m.layout);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) {
        const uint8_t* block = &packed[static_cast<size_t>(layout.block(r / 8, c / 128))];
        uint32_t word;
        bf16 scale;
        std::memcpy(&word, block + Int4Layout::word(r % 8, c % 128), 4);
        std::memcpy(&scale, block + Int4Layout::scale(r % 8, c % 128), 2);
        const float level = static_cast<float>(std::rotr(word, Int4Layout::shift(c % 128)) & 15) - 8;
        const float wanted = rounded[static_cast<size_t>(r * cols + c)];
        expect(int4_value(level, to_float(scale)) == wanted, "what is packed is what is rounded");
        if (r > 3) {
          error += std::pow(wanted - m.values[static_cast<size_t>(r * cols + c)], 2);
          power += std::pow(m.values[static_cast<size_t>(r * cols + c)], 2);
        }
      }
  }
  std::printf("relative error of rounding %.4f\n", std::sqrt(error / power));
  expect(std::sqrt(error / power) < 0.1, "error of rounding");
}

// --- on the device ---

struct DeviceWeight {
  MatrixLayout layout;
  Buffer<uint8_t> packed;
  Buffer<uint16_t> widened;
  GemmWeight gemm;

  explicit DeviceWeight(const Matrix& m)
      : layout(m.layout),
        packed(static_cast<size_t>(Int4Layout::of(m.layout).bytes())),
        widened(static_cast<size_t>(m.layout.bytes() / 2)) {
    const Buffer<uint16_t> placed(m.placed);
    packed.fill(0xFF);
    check(round_to_int4(packed.data, placed.data, layout, queue), "round");
    widened.fill(0xFF);
    check(widen_int4(widened.data, layout, packed.data, layout, 0, queue), "widen");
    check(cudaStreamSynchronize(queue), "round and widen");
    gemm.data = widened.data;
    gemm.layout = layout;
    gemm.rows = m.rows;
    check(make_weight_map(widened.data, layout, gemm.map), "make_weight_map");
  }
};

void test_rounding(int64_t rows, int64_t cols) {
  const std::string what = "N " + std::to_string(rows) + " K " + std::to_string(cols);
  const Matrix m(rows, cols, 1);
  const DeviceWeight weight(m);
  expect(weight.packed.host() == pack(m), what + ": rounding differs from the host's");
  std::vector<uint16_t> wanted, got = weight.widened.host();
  m.place(m.rounded(), wanted);
  for (uint16_t& bits : got)
    if (bits == 0x8000) bits = 0;  // zeros of either sign
  for (uint16_t& bits : wanted)
    if (bits == 0x8000) bits = 0;
  expect(got == wanted, what + ": widening differs from the host's");
}

void test_experts() {
  const int64_t experts = 5, blocks = 3;
  const Matrix m(experts * blocks * 8, 200, 2);
  const DeviceWeight weight(m);
  const std::vector<ExpertTile> list = {{1, 0, 16}, {1, 16, 3}, {3, 19, 1}};
  const Buffer<ExpertTile> tiles(list);
  const Buffer<int32_t> count(std::vector<int32_t>{3});
  Buffer<uint16_t> some(weight.widened.size);
  some.fill(0xAB);
  check(widen_int4_experts(some.data, weight.packed.data, m.layout, {tiles.data, count.data, 9, 16, blocks}, queue),
        "widen experts");
  const std::vector<uint16_t> all = weight.widened.host(), got = some.host();
  const size_t each = all.size() / experts;
  for (size_t i = 0; i < all.size(); ++i)
    if (i / each == 1 || i / each == 3)
      expect(got[i] == all[i], "widened expert");
    else
      expect(got[i] == 0xABAB, "an expert without tiles keeps what it held");
}

void test_stream(int64_t rows, int64_t cols, StreamOutput output) {
  const bool gated = output == StreamOutput::silu_mul;
  const Matrix m(rows, cols, 4);
  const DeviceWeight weight(m);
  const std::vector<float> w = m.rounded();
  const int64_t lda = m.layout.padded_cols(), outputs = gated ? rows / 2 : rows,
                ldy = gated ? (outputs + 63) / 64 * 64 : outputs + 3;
  constexpr int64_t kRows = 100;
  std::vector<uint16_t> a(static_cast<size_t>(kRows * lda), 0);
  for (int64_t t = 0; t < kRows; ++t)
    for (int64_t c = 0; c < cols; ++c)
      a[static_cast<size_t>(t * lda + c)] = to_bf16(random_value(static_cast<uint64_t>(t * cols + c), 9)).bits;
  const Buffer<uint16_t> operand(a);
  const size_t element = gated ? 2 : 4;
  const auto fresh = [&](Buffer<uint8_t>& y) {
    std::vector<uint8_t> bytes(y.size, 0xFF);
    if (output == StreamOutput::add)
      for (size_t i = 0; i < y.size / 4; ++i) {
        const float value = random_value(i, 11);
        std::memcpy(&bytes[4 * i], &value, 4);
      }
    y.set(bytes);
  };
  Buffer<uint8_t> y(static_cast<size_t>(kRows * ldy) * element);
  fresh(y);
  // By gemm, slice after slice of the columns, which are added in order.
  const Int4Layout packed = Int4Layout::of(m.layout);
  const int64_t slice_blocks = gated ? packed.col_blocks : packed.slice_blocks();
  for (int64_t first = 0; first < packed.col_blocks; first += slice_blocks) {
    const MatrixLayout part{m.layout.row_blocks, std::min(2 * slice_blocks, m.layout.col_blocks - 2 * first)};
    Buffer<uint16_t> widened(static_cast<size_t>(part.bytes() / 2));
    check(widen_int4(widened.data, part, weight.packed.data, m.layout, first, queue), "widen");
    GemmWeight slice = weight.gemm;
    slice.data = widened.data;
    slice.layout = part;
    check(make_weight_map(widened.data, part, slice.map), "make_weight_map");
    const GemmCall gemm{.weight = &slice,
                        .a = operand.data + first * Int4Layout::kBlockCols,
                        .lda = lda,
                        .num_rows = kRows,
                        .epilogue = gated                                      ? Epilogue::silu_mul
                                    : first > 0 || output == StreamOutput::add ? Epilogue::add
                                                                               : Epilogue::store,
                        .y = y.data,
                        .ldy = ldy,
                        .fresh_weight = true};
    check(gemm_wgmma(gemm, choose_gemm_tile(rows, kRows, num_sms), num_sms, queue), "gemm_wgmma");
    check(cudaStreamSynchronize(queue), "gemm_wgmma");
  }
  const std::vector<uint8_t> all = y.host();
  const std::string shape = "N " + std::to_string(rows) + " K " + std::to_string(cols) + " output " +
                            std::to_string(static_cast<int>(output));
  if (output == StreamOutput::store) {  // the truth
    double worst = 0;
    for (int64_t t = 0; t < 8; ++t)
      for (int64_t n = 0; n < rows; ++n) {
        double wanted = 0, error = 0;
        for (int64_t first = 0; first < cols; first += slice_blocks * Int4Layout::kBlockCols) {
          test::TensorCoreSum sum;
          for (int64_t k = first; k < std::min(cols, first + slice_blocks * Int4Layout::kBlockCols); ++k)
            sum.add(static_cast<double>(to_float(bf16{a[static_cast<size_t>(t * lda + k)]})) *
                    w[static_cast<size_t>(n * cols + k)]);
          sum.finish();
          wanted += sum.sum;
          error += sum.error + std::abs(wanted) * 0x1p-24;
        }
        float got;
        std::memcpy(&got, &all[static_cast<size_t>(t * ldy + n) * 4], 4);
        worst = std::max(worst, std::abs(got - wanted) / (error + 1e-30));
      }
    std::printf("%s: largest error %.3f of the allowed\n", shape.c_str(), worst);
    expect(worst <= 1, shape + ": error against the sums in double");
  }
  for (int32_t T = 1; T <= kMaxStreamCallRows; ++T) {
    const StreamCall call{.weight = weight.packed.data,
                          .layout = m.layout,
                          .format = StreamFormat::int4,
                          .num_outputs = static_cast<int32_t>(outputs),
                          .a = operand.data,
                          .cols = static_cast<int32_t>(cols),
                          .num_rows = T,
                          .output = output,
                          .y = y.data,
                          .ldy = ldy};
    const std::string what = shape + " T " + std::to_string(T);
    expect(stream_fits(call, num_sms), what + ": does not fit");
    if (!stream_fits(call, num_sms)) continue;
    fresh(y);
    const std::vector<uint8_t> before = y.host();
    check(stream(call, num_sms, queue), "stream");
    const std::vector<uint8_t> got = y.host();
    for (int64_t t = 0; t < kRows; ++t) {
      const size_t at = static_cast<size_t>(t * ldy) * element,
                   used = static_cast<size_t>(gated ? ldy : outputs) * element;
      expect(
          std::memcmp(&got[at], t < T ? &all[at] : &before[at], used) == 0,
          what + (t < T ? ": other bits than 100 rows by gemm, row " : ": written outside, row ") + std::to_string(t));
      if (!gated)
        expect(std::memcmp(&got[at + used], &before[at + used], 3 * element) == 0, what + ": written beyond a row");
    }
  }
}

// --- times ---

struct Shape {
  const char* name;
  int64_t rows, cols;
  StreamOutput output;
};
constexpr Shape kShapes[] = {{"qkv", 6144, 4096, StreamOutput::store},
                             {"o", 4096, 4096, StreamOutput::add},
                             {"gate_up", 24576, 4096, StreamOutput::silu_mul},
                             {"down", 4096, 12288, StreamOutput::add}};
constexpr int kLayers = 36;

__global__ void fill_random(uint32_t* data, int64_t count, uint32_t mask, uint32_t base) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    uint64_t x = (static_cast<uint64_t>(i) + 1) * 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    data[i] = (static_cast<uint32_t>(x >> 32) & mask) | base;
  }
}

void bench() {
  struct Weight {
    MatrixLayout layout;
    std::unique_ptr<Buffer<uint8_t>> packed;
  };
  std::vector<Weight> weights;
  Buffer<uint32_t> atoms(static_cast<size_t>(24576) * 4096 / 2);
  Buffer<uint16_t> widened(static_cast<size_t>(24576) * 4096);
  // bf16 pairs of either sign from 2^-7 to 2^-5.
  fill_random<<<4096, 256, 0, queue>>>(atoms.data, static_cast<int64_t>(atoms.size), 0x80FF80FFu, 0x3C003C00u);
  for (int layer = 0; layer < kLayers; ++layer)
    for (const Shape& s : kShapes) {
      Weight& w = weights.emplace_back();
      w.layout = {s.rows / 8, s.cols / 64};
      w.packed = std::make_unique<Buffer<uint8_t>>(static_cast<size_t>(Int4Layout::of(w.layout).bytes()));
      check(round_to_int4(w.packed->data, atoms.data, w.layout, queue), "round");
    }
  Buffer<uint32_t> operand(8 * 12288 / 2);
  fill_random<<<64, 256, 0, queue>>>(operand.data, static_cast<int64_t>(operand.size), 0x80FF80FFu, 0x3F003F00u);
  Buffer<float> y(8 * 24576), x(8 * 12288), norm(4096);
  y.fill(0);
  x.fill(0x3C);
  norm.fill(0x3C);
  const auto run = [&](int layer, int m, int32_t T, bool with_norm) {
    const Shape& s = kShapes[m];
    const Weight& w = weights[static_cast<size_t>(layer) * 4 + static_cast<size_t>(m)];
    const bool normed = with_norm && s.output != StreamOutput::add;
    StreamCall call{.weight = w.packed->data,
                    .layout = w.layout,
                    .format = StreamFormat::int4,
                    .num_outputs = static_cast<int32_t>(s.output == StreamOutput::silu_mul ? s.rows / 2 : s.rows),
                    .x = normed ? x.data : nullptr,
                    .norm = normed ? norm.data : nullptr,
                    .eps = 1e-6f,
                    .a = normed ? nullptr : operand.data,
                    .cols = static_cast<int32_t>(s.cols),
                    .num_rows = T,
                    .output = s.output,
                    .y = y.data,
                    .ldy = s.output == StreamOutput::silu_mul ? s.rows / 2 : s.rows};
    // Rows that do not fit go in two halves, as the backend has them.
    if (stream_fits(call, num_sms)) return check(stream(call, num_sms, queue), "stream");
    for (int half = 0; half < 2; ++half) {
      call.num_rows = (T + 1) / 2;
      check(stream(call, num_sms, queue), "stream");
    }
  };
  std::printf("a bf16 head of 1.245 GB comes on top of a step; 480 tok/s are 2.083 ms, 560 are 1.786\n");
  for (int32_t T : {1, 2, 4, 8}) {
    double bytes = 0;
    for (int m = 0; m < 4; ++m) {
      const double ms = time_ms([&] {
                          for (int layer = 0; layer < kLayers; ++layer) run(layer, m, T, T <= 2);
                        }) /
                        kLayers;
      const double size = static_cast<double>(weights[static_cast<size_t>(m)].packed->size);
      bytes += size * kLayers;
      std::printf("T %d %-8s %.2f us: %.0f GB/s; a tile's %ld products follow each other in %.1f ns each\n", T,
                  kShapes[m].name, ms * 1e3, size / ms / 1e6, kShapes[m].cols / 16, ms * 1e6 / (kShapes[m].cols / 16));
    }
    const double step = time_ms([&] {
      for (int layer = 0; layer < kLayers; ++layer)
        for (int m = 0; m < 4; ++m) run(layer, m, T, T <= 2);
    });
    std::printf("T %d step of %d layers %.3f ms: %.0f GB/s\n", T, kLayers, step, bytes / step / 1e6);
  }
  for (int m = 0; m < 4; ++m) {
    const Weight& w = weights[static_cast<size_t>(m)];
    const double elements = static_cast<double>(w.layout.bytes()) / 2;
    const double round_ms =
        time_ms([&] { check(round_to_int4(w.packed->data, atoms.data, w.layout, queue), "round"); });
    const double widen_ms =
        time_ms([&] { check(widen_int4(widened.data, w.layout, w.packed->data, w.layout, 0, queue), "widen"); });
    std::printf("%-8s rounded in %.3f ms (%.1f G weights/s; 8B: %.2f s), widened in %.1f us: %.0f GB/s moved\n",
                kShapes[m].name, round_ms, elements / round_ms / 1e6, 6.946e9 / elements * round_ms / 1e3,
                widen_ms * 1e3, elements * (2 + kInt4Bytes) / widen_ms / 1e6);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string mode = argc > 1 ? argv[1] : "";
  test_host();
  if (mode != "host") {
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "device");
    num_sms = properties.multiProcessorCount;
    std::printf("%s, %d multiprocessors\n", properties.name, num_sms);
    check(cudaStreamCreate(&queue), "stream");
    check(prepare_gemm_wgmma(), "prepare_gemm_wgmma");
    check(prepare_stream(), "prepare_stream");
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{24, 128}, {7, 40}, {200, 192}, {1000, 576}, {384, 4096}})
      test_rounding(rows, cols);
    test_experts();
    for (StreamOutput output : {StreamOutput::store, StreamOutput::add})
      for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{24, 64},
                                       {7, 40},
                                       {200, 192},
                                       {1000, 576},
                                       {4104, 1024},
                                       {384, 4096},
                                       {96, 9728},
                                       {96, 12288}})
        test_stream(rows, cols, output);
    for (const auto& [rows, cols] :
         {std::pair<int64_t, int64_t>{16, 64}, {128, 64}, {256, 192}, {2192, 576}, {384, 4096}})
      test_stream(rows, cols, StreamOutput::silu_mul);
  }
  std::printf("%s\n", num_failed ? "FAILED" : "all tests passed");
  if (mode.empty()) bench();
  return num_failed ? 1 : 0;
}
