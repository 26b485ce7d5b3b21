// sample: draws[r] = the draw of row r (ops/sampling.h): adjusted logits -> greedy, or temperature and Gumbel-max over
// all tokens, or over those that top-k, top-p and min-p leave; and whether it is one of the row's stop ids.
// logits [R, ld] f32; settings [R]; draws [R] int32. Two launches: `search_slices` finds the best token of each slice
// of a greedy or plain row; `finish_rows` the best of the slices, and does rows with a filter from the start.
//
// Moves 4 R V bytes. Greedy rows, and rows whose favourites are clear, are memory-bound; where every token needs its
// noise (flat logits), the generator takes about twice as long as reading. A filtered row is bound by latency and by
// adding to bins.
//
// reference: ops/sampling.cpp sample_row    bench: bench/cuda/bench_sampling.cu
// Same token, except where the rounding of doubles decides: the weights of top-p are summed as integers in units of
// 2^-46 of the best token's (in any order, so deterministic), and exp and log differ from the host's by an ulp.
#include <algorithm>

#include "cuda/kernels/launch.cuh"
#include "cuda/kernels/philox.cuh"
#include "cuda/kernels/ptx.cuh"
#include "cuda/kernels/sampling.h"
#include "cuda/kernels/sampling_columns.cuh"
#include "cuda/kernels/sampling_filter.cuh"

