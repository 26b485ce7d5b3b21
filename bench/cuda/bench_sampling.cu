// Tests and timings of sampling, expert routing and f32 products on one GPU, against the host's truth
// (ops/sampling.cpp, ops/reference.cpp). Exit 1 if anything is wrong.
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "cuda/kernels/gemm_f32.h"
#include "cuda/kernels/moe.h"
#include "cuda/kernels/sampling.h"
#include "ops/reference.h"
#include "ops/sampling.h"

namespace {

using namespace qwill;

void check(cudaError_t error) {
  if (error == cudaSuccess) return;
  std::printf("CUDA: %s\n", cudaGetErrorString(error));
  std::exit(1);
}

int num_wrong = 0;
void expect(bool right, const std::string& what) {
  if (right) return;
  if (++num_wrong <= 40) std::printf("WRONG %s\n", what.c_str());
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) {
    check(cudaMalloc(&data_, std::max<size_t>(1, size) * sizeof(T)));
    check(cudaMemset(data_, 0xff, std::max<size_t>(1, size) * sizeof(T)));
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { set(values); }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  void set(const std::vector<T>& values) {
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice));
  }
  std::vector<T> get() const {
    std::vector<T> values(size_);
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost));
    return values;
  }
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
  size_t size_;
};

void in_parallel(int64_t count, const std::function<void(int64_t)>& work) {
  std::atomic<int64_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
    threads.emplace_back([&] {
      for (int64_t at; (at = next++) < count;) work(at);
    });
  for (std::thread& thread : threads) thread.join();
}

std::vector<float> normal_values(size_t size, float sigma, uint64_t seed) {
  std::vector<float> values(size);
  constexpr size_t kPiece = 1 << 16;
  in_parallel(static_cast<int64_t>((size + kPiece - 1) / kPiece), [&](int64_t piece) {
    std::mt19937_64 random(seed * 1000003 + static_cast<uint64_t>(piece));
    std::normal_distribution<float> normal(0, sigma);
    const size_t begin = static_cast<size_t>(piece) * kPiece, end = std::min(size, begin + kPiece);
    for (size_t i = begin; i < end; ++i) values[i] = normal(random);
  });
  return values;
}

// Microseconds a call, of `count` calls captured in one graph; call i is work(i).
double time_us(int count, const std::function<void(int, cudaStream_t)>& work) {
  cudaStream_t stream;
  check(cudaStreamCreate(&stream));
  check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < count; ++i) work(i, stream);
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamEndCapture(stream, &graph));
  check(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<float> times;
  for (int repeat = 0; repeat < 6; ++repeat) {
    check(cudaEventRecord(begin, stream));
    check(cudaGraphLaunch(exec, stream));
    check(cudaEventRecord(end, stream));
    check(cudaStreamSynchronize(stream));
    float ms;
    check(cudaEventElapsedTime(&ms, begin, end));
    if (repeat > 0) times.push_back(ms);
  }
  check(cudaGraphExecDestroy(exec));
  check(cudaGraphDestroy(graph));
  check(cudaStreamDestroy(stream));
  std::sort(times.begin(), times.end());
  return 1000.0 * times[times.size() / 2] / count;
}

// ---- sampling

// A row of settings and the lists that they point to.
struct TestRow {
  SamplingRow row;
  std::vector<int32_t> prompt, output;
  std::vector<std::pair<int32_t, float>> bias;

  void attach() {
    row.prompt = prompt;
    row.output = output;
    row.logit_bias = bias;
  }
};

std::vector<cuda::TokenAdjustment> adjustments_of(const TestRow& test, int64_t num_drawable) {
  std::map<int32_t, cuda::TokenAdjustment> all;
  const auto at = [&](int32_t id) -> cuda::TokenAdjustment& {
    return all.emplace(id, cuda::TokenAdjustment{id, 0, 0, 0}).first->second;
  };
  for (const int32_t id : test.prompt) at(id).seen = 1;
  for (const int32_t id : test.output) at(id).seen = 1, ++at(id).output_count;
  for (const auto& [id, bias] : test.bias) at(id).bias = bias;
  std::vector<cuda::TokenAdjustment> list;
  for (const auto& [id, a] : all)
    if (id < num_drawable) list.push_back(a);
  return list;
}

