// Tests and times the streamed products of cuda/kernels/stream.h on the device at hand.
//   bench_stream            all of it
//   bench_stream test       the tests alone; exit 1 if one fails
// Tests: the same bits as gemm_portable on operands that were normed beforehand, on ragged shapes. Times: the matrices
// of one decode step of several sizes in a graph, from one allocation and from one for each matrix, and each alone.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels/gemm.h"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/stream.h"

using namespace qwill::cuda;

namespace {

cudaStream_t stream_of_all;
int num_sms = 0, num_failed = 0;

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct Memory {
  char* data = nullptr;
  explicit Memory(int64_t bytes) { check(cudaMalloc(&data, static_cast<size_t>(bytes)), "cudaMalloc"); }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
};

struct Matrix {
  int64_t rows, cols;
  StreamOutput output;
  bool normed;
  MatrixLayout layout() const { return {(rows + 7) / 8, (cols + 63) / 64}; }
};

// Everything that a product touches, besides the weight.
struct Workspace {
  Memory x{1 << 22}, norm{1 << 16}, a{1 << 20}, y{8 << 20}, y2{8 << 20}, operand{1 << 20};
  Workspace() {
    check(random_f32(reinterpret_cast<float*>(x.data), 1 << 20, 1, 0, 1, stream_of_all), "random");
    check(random_f32(reinterpret_cast<float*>(norm.data), 1 << 14, 2, 1, 0.1f, stream_of_all), "random");
    check(random_bf16({a.data, {1, 512}, 0, 1}, 0, 8, 512 * 64, 3, 0, 1, stream_of_all), "random");
  }

