// What the card can do: the ceilings that measurements are held against.
#include <algorithm>

#include "cuda/device.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/rows.h"

namespace qwill {
namespace {

using namespace cuda;

// Seconds of the fastest of several runs.
template <typename F>
double best_time(const Device& device, int runs, F&& run) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "create an event");
  check(cudaEventCreate(&end), "create an event");
  float best_ms = 1e30f;
  for (int i = 0; i <= runs; ++i) {
    check(cudaEventRecord(begin, device.stream), "measure");
    run();
    check(cudaEventRecord(end, device.stream), "measure");
    check(cudaEventSynchronize(end), "measure");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "measure");
    if (i > 0) best_ms = std::min(best_ms, ms);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return best_ms / 1e3;
}

}  // namespace

double cuda_read_bandwidth(const CudaOptions& options, int64_t bytes) {
  Device device(options);
  Arena arena({device.memory, "a measurement"});
  void* data = arena.allocate(bytes);
  void* sink = arena.allocate(16);
  check(random_f32(static_cast<float*>(data), bytes / 4, 1, 0, 1, device.stream), "measure");
  double best = 1e30;
  for (const int blocks : {1, 2, 4, 8})
    best = std::min(best, best_time(device, 3, [&] {
                      check(read_plain(data, bytes, blocks * device.num_sms, sink, device.stream), "measure");
                    }));
  if (device.hopper)
    for (const int blocks : {1, 2})
      best = std::min(best, best_time(device, 3, [&] {
                        check(read_bulk(data, bytes, blocks * device.num_sms, device.stream), "measure");
                      }));
  return static_cast<double>(bytes) / best;
}

double cuda_matrix_rate(const CudaOptions& options) {
  constexpr int64_t kSize = 8192;
  Device device(options);
  Arena arena({device.memory, "a measurement"});
  const MatrixLayout layout{kSize / kAtomRows, kSize / kAtomCols};
  GemmWeight weight;
  weight.layout = layout;
  weight.rows = kSize;
  void* data = arena.allocate(layout.bytes());
  void* a = arena.allocate(layout.bytes());
  weight.data = data;
  for (void* matrix : {data, a})
    check(random_bf16({matrix, layout, 0, 1}, 0, kSize, kSize, 1, 0, 1, device.stream), "measure");
  const GemmCall call{.weight = &weight,
                      .a = a,
                      .lda = kSize,
                      .num_rows = kSize,
                      .epilogue = Epilogue::store,
                      .y = arena.allocate(kSize * kSize * 4),
                      .ldy = kSize};
  check(prepare_gemm(device.hopper), "measure");
  if (device.hopper) check(make_weight_map(data, layout, weight.map), "measure");
  const double seconds =
      best_time(device, 5, [&] { check(gemm(call, device.hopper, device.num_sms, device.stream), "measure"); });
  return 2.0 * kSize * kSize * kSize / seconds;
}

}  // namespace qwill