cuda::SampleSettings settings_of(const SamplingRow& row, size_t first, size_t count) {
  cuda::SampleSettings s = {};
  s.temperature = row.temperature;
  s.top_p = row.top_p;
  s.min_p = row.min_p;
  s.presence_penalty = row.presence_penalty;
  s.frequency_penalty = row.frequency_penalty;
  s.seed = row.seed;
  s.position = row.position;
  s.choice = row.choice;
  s.top_k = static_cast<int32_t>(std::min<int64_t>(row.top_k, std::numeric_limits<int32_t>::max()));
  s.repetition_penalty = static_cast<float>(row.repetition_penalty);
  s.first_adjustment = static_cast<int32_t>(first);
  s.num_adjustments = static_cast<int32_t>(count);
  return s;
}

TestRow random_row(std::mt19937_64& random, int64_t num_drawable) {
  const auto pick = [&](std::initializer_list<double> of) { return of.begin()[random() % of.size()]; };
  TestRow test;
  SamplingRow& row = test.row;
  row.temperature = pick({0, 0.05, 0.6, 0.7, 1, 1, 1.5, 5, 100, 1e-30, 1e-40});
  if (random() % 3) {
    row.top_k = static_cast<int64_t>(pick({0, 0, 1, 2, 20, 50, 1000, static_cast<double>(num_drawable - 1), 1e12}));
    row.top_p = pick({1, 1, 0.999999, 0.95, 0.8, 0.3, 0, -1});
    row.min_p = pick({0, 0, 0.001, 0.05, 0.5, 1});
  }
  const auto ids = [&](size_t count) {
    std::vector<int32_t> list(count);
    for (int32_t& id : list) id = static_cast<int32_t>(random() % static_cast<uint64_t>(num_drawable + 5));
    return list;
  };
  if (random() % 3 == 0) row.repetition_penalty = pick({1.1, 0.7, 2});
  if (random() % 3 == 0) row.presence_penalty = pick({0.5, -1, 1.7});
  if (random() % 3 == 0) row.frequency_penalty = pick({0.1, -0.3});
  test.prompt = ids(random() % 3 ? random() % 3000 : 0);
  test.output = ids(random() % 500);
  if (random() % 3 == 0) {
    std::map<int32_t, float> bias;
    for (const int32_t id : ids(1 + random() % 300)) bias[id] = static_cast<float>(pick({-100, -1.5, 0.3, 5}));
    test.bias.assign(bias.begin(), bias.end());
  }
  row.seed = random();
  row.choice = static_cast<uint32_t>(random() % 4);
  row.position = random() % 2 ? random() % 40000 : random();
  return test;
}

// Of many kinds: narrow, wide, tied, mostly masked, none allowed, damaged.
void shape_logits(float* logits, int64_t count, std::mt19937_64& random) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float scale = std::array{1.0f, 1.0f, 1.0f, 0.1f, 20.0f, 1e30f, 1e-20f, 0.0f}[random() % 8];
  const float shift = std::array{0.0f, 0.0f, 30.0f, -30.0f}[random() % 4];
  const uint64_t masked = std::array<uint64_t, 6>{0, 0, 0, 500, 999, 1000}[random() % 6];
  const uint64_t kind = random() % 8;
  for (int64_t i = 0; i < count; ++i) {
    float& l = logits[i];
    l = l * scale + shift;
    if (kind == 0) l = std::round(l);
    if (kind == 1) l = std::round(l * 8) / 8;
    if (kind == 2 && random() % 1000 == 0) l = std::numeric_limits<float>::quiet_NaN();
    if (kind == 3 && random() % 5000 == 0) l = kInfinity;
    if (kind == 4 && l == 0) l = -0.0f;
    if (masked && random() % 1000 < masked) l = -kInfinity;
  }
}

