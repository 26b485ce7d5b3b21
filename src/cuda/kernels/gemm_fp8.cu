// gemm_fp8: Y[t, n] = ws[n] sum_b as[t, b] sum over k of block b of A[t, k] W[n, k] (fp8.h), on Hopper's wgmma of e4m3.
// W [N, K] e4m3 in atoms (cuda/layout.h), A [T, K] e4m3 row-major, Y f32 or bf16 by the epilogue (gemm.h).
// moves N K + T K bytes and Y once; few rows: bound by reading W; many: by the tensor cores, 4096 products a cycle.
// The ring of gemm_ring.cuh: a stage is 128 columns, one block of the sum, with the block's scales of the tile's
// tokens. A warpgroup multiplies a block of the sum from a fresh start and adds it to its sums by fma. While it does
// that, the tensor cores work for the other half of its 128 tokens, or for the other warpgroup.
// Tried and lost: two stages at once (0.6 % faster with 64 tokens, with 128 registers spill), tiles of 192 rows.
// equals: ops/reference.cpp linear, gated; bit for bit stream_fp8.cu    test and bench: bench/cuda/bench_fp8.cu
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/gemm_ring.cuh"
#include "cuda/kernels/tensor_map.cuh"

namespace qwill::cuda {
namespace {

struct Fp8Products {
  struct Operands {
    CUtensorMap scale_map;  // [copies of the scales, blocks of columns, tokens]
    int32_t col_blocks;
    const float* weight_scales;
    int32_t weight_rows;  // that have scales
  };
  static constexpr int32_t kCols = kFp8AtomCols;
  static constexpr int kReleases = 4;
  // The copy engine wants 128 bytes' alignment, and the barrier waits for all of them.
  template <int kTokens>
  static constexpr int kScaleBytes = kTokens < 32 ? 128 : kTokens * 4;
  template <int kTokens>
  static constexpr bool kBeginsLate = kTokens >= 128;

  // Scales of other tokens come along, and zeros or anything from beyond the last: their sums are not kept. A box
  // begins at a multiple of 16 bytes, or the copy engine refuses the instruction: at every fourth token (fp8.h).
  template <int kTokens>
  __device__ __forceinline__ static void load_scales(const Operands& operands, uint32_t to, int32_t token, int32_t k,
                                                     uint32_t barrier) {
    const int32_t copy = token % 4;
    copy_box(to, &operands.scale_map, token - copy, copy * operands.col_blocks + k, barrier);
  }

  // Of the two weight rows that a thread has sums of.
  struct RowScales {
    float low, high;
    __device__ __forceinline__ RowScales(const Operands& operands, int32_t row) {
      row += threadIdx.x % 32 / 4;
      low = __ldg(operands.weight_scales + min(row, operands.weight_rows - 1));
      high = __ldg(operands.weight_scales + min(row + 8, operands.weight_rows - 1));
    }
    template <int kSums>
    __device__ __forceinline__ void apply(float (&d)[kSums]) const {
#pragma unroll
      for (int i = 0; i < kSums; ++i) d[i] = __fmul_rn(d[i], i % 4 < 2 ? low : high);
    }
  };

  // Begins the products of a stage with so many of its tokens: until the tensor cores have finished, `block` is theirs.
  template <int kBlock>
  __device__ __forceinline__ static void multiply(float (&block)[kBlock], const StagePlace& stage, int part) {
    const uint64_t a = atom_descriptor(stage.weights), b = atom_descriptor(stage.tokens + part * kBlock * 2 * 128);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; ++step)
      wgmma_fp8(block, a + step * kDescriptorK32Fp8, b + step * kDescriptorK32Fp8, step > 0);
    wgmma_commit();
  }

  // Adds them, times the tokens' scales.
  template <int kBlock>
  __device__ __forceinline__ static void add(float* sums, const float (&block)[kBlock], const StagePlace& stage,
                                             int part) {
    const uint32_t scales = stage.scales + part * kBlock * 2 * 4 + threadIdx.x % 4 * 8;
#pragma unroll
    for (int n = 0; n < kBlock / 4; ++n) {
      const float2 scale = load_float2(scales + n * 32);
      sums[4 * n] = __fmaf_rn(block[4 * n], scale.x, sums[4 * n]);
      sums[4 * n + 1] = __fmaf_rn(block[4 * n + 1], scale.y, sums[4 * n + 1]);
      sums[4 * n + 2] = __fmaf_rn(block[4 * n + 2], scale.x, sums[4 * n + 2]);
      sums[4 * n + 3] = __fmaf_rn(block[4 * n + 3], scale.y, sums[4 * n + 3]);
    }
  }

