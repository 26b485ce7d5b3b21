// The table of a target whose every kernel is written over one vector type and one dot policy.
#pragma once

#include "cpu/kernels/attend.h"
#include "cpu/kernels/linear.h"
#include "cpu/kernels/linear_panels.h"
#include "cpu/kernels/quantize.h"
#include "cpu/kernels/read.h"
#include "cpu/kernels/vector_math.h"

namespace qwill::cpu {
namespace {  // each target compiles its own copy with its own flags; the linker may not merge them

template <typename S, typename D>
constexpr Kernels vector_kernels(const char* name) {
  return {name,
          f32_linear<S, float>(),
          f32_linear<S, f16>(),
          f32_linear<S, bf16>(),
          rounded_linear<S>(),
          {},
          panel_linears<D>(),
          quantize_int8<S>,
          quantize_int6<S>,
          quantize_int4<S>,
          rms_norm<S>,
          silu_mul<S>,
          add_scaled<S>,
          store_kv<S>,
          attend<S>,
          merge_groups<S>,
          read_all<S>};
}

}  // namespace
}  // namespace qwill::cpu