void test_sampling(int64_t num_columns, int64_t num_drawable, int64_t num_rows, uint64_t seed) {
  const int64_t ld = (num_columns + 3) / 4 * 4;
  std::vector<float> logits = normal_values(static_cast<size_t>(num_rows * ld), 3, seed);
  std::vector<TestRow> tests(static_cast<size_t>(num_rows));
  in_parallel(num_rows, [&](int64_t r) {
    std::mt19937_64 random(seed * 7919 + static_cast<uint64_t>(r));
    tests[static_cast<size_t>(r)] = random_row(random, num_drawable);
    shape_logits(&logits[static_cast<size_t>(r * ld)], num_columns, random);
  });
  std::vector<cuda::SampleSettings> settings;
  std::vector<cuda::TokenAdjustment> adjustments;
  for (TestRow& test : tests) {
    test.attach();
    const auto list = adjustments_of(test, num_drawable);
    settings.push_back(settings_of(test.row, adjustments.size(), list.size()));
    adjustments.insert(adjustments.end(), list.begin(), list.end());
  }
  const DeviceArray<float> device_logits(logits);
  const DeviceArray<cuda::SampleSettings> device_settings(settings);
  const DeviceArray<cuda::TokenAdjustment> device_adjustments(adjustments);
  const DeviceArray<int32_t> ids(static_cast<size_t>(num_rows)), single_ids(static_cast<size_t>(num_rows));
  const DeviceArray<char> workspace(cuda::sample_workspace_bytes(num_rows, num_drawable));
  check(cuda::sample(ids.data(), nullptr, device_logits.data(), ld, num_rows, num_drawable, device_settings.data(),
                     device_adjustments.data(), workspace.data(), nullptr));
  for (int64_t r = 0; r < num_rows; ++r)
    check(cuda::sample(single_ids.data() + r, nullptr, device_logits.data() + r * ld, ld, 1, num_drawable,
                       device_settings.data() + r, device_adjustments.data(), workspace.data(), nullptr));
  check(cudaDeviceSynchronize());
  const std::vector<int32_t> got = ids.get(), single = single_ids.get();
  std::vector<int32_t> wanted(static_cast<size_t>(num_rows));
  in_parallel(num_rows, [&](int64_t r) {
    const std::span<const float> row(&logits[static_cast<size_t>(r * ld)], static_cast<size_t>(num_columns));
    wanted[static_cast<size_t>(r)] = sample_row(row, tests[static_cast<size_t>(r)].row, num_drawable).id;
  });
  int wrong = 0, unequal = 0;
  for (size_t r = 0; r < wanted.size(); ++r) {
    wrong += got[r] != wanted[r];
    unequal += got[r] != single[r];
    const SamplingRow& s = tests[r].row;
    char line[300];
    std::snprintf(
        line, sizeof line, "sample V %lld row %zu: %d, alone %d, host %d (t %g k %lld p %g min_p %g, logits %g %g)",
        static_cast<long long>(num_columns), r, got[r], single[r], wanted[r], s.temperature,
        static_cast<long long>(s.top_k), s.top_p, s.min_p, logits[r * ld + got[r]], logits[r * ld + wanted[r]]);
    expect(got[r] == wanted[r] && single[r] == wanted[r], line);
  }
  std::printf("sample V %lld, %lld drawable, %lld rows: %d unlike the host, %d unlike alone\n",
              static_cast<long long>(num_columns), static_cast<long long>(num_drawable),
              static_cast<long long>(num_rows), wrong, unequal);
}

void time_sampling() {
  constexpr int64_t kColumns = 151936, kDrawable = 151669, kRows = 256;
  const DeviceArray<float> logits(normal_values(kRows * kColumns, 2.5f, 1));
  const DeviceArray<char> workspace(cuda::sample_workspace_bytes(kRows, kDrawable));
  const DeviceArray<int32_t> ids(kRows);
  struct Case {
    const char* name;
    double temperature;
    int32_t top_k;
    double top_p, min_p;
    int32_t adjustments;
  };
  for (const Case& c :
       {Case{"greedy", 0, 0, 1, 0, 0}, Case{"temperature 1", 1, 0, 1, 0, 0},
        Case{"temperature 0.6, 2000 penalties", 0.6, 0, 1, 0, 2000}, Case{"top-k 20, top-p 0.95", 0.6, 20, 0.95, 0, 0},
        Case{"top-p 0.9", 1, 0, 0.9, 0, 0}, Case{"top-p 0.99 at 5", 5, 0, 0.99, 0, 0}, Case{"top-k 50", 1, 50, 1, 0, 0},
        Case{"min-p 0.05", 1, 0, 1, 0.05, 0}, Case{"top-k 20, top-p 0.95, 2000 penalties", 0.6, 20, 0.95, 0, 2000}}) {
    std::vector<cuda::TokenAdjustment> list;
    for (int32_t i = 0; i < 2000; ++i) list.push_back({i * 75, 1, 1, 0});
    const DeviceArray<cuda::TokenAdjustment> adjustments(list);
    std::vector<cuda::SampleSettings> settings;
    for (int64_t r = 0; r < kRows; ++r) {
      SamplingRow row;
      row.temperature = c.temperature;
      row.top_k = c.top_k;
      row.top_p = c.top_p;
      row.min_p = c.min_p;
      row.repetition_penalty = c.adjustments ? 1.1 : 1;
      row.seed = static_cast<uint64_t>(r);
      settings.push_back(settings_of(row, 0, static_cast<size_t>(c.adjustments)));
    }
    const DeviceArray<cuda::SampleSettings> device_settings(settings);
    std::printf("%-40s", c.name);
    for (const int64_t rows : {1, 8, 64, 256}) {
      const double us = time_us(16, [&](int i, cudaStream_t stream) {
        const float* from = logits.data() + i * rows % kRows * kColumns;
        check(cuda::sample(ids.data(), nullptr, from, kColumns, rows, kDrawable, device_settings.data(),
                           adjustments.data(), workspace.data(), stream));
      });
      std::printf("  %lld rows %.1f us (%.0f GB/s)", static_cast<long long>(rows), us,
                  4e-3 * static_cast<double>(rows * kDrawable) / us);
    }
    std::printf("\n");
  }
}

