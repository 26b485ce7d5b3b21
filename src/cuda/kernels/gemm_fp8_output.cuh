// What becomes of the sums of gemm_fp8_wide.cu, by one warp: sixteen tokens times kRows weight rows from `row` on, as
// wgmma leaves them with tokens as rows. Everything goes through shared memory, so that what is read and written lies
// in whole lines of 128 bytes.
#pragma once

#include "cuda/kernels/activation.cuh"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/fp8_value.cuh"
#include "cuda/kernels/gemm_epilogue.cuh"
#include "cuda/kernels/ptx.cuh"

namespace qwill::cuda {

template <int kRows>
class TokenOutput {
 public:
  static constexpr int kSums = kRows / 2;
  static constexpr int32_t kPitch = 40;       // floats from token to token: no bank conflicts, neither way
  static constexpr int32_t kBytePitch = 144;  // of two or one byte a value
  static constexpr int32_t kStagingBytes = 16 * kPitch * 4;

  // scales [kRows] of the weight rows, staging [kStagingBytes] of the warp's own, both in shared memory.
  __device__ __forceinline__ TokenOutput(const GemmTask& task, const float* scales, char* staging, int32_t row,
                                         int32_t token, int32_t end_token)
      : task_(task), scales_(scales), staging_(staging), row_(row), token_(token), tokens_(end_token - token) {}

  __device__ __forceinline__ void finish(const float (&d)[kSums], const Fp8Rows& rounded) const {
    switch (task_.epilogue) {
      case Epilogue::store: return write_sums<false>(d);
      case Epilogue::add: return write_sums<true>(d);
      case Epilogue::silu_mul: return write_activations(d, rounded);
    }
  }

 private:
  __device__ static int32_t lane() { return threadIdx.x % 32; }