  template <int kSums, typename Wait, typename StageAt, typename Release>
  __device__ __forceinline__ static void sum(float (&d)[kSums], int32_t cols, RingPosition& at, int32_t stages,
                                             const Wait& wait, const StageAt& stage_at, const Release& release) {
    // Of 128 tokens halves at once: while the first one's products are added, the second's are still under way. Of 256,
    // whose sums leave too few registers for that, one after the other.
    constexpr int kParts = kSums <= 32 ? 1 : 2, kPart = kSums / kParts;
#pragma unroll 1
    for (int32_t k = 0; k < cols; ++k, at.advance(stages)) {
      wait();
      const StagePlace stage = stage_at(at.stage);
      if constexpr (kSums == 64) {
        float first[kPart], second[kPart];
        multiply(first, stage, 0);
        multiply(second, stage, 1);
        wgmma_wait<1>(first);
        add(d, first, stage, 0);
        wgmma_wait<0>(second);
        add(d + kPart, second, stage, 1);
      } else {
#pragma unroll
        for (int part = 0; part < kParts; ++part) {
          float block[kPart];
          multiply(block, stage, part);
          wgmma_wait<0>(block);
          add(d + part * kPart, block, stage, part);
        }
      }
      release(at.stage);
    }
  }
};

constexpr auto kVariants = make_variants<Fp8Products, kFp8Tiles>();

}  // namespace

cudaError_t prepare_gemm_fp8() {
  const cudaError_t error = allow_variants(kVariants);
  return error == cudaSuccess ? prepare_gemm_fp8_wide() : error;
}

cudaError_t gemm_fp8(const Fp8Call& call, const GemmTile& tile, int num_sms, cudaStream_t stream) {
  const bool aligned =
      call.epilogue == Epilogue::silu_mul ? call.ldy % kAtomCols == 0 : call.weight->rows % 4 == 0 && call.ldy % 4 == 0;
  const bool wide = is_wide(tile) && !call.grouped && aligned;
  if (call.a.padded_cols != call.weight->layout.padded_cols() || call.a.scale_stride % 4 != 0 ||
      (call.grouped && call.a.scale_copies != kGroupedScaleCopies) ||
      (call.rounded.data != nullptr && !(wide && rounds_at_once(tile))))
    return cudaErrorInvalidValue;
  if (wide) return gemm_fp8_wide(call, tile, num_sms, stream);
  const GemmTile of_ring = is_wide(tile) ? std::end(kFp8Tiles)[-1] : tile;
  const auto* variant = std::ranges::find(kVariants, of_ring, &GemmVariant<Fp8Products>::tile);
  if (variant == std::end(kVariants)) return cudaErrorInvalidValue;
  const GemmTask task = make_task(call, of_ring.rows * of_ring.cluster, of_ring.tokens);
  const Ring ring = {.stages = variant->stages(),
                     .box_rows = choose_box_rows(call.grouped != nullptr, call.num_rows, of_ring),
                     .early_stages = early_stages(of_ring, variant->stages())};
  const auto cols = static_cast<cuuint64_t>(call.a.padded_cols), rows = static_cast<cuuint64_t>(call.num_rows);
  CUtensorMap token_map;
  Fp8Products::Operands operands;
  operands.col_blocks = static_cast<int32_t>(call.weight->layout.col_blocks);
  operands.weight_scales = call.weight->scales;
  operands.weight_rows = static_cast<int32_t>(call.weight->layout.rows());
  if (const cudaError_t error = encode_map<2>(
          token_map, CU_TENSOR_MAP_DATA_TYPE_UINT8, call.a.data, {cols, rows}, {cols},
          {static_cast<cuuint32_t>(kFp8AtomCols), static_cast<cuuint32_t>(ring.box_rows)}, CU_TENSOR_MAP_SWIZZLE_128B);
      error != cudaSuccess)
    return error;
  if (const cudaError_t error = encode_map<2>(
          operands.scale_map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, call.a.scales,
          {rows, cols / static_cast<cuuint64_t>(kFp8AtomCols) * static_cast<cuuint64_t>(call.a.scale_copies)},
          {static_cast<cuuint64_t>(call.a.scale_stride) * sizeof(float)},
          {static_cast<cuuint32_t>(std::max(of_ring.tokens, 32)), 1}, CU_TENSOR_MAP_SWIZZLE_NONE);
      error != cudaSuccess)
    return error;
  return launch(variant->kernel, count_blocks(task, of_ring, num_sms), variant->threads, variant->shared_bytes(),
                stream, call.weight->map, token_map, operands, task, ring);
}

}  // namespace qwill::cuda