// ---- routing

struct Plan {
  Plan(int64_t tokens, int64_t experts, int64_t k, int64_t tile_rows)
      : expert(tokens * k),
        weight(tokens * k),
        permuted(tokens * k),
        row_token(tokens * k),
        tiles(cuda::max_expert_tiles(tokens * k, experts, tile_rows)),
        num_tiles(1),
        scratch(cuda::expert_scratch_size(tokens, experts)) {}
  cuda::ExpertPlan view() const {
    return {expert.data(), weight.data(),    permuted.data(), row_token.data(),
            tiles.data(),  num_tiles.data(), scratch.data()};
  }
  DeviceArray<int32_t> expert;
  DeviceArray<float> weight;
  DeviceArray<int32_t> permuted, row_token;
  DeviceArray<cuda::ExpertTile> tiles;
  DeviceArray<int32_t> num_tiles, scratch;
};

void test_routing(int64_t T, int64_t E, int64_t k, bool normed, int64_t tile_rows, bool ties) {
  char name[200];
  std::snprintf(name, sizeof name, "route T %lld E %lld k %lld tiles %lld", static_cast<long long>(T),
                static_cast<long long>(E), static_cast<long long>(k), static_cast<long long>(tile_rows));
  std::vector<float> logits = normal_values(T * E, 2, T + E);
  if (ties)
    for (float& l : logits) l = std::round(2 * l) / 2;
  const DeviceArray<float> device_logits(logits);
  const Plan plan(T, E, k, tile_rows), single(1, E, k, tile_rows);
  check(cuda::route(plan.view(), device_logits.data(), T, E, k, normed, tile_rows, nullptr));
  check(cuda::route(single.view(), device_logits.data() + (T - 1) * E, 1, E, k, normed, tile_rows, nullptr));
  check(cudaDeviceSynchronize());
  const auto expert = plan.expert.get(), permuted = plan.permuted.get(), row_token = plan.row_token.get();
  const auto weight = plan.weight.get();
  const auto tiles = plan.tiles.get();
  const int32_t num_tiles = plan.num_tiles.get()[0];
  const auto single_weight = single.weight.get();
  expect(std::memcmp(single_weight.data(), &weight[(T - 1) * k], k * sizeof(float)) == 0,
         std::string(name) + " bits alone");
  std::vector<std::vector<std::pair<int32_t, int64_t>>> tokens_of(E);
  bool sets = true, weights = true;
  for (int64_t t = 0; t < T; ++t) {
    const auto routes = reference::route({&logits[t * E], static_cast<size_t>(E)}, k, normed);
    for (int64_t j = 0; j < k; ++j) {
      sets &= routes[j].expert == expert[t * k + j];
      weights &= std::abs(routes[j].weight - weight[t * k + j]) <= 1e-5f * routes[j].weight + 1e-30f;
      tokens_of[expert[t * k + j]].push_back({t, t * k + j});
    }
  }
  expect(sets, std::string(name) + " experts");
  expect(weights, std::string(name) + " weights");
  int32_t row = 0, tile = 0;
  bool rows = true, right_tiles = true;
  for (int64_t e = 0; e < E; ++e) {
    const auto count = static_cast<int32_t>(tokens_of[e].size());
    for (int32_t i = 0; i < count; i += tile_rows, ++tile)
      right_tiles &= tile < num_tiles && tiles[tile].expert == e && tiles[tile].first_row == row + i &&
                     tiles[tile].num_rows == std::min<int32_t>(tile_rows, count - i);
    for (const auto& [t, pair] : tokens_of[e]) {
      rows &= permuted[pair] == row && row_token[row] == t;
      ++row;
    }
  }
  expect(rows, std::string(name) + " rows");
  expect(right_tiles && tile == num_tiles, std::string(name) + " tiles");

  if (T > 1000) return;
  for (const int64_t C : {2048, 37}) {
    const std::vector<float> x = normal_values(T * C, 1, 3), out = normal_values(T * k * C, 1, 4);
    DeviceArray<float> device_x(x), device_out(out);
    check(cuda::combine_experts(device_x.data(), device_out.data(), plan.view(), T, C, k, nullptr));
    check(cudaDeviceSynchronize());
    const std::vector<float> got = device_x.get();
    bool right = true;
    for (int64_t t = 0; t < T; t += std::max<int64_t>(1, T / 50))
      for (int64_t c = 0; c < C; ++c) {
        float sum = 0;
        for (int64_t j = 0; j < k; ++j) sum = std::fma(weight[t * k + j], out[permuted[t * k + j] * C + c], sum);
        right &= got[t * C + c] == x[t * C + c] + sum;
      }
    expect(right, std::string(name) + " combine");
  }
  const int64_t bytes = 4096, stride = 4112;
  const std::vector<float> in = normal_values(T * stride / 4, 1, 5);
  const DeviceArray<float> device_in(in), device_out(T * k * bytes / 4);
  check(cuda::gather_rows(device_out.data(), bytes, device_in.data(), stride, bytes, plan.row_token.data(), T * k,
                          nullptr));
  check(cudaDeviceSynchronize());
  const std::vector<float> got = device_out.get();
  bool right = true;
  for (int64_t r = 0; r < T * k; ++r)
    right &= std::memcmp(&got[r * bytes / 4], &in[row_token[r] * stride / 4], bytes) == 0;
  expect(right, std::string(name) + " gather");
}

