// What the benches of products share: checks, buffers, random data, times of captured graphs.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/kernels/gemm.h"

namespace qwill::cuda {

inline void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

inline cudaStream_t queue;
inline int num_sms;
inline int num_failed = 0;

inline void expect(bool good, const std::string& what) {
  if (good) return;
  ++num_failed;
  if (num_failed < 40) std::printf("FAILED %s\n", what.c_str());
}

template <typename T>
struct Buffer {
  T* data = nullptr;
  size_t size;
  explicit Buffer(size_t count) : size(count) { check(cudaMalloc(&data, count * sizeof(T)), "cudaMalloc"); }
  explicit Buffer(const std::vector<T>& values) : Buffer(values.size()) { set(values); }
  Buffer(const Buffer&) = delete;
  ~Buffer() { cudaFree(data); }
  std::vector<T> host() const {
    std::vector<T> copy(size);
    check(cudaStreamSynchronize(queue), "kernel");
    check(cudaMemcpy(copy.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost), "copy to host");
    return copy;
  }
  void set(const std::vector<T>& values) {
    check(cudaMemcpy(data, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copy to device");
  }
  void fill(int byte) { check(cudaMemsetAsync(data, byte, size * sizeof(T), queue), "memset"); }
};

// --- random data ---

inline __host__ __device__ float random_value(uint64_t i, uint64_t seed) {
  uint64_t x = i * 0x9E3779B97F4A7C15u + seed * 0xD1B54A32D192ED03u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return static_cast<float>((x ^ (x >> 31)) >> 40) * 0x1p-23f - 1.0f;
}

// --- results ---

inline std::string name_of(const GemmTile& tile) {
  return std::to_string(tile.rows) + "x" + std::to_string(tile.tokens) + (tile.deep ? "" : " shallow") +
         (tile.blocks() == 1 ? "" : "/" + std::to_string(tile.cluster) + "x" + std::to_string(tile.token_cluster));
}

inline size_t element_bytes(Epilogue epilogue) { return epilogue == Epilogue::silu_mul ? 2 : 4; }

inline float bf16_value(const uint8_t* at) {
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, 4);
  return value;
}
inline float float_value(const uint8_t* at) {
  float value;
  std::memcpy(&value, at, 4);
  return value;
}

// Tiles as a router would list them: expert by expert.
inline std::vector<ExpertTile> list_tiles(const std::vector<int32_t>& rows_per_expert, int32_t tile_rows) {
  std::vector<ExpertTile> tiles;
  int32_t row = 0;
  for (size_t e = 0; e < rows_per_expert.size(); row += rows_per_expert[e++])
    for (int32_t first = 0; first < rows_per_expert[e]; first += tile_rows)
      tiles.push_back({static_cast<int32_t>(e), row + first, std::min(tile_rows, rows_per_expert[e] - first)});
  return tiles;
}

// --- times ---

// Milliseconds of one run of what `enqueue` puts on the stream, from a captured graph, median of five times a few.
inline double time_ms(const std::function<void()>& enqueue) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(queue, cudaStreamCaptureModeGlobal), "capture");
  enqueue();
  check(cudaStreamEndCapture(queue, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 6; ++i) {
    check(cudaEventRecord(begin, queue), "record");
    for (int j = 0; j < 2; ++j) check(cudaGraphLaunch(exec, queue), "launch");
    check(cudaEventRecord(end, queue), "record");
    check(cudaStreamSynchronize(queue), "run");
    float ms;
    check(cudaEventElapsedTime(&ms, begin, end), "elapsed");
    if (i > 0) times.push_back(ms / 2);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  std::ranges::sort(times);
  return times[times.size() / 2];
}

}  // namespace qwill::cuda