namespace qwill::cuda {
namespace {

constexpr int kSearchThreads = 256;
constexpr int kMinSlice = 4 * kSearchThreads;  // columns that its threads take at once
constexpr int kPiece = 2 * kMinSlice;
constexpr int kPieces = 4;  // ring of them in shared memory

__device__ SampleSettings settings_of(const SampledRows& sampled, int64_t r) {
  SampleSettings row = sampled.rows[r];
  const uint32_t low = static_cast<uint32_t>(row.position) + sampled.steps;
  row.position = row.position >> 32 << 32 | low;
  return row;
}

// The draw as it is stored, in all lanes of a warp.
__device__ int32_t stored_draw(int32_t id, const SampleSettings& row, const int32_t* stop_ids) {
  bool stops = false;
  for (int32_t i = threadIdx.x % 32; i < row.num_stops; i += 32) stops |= stop_ids[row.first_stop + i] == id;
  return __any_sync(~0u, stops) ? ~id : id;
}

// One block a slice of a row's columns, for rows without a filter: found[row][slice]. The columns come by a ring of
// pieces. Of each row last_ids[row]: the next kernel stores draws where the last ones stand.
__global__ void __launch_bounds__(kSearchThreads, 4)
    search_slices(const float* logits, int64_t ld, int32_t num_drawable, int32_t slice_columns, SampledRows sampled,
                  const int32_t* last_draws, int32_t* last_ids, Found* found) {
  __shared__ __align__(128) float values[kPieces * kPiece];
  __shared__ uint64_t barriers[kPieces];
  __shared__ Found warp_best[32];
  __shared__ float bars[32];
  __shared__ SampleSettings row;
  __shared__ int32_t last_id;
  const int32_t first = static_cast<int32_t>(blockIdx.x) * slice_columns;
  const int32_t count = min(slice_columns, num_drawable - first), num_pieces = (count + kPiece - 1) / kPiece;
  const auto piece = [&](int32_t i) {
    return Columns{values + i % kPieces * kPiece, first + i * kPiece, min(kPiece, count - i * kPiece)};
  };
  logits += blockIdx.y * ld;
  let_next_kernel_start();
  if (threadIdx.x < kPieces) init_barrier(&barriers[threadIdx.x]);
  if (threadIdx.x < 2) prefetch_line(reinterpret_cast<const char*>(sampled.rows + blockIdx.y) + threadIdx.x * 64);
  wait_for_previous_kernel();
  const int32_t ahead = 4 * static_cast<int32_t>(threadIdx.x);
  const float4 four = ahead < count ? *reinterpret_cast<const float4*>(logits + first + ahead) : float4{};
  if (threadIdx.x == 0) {
    row = settings_of(sampled, blockIdx.y);
    last_id = row.draw_source < 0 ? -1 : id_of_draw(last_draws[row.draw_source]);
    if (blockIdx.x == 0) last_ids[blockIdx.y] = last_id;
  }
  __syncthreads();
  if (is_filtered(row, num_drawable)) return;
  if (count <= kMinSlice && row.temperature <= 0 && row.num_adjustments == 0 && last_id < 0) {
    // Few columns of a row as it is: no ring, and little code, which has to come from memory, too.
    float highest = -INFINITY;
    int32_t id = 0;
    raise(highest, id, first_of(four, count - ahead), first + ahead);
    const Found best = best_of_block({highest, id}, warp_best);
    if (threadIdx.x == 0) found[blockIdx.y * gridDim.x + blockIdx.x] = best;
    return;
  }
  if (threadIdx.x == 0)
    for (int32_t i = 0; i < min(kPieces, num_pieces); ++i) piece(i).start_copy(logits, &barriers[i]);

  Adjuster adjuster(row, sampled.adjustments, last_id, first);
  GumbelSearch search(gumbel_row(row));
  Found best = {kMinusInfinity, 0};
  const bool noisy = row.temperature > 0;
  for (int32_t i = 0; i < num_pieces; ++i) {
    const Columns columns = piece(i);
    barrier_wait(shared_address(&barriers[i % kPieces]), i / kPieces & 1);
    adjuster.apply(columns);
    if (noisy)
      search_noisy(search, columns, [](float, int32_t) { return true; });
    else
      search_greedy(best, columns);
    if (i + kPieces >= num_pieces) continue;
    fence_async_proxy();
    __syncthreads();
    if (threadIdx.x == 0) piece(i + kPieces).start_copy(logits, &barriers[i % kPieces]);
  }
  if (noisy) best = finish_search(search, bars);
  best = best_of_block(best, warp_best);
  if (threadIdx.x == 0) found[blockIdx.y * gridDim.x + blockIdx.x] = best;
}

// Rows without a filter: one warp each, over the best of the slices. Rows with one: a cluster each, which keeps the
// row's adjusted logits in shared memory and reads global memory once.
__global__ void __cluster_dims__(kRanks, 1, 1) __launch_bounds__(kFinishThreads)
    finish_rows(int32_t* draws, int32_t* host_draws, const float* logits, int64_t ld, int32_t num_rows,
                int32_t num_drawable, int32_t rank_columns, SampledRows sampled, const int32_t* last_ids,
                const Found* found, int32_t num_slices) {
  extern __shared__ __align__(128) float values[];
  __shared__ uint64_t barrier;
  __shared__ FilterShared shared;
  __shared__ SampleSettings row;
  let_next_kernel_start();
  if (threadIdx.x == 0) init_barrier(&barrier);
  wait_for_previous_kernel();
  const int32_t lane = threadIdx.x % 32;

  // By a warp, whose first lane knows the id.
  const auto put = [&](int32_t r, int32_t id) {
    const int32_t draw = stored_draw(__shfl_sync(~0u, id, 0), sampled.rows[r], sampled.stop_ids);
    if (lane != 0) return;
    draws[r] = draw;
    if (host_draws) host_draws[r] = draw;
  };

  const int32_t num_warps = gridDim.x * (kFinishThreads / 32);
  for (int32_t r = (blockIdx.x * kFinishThreads + threadIdx.x) / 32; r < num_rows; r += num_warps) {
    if (is_filtered(sampled.rows[r], num_drawable)) continue;
    Found best = {kMinusInfinity, 0};
    for (int32_t i = lane; i < num_slices; i += 32)
      best = better(found[static_cast<int64_t>(r) * num_slices + i], best);
    best = best_of_warp(best);
    put(r, best.id);
  }

  // Filtered rows are dealt to the clusters in turn.
  const int32_t rank = blockIdx.x % kRanks, num_clusters = gridDim.x / kRanks;
  const int32_t first = rank * rank_columns;
  const Columns columns = {values, first, min(rank_columns, num_drawable - first)};
  int32_t turn = blockIdx.x / kRanks;
  uint32_t parity = 0;
  for (int32_t base = 0; base < num_rows; base += 32) {
    uint32_t filtered = __ballot_sync(
        ~0u, base + lane < num_rows && is_filtered(sampled.rows[min(base + lane, num_rows - 1)], num_drawable));
    for (; filtered; filtered &= filtered - 1) {
      if (turn-- > 0) continue;
      turn = num_clusters - 1;
      const int32_t r = base + __ffs(filtered) - 1;
      if (threadIdx.x == 0) {
        row = settings_of(sampled, r);
        if (columns.count > 0) columns.start_copy(logits + r * ld, &barrier);
      }
      __syncthreads();
      if (columns.count > 0) {
        Adjuster adjuster(row, sampled.adjustments, last_ids[r], first);
        barrier_wait(shared_address(&barrier), parity);
        parity ^= 1;
        adjuster.apply(columns);
      }
      const int32_t id = FilteredRow(shared, columns, row).draw();
      if (rank == 0 && threadIdx.x < 32) put(r, id);
      fence_async_proxy();
      __syncthreads();
    }
  }
}

// Columns of a block of search_slices: so that all blocks run at once, four on each of an H100's SMs; with many rows at
// least four blocks a row, since whole rows would leave SMs idle at the end.
int32_t slice_columns(int64_t num_rows, int64_t num_drawable) {
  const int64_t slices = std::max<int64_t>(4 * 132 / num_rows, 4), columns = (num_drawable + slices - 1) / slices;
  return static_cast<int32_t>((columns + kMinSlice - 1) / kMinSlice * kMinSlice);
}

// How many clusters of finish_rows run at once.
cudaError_t max_clusters(size_t shared_bytes, int& clusters) {
  cudaLaunchConfig_t config = {};
  config.gridDim = kRanks;
  config.blockDim = kFinishThreads;
  config.dynamicSmemBytes = shared_bytes;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kRanks, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(&clusters, finish_rows, &config);
}

}  // namespace

size_t sample_workspace_bytes(int64_t num_rows, int64_t num_drawable) {
  const int64_t slices = (num_drawable + kMinSlice - 1) / kMinSlice;
  return static_cast<size_t>(num_rows) * (static_cast<size_t>(slices) * sizeof(Found) + sizeof(int32_t));
}

cudaError_t sample(int32_t* draws, int32_t* host_draws, const float* logits, int64_t ld, int64_t num_rows,
                   int64_t num_drawable, const SampledRows& sampled, void* workspace, cudaStream_t stream) {
  if (ld % 4 != 0 || num_drawable < 1 || num_drawable > std::min(ld, kMaxSampledColumns)) return cudaErrorInvalidValue;
  if (num_rows <= 0) return cudaSuccess;
  const int32_t columns = slice_columns(num_rows, num_drawable);
  const int32_t slices = static_cast<int32_t>((num_drawable + columns - 1) / columns);
  const int32_t rank_columns = static_cast<int32_t>((num_drawable + 4 * kRanks - 1) / (4 * kRanks) * 4);
  const size_t rank_bytes = static_cast<size_t>(rank_columns) * sizeof(float);
  Found* const found = static_cast<Found*>(workspace);
  auto* const last_ids = reinterpret_cast<int32_t*>(found + num_rows * slices);
  if (const cudaError_t error = allow_shared(finish_rows, kMaxSampledColumns / kRanks * sizeof(float))) return error;
  if (const cudaError_t error = launch(search_slices, dim3(slices, num_rows), kSearchThreads, 0, stream, logits, ld,
                                       num_drawable, columns, sampled, draws, last_ids, found))
    return error;
  int clusters = 0;
  if (const cudaError_t error = max_clusters(rank_bytes, clusters)) return error;
  const auto blocks = static_cast<uint32_t>(std::clamp<int64_t>(num_rows, 1, std::max(clusters, 1)) * kRanks);
  return launch(finish_rows, blocks, kFinishThreads, rank_bytes, stream, draws, host_draws, logits, ld, num_rows,
                num_drawable, rank_columns, sampled, last_ids, found, slices);
}

}  // namespace qwill::cuda