void time_routing() {
  constexpr int64_t E = 128, k = 8, C = 2048;
  for (const int64_t T : {1, 8, 32, 64, 256, 2048, 8192}) {
    const DeviceArray<float> logits(normal_values(T * E, 2, 9)), x(normal_values(T * C, 1, 10)),
        out(normal_values(T * k * C, 1, 11));
    const DeviceArray<char> rows(T * C * 2), gathered(T * k * C * 2);
    const Plan plan(T, E, k, 64);
    const double route_us =
        time_us(20, [&](int, cudaStream_t s) { check(cuda::route(plan.view(), logits.data(), T, E, k, true, 64, s)); });
    const double gather_us = time_us(20, [&](int, cudaStream_t s) {
      check(cuda::gather_rows(gathered.data(), C * 2, rows.data(), C * 2, C * 2, plan.row_token.data(), T * k, s));
    });
    const double combine_us = time_us(
        20, [&](int, cudaStream_t s) { check(cuda::combine_experts(x.data(), out.data(), plan.view(), T, C, k, s)); });
    std::printf("T %5lld: route %.2f us, gather %.2f us (%.0f GB/s), combine %.2f us (%.0f GB/s)\n",
                static_cast<long long>(T), route_us, gather_us, 2e-3 * C * 2 * T * k / gather_us, combine_us,
                4e-3 * T * C * (k + 2) / combine_us);
  }
}

// ---- f32 products

// One output in the order of sums that gemm_f32.h lays down.
float dot_in_blocks(const float* a, const float* w, int64_t depth) {
  float total = 0;
  for (int64_t first = 0; first < depth; first += 64) {
    float sum = 0;
    for (int64_t k = first; k < std::min(depth, first + 64); ++k) sum = std::fma(a[k], w[k], sum);
    total += sum;
  }
  return total;
}