  // f32, 32 columns at a time. What they are added to is read three slabs ahead, and more as registers become free.
  // Rows and ldy are multiples of four.
  template <bool kAdd>
  __device__ __forceinline__ void write_sums(const float (&d)[kSums]) const {
    constexpr int kSlabs = kRows / 32, kAhead = 3;
    const int32_t col = row_ + lane() % 8 * 4, rows = task_.rows - col, tokens = tokens_ - lane() / 8;
    float* y[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = static_cast<float*>(task_.y) + (token_ + lane() / 8 + 4 * i) * task_.ldy + col;
    float* const staging = reinterpret_cast<float*>(staging_);
    float* const put = staging + lane() / 4 * kPitch + lane() % 4 * 2;
    const float* const get = staging + lane() / 8 * kPitch + lane() % 8 * 4;
    float4 old[kSlabs][4];
    const auto read = [&](int slab) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        old[slab][i] = {};
        if (4 * i < tokens && 32 * slab < rows) old[slab][i] = *reinterpret_cast<const float4*>(y[i] + 32 * slab);
      }
    };
    if constexpr (kAdd) {
#pragma unroll
      for (int slab = 0; slab < kAhead; ++slab) read(slab);
    }
#pragma unroll
    for (int slab = 0; slab < kSlabs; ++slab) {
      __syncwarp();  // the last slab has been read
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float* sums = d + 16 * slab + 4 * n;
        *reinterpret_cast<float2*>(put + 8 * n) = make_float2(sums[0], sums[1]);
        *reinterpret_cast<float2*>(put + 8 * kPitch + 8 * n) = make_float2(sums[2], sums[3]);
      }
      __syncwarp();
      if constexpr (kAdd) {
#pragma unroll
        for (int next = kAhead + 2 * slab; next < kAhead + 2 * slab + 2; ++next)
          if (next < kSlabs) read(next);
      }
      const float4 scale = *reinterpret_cast<const float4*>(scales_ + lane() % 8 * 4 + 32 * slab);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float4 v = *reinterpret_cast<const float4*>(get + 4 * i * kPitch);
        float4 sum = {__fmul_rn(v.x, scale.x), __fmul_rn(v.y, scale.y), __fmul_rn(v.z, scale.z),
                      __fmul_rn(v.w, scale.w)};
        if constexpr (kAdd) {
          const float4 x = old[slab][i];
          sum = {__fadd_rn(x.x, sum.x), __fadd_rn(x.y, sum.y), __fadd_rn(x.z, sum.z), __fadd_rn(x.w, sum.w)};
        }
        if (4 * i < tokens && 32 * slab < rows) *reinterpret_cast<float4*>(y[i] + 32 * slab) = sum;
      }
    }
  }

  // silu(gate) * up as bf16, of a token and the one eight further; columns beyond the weight's are zeros. And the same
  // in e4m3, where that is wanted: the columns of a tile of 256 weight rows are one block of 128 with one scale.
  __device__ __forceinline__ void write_activations(const float (&d)[kSums], const Fp8Rows& rounded) const {
    constexpr int kBlocks = kRows / 16;
    uint32_t near[kBlocks], far[kBlocks];
#pragma unroll
    for (int n = 0; n < kBlocks; ++n) {
      const float *gate = d + 8 * n, *up = gate + 4;
      const float2 of_gate = *reinterpret_cast<const float2*>(scales_ + lane() % 4 * 2 + 16 * n);
      const float2 of_up = *reinterpret_cast<const float2*>(scales_ + lane() % 4 * 2 + 16 * n + 8);
      near[n] = pack_bf16(silu_times(__fmul_rn(gate[0], of_gate.x), __fmul_rn(up[0], of_up.x)),
                          silu_times(__fmul_rn(gate[1], of_gate.y), __fmul_rn(up[1], of_up.y)));
      far[n] = pack_bf16(silu_times(__fmul_rn(gate[2], of_gate.x), __fmul_rn(up[2], of_up.x)),
                         silu_times(__fmul_rn(gate[3], of_gate.y), __fmul_rn(up[3], of_up.y)));
      if (row_ + 16 * n >= task_.rows) near[n] = far[n] = 0;
    }
    const int32_t col = row_ / 2;
    char* const put = staging_ + lane() / 4 * kBytePitch + lane() % 4 * 4;
#pragma unroll
    for (int slab = 0; slab < kBlocks / 8; ++slab) {
      __syncwarp();
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        *reinterpret_cast<uint32_t*>(put + 16 * n) = near[8 * slab + n];
        *reinterpret_cast<uint32_t*>(put + 8 * kBytePitch + 16 * n) = far[8 * slab + n];
      }
      __syncwarp();
      if (const int32_t c = col + 64 * slab; c < task_.ldy)
        write_lines(static_cast<char*>(task_.y) + (token_ * task_.ldy + c) * 2, task_.ldy * 2);
    }
    if constexpr (kRows == 256) {
      if (rounded.data != nullptr && col < rounded.padded_cols) write_rounded(near, far, rounded, col);
    }
  }

  __device__ __forceinline__ void write_rounded(const uint32_t (&near)[16], const uint32_t (&far)[16],
                                                const Fp8Rows& rounded, int32_t col) const {
    const Fp8Scale near_scale = scale_of_pairs(near), far_scale = scale_of_pairs(far);
    if (lane() % 4 == 0) {
      float* const to = rounded.scales + col / kFp8AtomCols * rounded.scale_stride + token_ + lane() / 4;
      if (lane() / 4 < tokens_) to[0] = near_scale.scale;
      if (lane() / 4 + 8 < tokens_) to[8] = far_scale.scale;
    }
    char* const put = staging_ + lane() / 4 * kBytePitch + lane() % 4 * 2;
    __syncwarp();
#pragma unroll
    for (int n = 0; n < 16; ++n) {
      *reinterpret_cast<uint16_t*>(put + 8 * n) = round_pair(near[n], near_scale.inverse);
      *reinterpret_cast<uint16_t*>(put + 8 * kBytePitch + 8 * n) = round_pair(far[n], far_scale.inverse);
    }
    __syncwarp();
    write_lines(static_cast<char*>(rounded.data) + token_ * rounded.padded_cols + col, rounded.padded_cols);
  }

  // 128 bytes of each token, from the staging.
  __device__ __forceinline__ void write_lines(char* to, int64_t stride) const {
    const char* const get = staging_ + lane() / 8 * kBytePitch + lane() % 8 * 16;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (const int32_t t = lane() / 8 + 4 * i; t < tokens_)
        *reinterpret_cast<uint4*>(to + t * stride + lane() % 8 * 16) =
            *reinterpret_cast<const uint4*>(get + 4 * i * kBytePitch);
  }

  const GemmTask& task_;
  const float* scales_;
  char* staging_;
  int32_t row_;
  int64_t token_;
  int32_t tokens_;
};

}  // namespace qwill::cuda