  StreamCall call(const Matrix& m, const void* weight, int32_t num_rows, void* to) const {
    StreamCall c;
    c.weight = weight;
    c.layout = m.layout();
    c.num_outputs = static_cast<int32_t>(m.output == StreamOutput::silu_mul ? m.rows / 2 : m.rows);
    if (m.normed) {
      c.x = reinterpret_cast<const float*>(x.data);
      c.norm = reinterpret_cast<const float*>(norm.data);
      c.eps = 1e-6f;
    } else {
      c.a = a.data;
    }
    c.cols = static_cast<int32_t>(m.cols);
    c.num_rows = num_rows;
    c.output = m.output;
    c.y = to;
    c.ldy = m.output == StreamOutput::silu_mul ? (c.num_outputs + 63) / 64 * 64 : c.num_outputs;
    return c;
  }
};

void fill(const Matrix& m, char* weight, uint64_t seed) {
  check(cudaMemsetAsync(weight, 0, static_cast<size_t>(m.layout().bytes()), stream_of_all), "clear");
  check(random_bf16({weight, m.layout(), 0, 1}, 0, m.rows, m.cols, seed, 0, 0.03f, stream_of_all), "random");
}

void test(const Workspace& w, const Matrix& m, int32_t num_rows) {
  const Memory weight(m.layout().bytes());
  fill(m, weight.data, 7);
  const StreamCall call = w.call(m, weight.data, num_rows, w.y.data);
  const std::string what = "N " + std::to_string(m.rows) + " K " + std::to_string(m.cols) + " T " +
                           std::to_string(num_rows) + " output " + std::to_string(static_cast<int>(m.output)) +
                           (m.normed ? " normed" : "");
  if (!stream_fits(call, num_sms)) {
    ++num_failed;
    std::printf("FAILED does not fit: %s\n", what.c_str());
    return;
  }
  const int64_t padded = m.layout().padded_cols(),
                bytes = num_rows * call.ldy * (m.output == StreamOutput::silu_mul ? 2 : 4);
  for (const Memory* y : {&w.y, &w.y2})
    check(random_f32(reinterpret_cast<float*>(y->data), (8 << 20) / 4, 9, 0, 1, stream_of_all), "random");
  check(stream(call, num_sms, stream_of_all), "stream");
  const void* a = call.a;
  if (m.normed) {
    check(norm_rows(w.operand.data, nullptr, call.x, call.norm, call.eps, m.cols, padded, num_rows, stream_of_all),
          "norm");
    a = w.operand.data;
  }
  GemmWeight gemm;
  gemm.data = weight.data;
  gemm.layout = m.layout();
  gemm.rows = m.output == StreamOutput::silu_mul ? gemm.layout.row_blocks * 8 : m.rows;
  constexpr Epilogue kEpilogues[] = {Epilogue::store, Epilogue::add, Epilogue::silu_mul};
  GemmCall wanted;
  wanted.weight = &gemm;
  wanted.a = a;
  wanted.lda = padded;
  wanted.num_rows = num_rows;
  wanted.epilogue = kEpilogues[static_cast<int>(m.output)];
  wanted.y = w.y2.data;
  wanted.ldy = call.ldy;
  check(gemm_portable(wanted, stream_of_all), "gemm");
  std::vector<char> got(static_cast<size_t>(bytes)), expected(got.size());
  check(cudaStreamSynchronize(stream_of_all), "kernels");
  check(cudaMemcpy(got.data(), w.y.data, got.size(), cudaMemcpyDeviceToHost), "copy");
  check(cudaMemcpy(expected.data(), w.y2.data, got.size(), cudaMemcpyDeviceToHost), "copy");
  if (got == expected) return;
  ++num_failed;
  std::printf("FAILED %s\n", what.c_str());
}

// Milliseconds of the median replay of what `launches` puts into the stream.
template <typename F>
double time_graph(const F& launches) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream_of_all, cudaStreamCaptureModeThreadLocal), "capture");
  launches();
  check(cudaStreamEndCapture(stream_of_all, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 12; ++i) {
    check(cudaEventRecord(begin, stream_of_all), "event");
    check(cudaGraphLaunch(exec, stream_of_all), "graph");
    check(cudaEventRecord(end, stream_of_all), "event");
    check(cudaStreamSynchronize(stream_of_all), "graph");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    times.push_back(ms);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

void time_model(const Workspace& w, const char* name, int layers, int64_t C, int64_t heads, int64_t F, bool apart) {
  const std::vector<Matrix> of_layer = {{(heads + 16) * 128, C, StreamOutput::store, true},
                                        {C, heads * 128, StreamOutput::add, false},
                                        {2 * F, C, StreamOutput::silu_mul, true},
                                        {C, F, StreamOutput::add, false}};
  const Matrix head{151936, C, StreamOutput::store, true};
  int64_t total = head.layout().bytes();
  for (const Matrix& m : of_layer) total += layers * m.layout().bytes();
  std::vector<std::unique_ptr<Memory>> memory;
  std::vector<char*> weights;
  if (!apart) memory.push_back(std::make_unique<Memory>(total));
  int64_t offset = 0;
  const auto place = [&](const Matrix& m) {
    if (apart) memory.push_back(std::make_unique<Memory>(m.layout().bytes()));
    char* weight = apart ? memory.back()->data : memory.front()->data + offset;
    offset += m.layout().bytes();
    fill(m, weight, weights.size());
    weights.push_back(weight);
  };
  for (int layer = 0; layer < layers; ++layer)
    for (const Matrix& m : of_layer) place(m);
  place(head);
  const auto run = [&](const Matrix& m, const char* weight, int32_t num_rows) {
    void* to = m.output == StreamOutput::add ? w.x.data : m.output == StreamOutput::silu_mul ? w.a.data : w.y.data;
    const StreamCall call = w.call(m, weight, num_rows, to);
    check(stream_fits(call, num_sms) ? stream(call, num_sms, stream_of_all) : cudaErrorInvalidValue, "stream");
  };
  for (const int32_t num_rows : {1, 2}) {
    const double ms = time_graph([&] {
      for (size_t i = 0; i + 1 < weights.size(); ++i) run(of_layer[i % 4], weights[i], num_rows);
      run(head, weights.back(), num_rows);
    });
    std::printf("%s, %s, T %d: %.3f ms, %.0f GB/s |", name, apart ? "apart" : "one allocation", num_rows, ms,
                static_cast<double>(total) / ms / 1e6);
    for (size_t k = 0; k < 4; ++k) {
      const double alone = time_graph([&] {
        for (int layer = 0; layer < layers; ++layer)
          run(of_layer[k], weights[static_cast<size_t>(layer) * 4 + k], num_rows);
      });
      std::printf(" %.2f us %.0f,", alone * 1e3 / layers,
                  static_cast<double>(of_layer[k].layout().bytes()) * layers / alone / 1e6);
    }
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IONBF, 0);
  check(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0), "device");
  check(cudaStreamCreateWithFlags(&stream_of_all, cudaStreamNonBlocking), "stream");
  check(prepare_stream(), "prepare");
  check(prepare_gemm_portable(), "prepare");
  const Workspace w;
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{16, 64},
                                   {24, 40},
                                   {1008, 1000},
                                   {4096, 4096},
                                   {8192, 1024},
                                   {24576, 4096},
                                   {512, 12288},
                                   {640, 25600},
                                   {151936, 1024}})
    for (int32_t num_rows = 1; num_rows <= kMaxStreamRows; ++num_rows)
      for (const StreamOutput output : {StreamOutput::store, StreamOutput::add, StreamOutput::silu_mul})
        for (const bool normed : {false, true}) {
          if (normed && cols > kMaxNormCols) continue;
          if (output == StreamOutput::silu_mul && rows % 16 != 0) continue;
          if (rows > 100000 && output != StreamOutput::store) continue;
          test(w, {rows, cols, output, normed}, num_rows);
        }
  std::printf("%d failed\n", num_failed);
  if (argc > 1 && std::strcmp(argv[1], "test") == 0) return num_failed > 0;
  for (const bool apart : {false, true}) {
    time_model(w, "0.6b", 28, 1024, 16, 3072, apart);
    time_model(w, "4b", 36, 2560, 32, 9728, apart);
    time_model(w, "8b", 36, 4096, 32, 12288, apart);
    time_model(w, "14b", 40, 5120, 40, 17408, apart);
  }
  return num_failed > 0;
}