void test_gemm(int64_t N, int64_t K, int64_t pad) {
  constexpr int64_t kRows = 300;
  const int64_t lda = K + pad, ldw = K + pad;
  const std::vector<float> a = normal_values(kRows * lda, 1, N), w = normal_values(N * ldw, 0.05f, K),
                           y0 = normal_values(kRows * N, 1, 7);
  const DeviceArray<float> device_a(a), device_w(w);
  for (const auto epilogue : {cuda::EpilogueF32::store, cuda::EpilogueF32::add, cuda::EpilogueF32::silu_mul}) {
    const bool silu = epilogue == cuda::EpilogueF32::silu_mul;
    if (silu && N % 2) continue;
    const int64_t ldy = silu ? N / 2 : N;
    std::vector<float> all;
    for (const int64_t T : {300, 1, 2, 4, 5, 8, 16, 17, 64, 65, 129}) {
      DeviceArray<float> y(y0);
      check(cuda::gemm_f32({device_a.data(), lda, device_w.data(), ldw, y.data(), ldy, N, K, epilogue}, T, nullptr));
      check(cudaDeviceSynchronize());
      const std::vector<float> got = y.get();
      if (T == 300) all = got;
      char name[100];
      std::snprintf(name, sizeof name, "gemm N %lld K %lld epilogue %d T %lld", static_cast<long long>(N),
                    static_cast<long long>(K), static_cast<int>(epilogue), static_cast<long long>(T));
      expect(std::memcmp(got.data(), all.data(), T * ldy * sizeof(float)) == 0, std::string(name) + " bits");
      expect(std::memcmp(&got[T * ldy], &y0[T * ldy], (kRows * N - T * ldy) * sizeof(float)) == 0,
             std::string(name) + " beyond");
    }
    double worst = 0;
    bool exact = true;
    for (int64_t t = 0; t < kRows; t += 7)
      for (int64_t n = 0; n < ldy; n += 1 + ldy / 100) {
        const auto dot = [&](int64_t row) {
          double sum = 0;
          for (int64_t i = 0; i < K; ++i) sum += static_cast<double>(a[t * lda + i]) * w[row * ldw + i];
          return sum;
        };
        const double got = all[t * ldy + n];
        if (silu) {
          const double wanted = reference::silu(dot(n)) * dot(ldy + n);
          worst = std::max(worst, std::abs(got - wanted) / (1 + std::abs(wanted)));
        } else {
          const bool add = epilogue == cuda::EpilogueF32::add;
          worst = std::max(worst, std::abs(got - dot(n) - (add ? y0[t * N + n] : 0)));
          const float sum = dot_in_blocks(&a[t * lda], &w[n * ldw], K);
          exact &= static_cast<float>(got) == (add ? y0[t * N + n] + sum : sum);
        }
      }
    char name[100];
    std::snprintf(name, sizeof name, "gemm N %lld K %lld epilogue %d", static_cast<long long>(N),
                  static_cast<long long>(K), static_cast<int>(epilogue));
    expect(worst < 1e-5, std::string(name) + " error " + std::to_string(worst));
    expect(exact, std::string(name) + " order of sums");
    std::printf("%s: largest error %.2g\n", name, worst);
  }
}

void test_grouped(int64_t T) {
  constexpr int64_t E = 16, k = 4, N = 200, K = 192;
  for (const int64_t tile_rows : {8, 64, 128}) {
    const std::vector<float> logits = normal_values(T * E, 3, T);
    const DeviceArray<float> device_logits(logits), a(normal_values(T * k * K, 1, 20)),
        w(normal_values(E * N * K, 0.1f, 21));
    const Plan plan(T, E, k, tile_rows);
    check(cuda::route(plan.view(), device_logits.data(), T, E, k, true, tile_rows, nullptr));
    for (const auto epilogue : {cuda::EpilogueF32::store, cuda::EpilogueF32::silu_mul}) {
      const int64_t ldy = epilogue == cuda::EpilogueF32::store ? N : N / 2;
      const DeviceArray<float> wanted(T * k * ldy);
      const int32_t num_tiles = plan.num_tiles.get()[0];
      const auto tiles = plan.tiles.get();
      cuda::GemmF32 gemm = {a.data(), K, w.data(), K, wanted.data(), ldy, N, K, epilogue};
      for (int32_t i = 0; i < num_tiles; ++i) {
        cuda::GemmF32 part = gemm;
        part.a += tiles[i].first_row * K;
        part.y += tiles[i].first_row * ldy;
        part.weight += tiles[i].expert * N * K;
        check(cuda::gemm_f32(part, tiles[i].num_rows, nullptr));
      }
      for (const int64_t mean : {1, 10, 100}) {
        const DeviceArray<float> y(T * k * ldy);
        gemm.y = y.data();
        check(cuda::gemm_f32_grouped(gemm, plan.tiles.data(), plan.num_tiles.data(),
                                     cuda::max_expert_tiles(T * k, E, tile_rows), mean, nullptr));
        check(cudaDeviceSynchronize());
        expect(y.get() == wanted.get(), "grouped T " + std::to_string(T) + " mean " + std::to_string(mean));
      }
    }
  }
}

