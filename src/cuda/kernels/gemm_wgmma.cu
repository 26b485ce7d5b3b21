// gemm: Y[t, n] = sum over k of A[t, k] W[n, k], k in order in steps of 16, f32 sums from zero, on Hopper's wgmma.
// W [N, K] bf16 in atoms (cuda/layout.h), A [T, lda] bf16 row-major, Y f32 or bf16 by the epilogue (gemm.h).
// moves 2 N K + 2 T K bytes and Y once; few rows: bound by reading W; from some 250 rows on by the tensor cores.
// Weights are wgmma's M operand, tokens its N. In a block one warp loads and one to three warpgroups multiply, over a
// ring of stages of 64 columns; blocks are persistent, so that loads run on through a tile's epilogue. Two blocks of a
// cluster have the same tokens and neighbouring weights, and share the loading of the tokens: without, the L2 cache
// binds the largest tile (24576 x 4096, 2048 rows: 720 TFLOP/s alone, 838 in pairs). Of 129 to 256 rows they have the
// same weights and share the loading of these. Before it waits for the kernel before it, a block has its ring full of
// weights on the way.
// Tried and lost: fetching more weights to the L2 cache ahead of the wait; clusters that share tokens for the smaller
// tiles (1 % at best, mostly slower), clusters of four; sums stored from the registers (no faster); tiles of 192 x 256,
// of 8 tokens, shallow ones of 32 and 64 tokens (docs/performance.md, "Batches").
// equals: ops/reference.cpp linear, gated; bit for bit gemm_portable.cu    test and bench: bench/cuda/bench_gemm.cu
#include "cuda/kernels/gemm_ring.cuh"
#include "cuda/kernels/tensor_map.cuh"

namespace qwill::cuda {
namespace {

struct Bf16Products {
  struct Operands {};
  static constexpr int32_t kCols = 64;
  static constexpr int kReleases = 1;
  template <int kTokens>
  static constexpr int kScaleBytes = 0;
  template <int kTokens>
  static constexpr bool kBeginsLate = false;

  template <int kTokens>
  __device__ __forceinline__ static void load_scales(const Operands&, uint32_t, int32_t, int32_t, uint32_t) {}

  struct RowScales {
    __device__ __forceinline__ RowScales(const Operands&, int32_t) {}
    template <int kSums>
    __device__ __forceinline__ void apply(float (&)[kSums]) const {}
  };

  template <int kSums, typename Wait, typename StageAt, typename Release>
  __device__ __forceinline__ static void sum(float (&d)[kSums], int32_t cols, RingPosition& at, int32_t stages,
                                             const Wait& wait, const StageAt& stage_at, const Release& release) {
    int32_t previous = 0;
    for (int32_t k = 0; k < cols; ++k, at.advance(stages)) {
      wait();
      const StagePlace stage = stage_at(at.stage);
      const uint64_t a = atom_descriptor(stage.weights), b = atom_descriptor(stage.tokens);
      wgmma_fence();
#pragma unroll
      for (int step = 0; step < 4; ++step) wgmma(d, a + step * kDescriptorK16, b + step * kDescriptorK16);
      wgmma_commit();
      wgmma_wait<1>();
      if (k > 0) release(previous);
      previous = at.stage;
    }
    wgmma_wait<0>();
    release(previous);
  }
};

constexpr auto kVariants = make_variants<Bf16Products, kGemmTiles>();

}  // namespace

cudaError_t make_weight_map(const void* data, const MatrixLayout& layout, CUtensorMap& map, int32_t box_rows) {
  // An atom as 128 elements of eight bytes, since a box has at most 256.
  const auto row_blocks = static_cast<cuuint64_t>(layout.row_blocks), cols = static_cast<cuuint64_t>(layout.col_blocks);
  return encode_map<3>(map, CU_TENSOR_MAP_DATA_TYPE_UINT64, data, {kAtomBytes / 8, cols, row_blocks},
                       {kAtomBytes, kAtomBytes * cols},
                       {kAtomBytes / 8, 1, static_cast<cuuint32_t>(box_rows / kAtomRows)}, CU_TENSOR_MAP_SWIZZLE_NONE);
}

cudaError_t prepare_gemm_wgmma() { return allow_variants(kVariants); }

cudaError_t gemm_wgmma(const GemmCall& call, const GemmTile& tile, int num_sms, cudaStream_t stream) {
  const auto* variant = std::ranges::find(kVariants, tile, &GemmVariant<Bf16Products>::tile);
  if (variant == std::end(kVariants)) return cudaErrorInvalidValue;
  GemmTask task = make_task(call, tile.rows * tile.cluster, tile.tokens * tile.token_cluster);
  // Where pairs of blocks take many rows, it is best late (256 streams of 8B: 0.6 %), with few at once.
  task.next = tile.token_cluster > 1 ? NextStart::loaded : call.next;
  const Ring ring = {.stages = variant->stages(),
                     .box_rows = choose_box_rows(call.grouped != nullptr, call.num_rows, tile),
                     .early_stages = early_stages(tile, variant->stages())};
  CUtensorMap token_map, weight_map = call.weight->map;
  if (tile.rows < kMostBoxRows)
    if (const cudaError_t error = make_weight_map(call.weight->data, call.weight->layout, weight_map, tile.rows))
      return error;
  const cudaError_t error = encode_map<2>(
      token_map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, call.a,
      {static_cast<cuuint64_t>(call.weight->layout.padded_cols()), static_cast<cuuint64_t>(call.num_rows)},
      {static_cast<cuuint64_t>(call.lda) * sizeof(bfloat)}, {kAtomCols, static_cast<cuuint32_t>(ring.box_rows)},
      CU_TENSOR_MAP_SWIZZLE_128B);
  if (error != cudaSuccess) return error;
  return launch(call.fresh_weight ? Start::after : Start::early, variant->kernel, count_blocks(task, tile, num_sms),
                variant->threads, variant->shared_bytes(), stream, weight_map, token_map, Bf16Products::Operands{},
                task, ring);
}

}  // namespace qwill::cuda