void time_gemm() {
  struct Shape {
    const char* name;
    int64_t N, K;
    cuda::EpilogueF32 epilogue;
  };
  for (const Shape& s :
       {Shape{"router", 128, 2048, cuda::EpilogueF32::store}, Shape{"0.6B qkv", 4096, 1024, cuda::EpilogueF32::store},
        Shape{"0.6B gate_up", 6144, 1024, cuda::EpilogueF32::silu_mul},
        Shape{"0.6B down", 1024, 3072, cuda::EpilogueF32::add},
        Shape{"0.6B head", 151936, 1024, cuda::EpilogueF32::store}}) {
    const int copies = static_cast<int>(std::clamp<int64_t>(100'000'000 / (4 * s.N * s.K), 1, 16));
    const DeviceArray<float> w(normal_values(static_cast<size_t>(copies * s.N * s.K), 0.05f, 30));
    std::printf("%-14s", s.name);
    for (const int64_t T : {1, 4, 8, 16, 64, 256, 1024, 2048, 8192}) {
      if (T > 256 && s.N > 100000) continue;
      const DeviceArray<float> a(normal_values(static_cast<size_t>(T * s.K), 1, 31)), y(static_cast<size_t>(T * s.N));
      const double us = time_us(16, [&](int i, cudaStream_t stream) {
        check(cuda::gemm_f32({a.data(), s.K, w.data() + i % copies * s.N * s.K, s.K, y.data(),
                              s.epilogue == cuda::EpilogueF32::silu_mul ? s.N / 2 : s.N, s.N, s.K, s.epilogue},
                             T, stream));
      });
      std::printf("  T %lld: %.2f us", static_cast<long long>(T), us);
      if (T <= 16)
        std::printf(" %.0f GB/s", 4e-3 * s.N * s.K / us);
      else
        std::printf(" %.1f TFLOP/s", 2e-6 * T * s.N * s.K / us);
    }
    std::printf("\n");
  }
}

}  // namespace

int main() {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  cudaDeviceProp properties;
  check(cudaGetDeviceProperties(&properties, 0));
  std::printf("%s\n", properties.name);
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    test_sampling(1, 1, 64, seed);
    test_sampling(37, 37, 1000, seed);
    test_sampling(1000, 999, 1000, seed);
    test_sampling(5000, 4001, 200, seed);
  }
  test_sampling(151936, 151669, 200, 1);
  test_sampling(151936, 151669, 33, 2);
  test_sampling(151936, 151936, 9, 3);
  test_sampling(196608, 196608, 17, 4);
  for (const int64_t T : {1, 2, 31, 32, 33, 64, 257, 1000, 8192})
    for (const bool ties : {false, true}) {
      test_routing(T, 128, 8, true, 64, ties);
      test_routing(T, 512, 16, false, 8, ties);
      test_routing(T, 60, 4, false, 128, ties);
      test_routing(T, 3, 3, true, 16, ties);
    }
  std::printf("routing tested\n");
  test_gemm(128, 2048, 0);
  test_gemm(1024, 1024, 4);
  test_gemm(6000, 1000, 0);
  test_gemm(130, 77, 0);
  test_gemm(37, 4100, 1);
  test_gemm(6, 1, 0);
  for (const int64_t T : {1, 20, 300}) test_grouped(T);
  std::printf("%d wrong\n", num_wrong);
  std::fflush(stdout);
  time_sampling();
  time_routing();
  time_gemm();
  return num_wrong > 0;
}
