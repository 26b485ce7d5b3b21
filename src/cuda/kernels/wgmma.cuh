// Warpgroup matrix products of Hopper ("wgmma"): four consecutive warps multiply a [64, 16] by b [16, N], both bf16 in
// shared memory, into f32 registers. For any N an element of d has the same bits, and the same as from mma.sync
// m16n8k16 (measured on an H100, and kept true by a test).
#pragma once

#include <cstdint>

namespace qwill::cuda {

// Matrix descriptor of rows of 64 bf16 along K in atoms (cuda/layout.h): K-major, 128-byte swizzle, 1024 bytes from one
// eight rows to the next. Sixteen columns further along K is kDescriptorK16 more.
constexpr uint64_t kDescriptorK16 = 32 >> 4;
constexpr uint64_t kDescriptorK32Fp8 = 32 >> 4;  // of e4m3 thirty-two columns
constexpr uint64_t descriptor_step(uint32_t bytes) { return bytes >> 4; }
// The same atoms also serve as an operand whose rows run along K, in blocks of 64 columns that are column_block bytes
// apart; otherwise that is not used.
__device__ __forceinline__ uint64_t atom_descriptor(uint32_t address, uint32_t column_block = 16) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62, kStride = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kStride | (descriptor_step(column_block) << 16) | ((address & 0x3FFFF) >> 4);
}

// Of at most 8 rows without swizzle, which lie as [16 bytes of columns][num_rows][16 bytes]: the 8 rows of an operand
// are these and whatever follows, and more rows are the same again. Thirty-two bytes of columns further is
// descriptor_step(32 * num_rows) more.
__device__ __forceinline__ uint64_t rows_descriptor(uint32_t address, uint32_t num_rows) {
  return (uint64_t{num_rows} << 16) | ((address & 0x3FFFF) >> 4);
}

// Before the first product, and whenever ordinary code has touched the registers of d.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
// The same; d, the result of what has been waited for, is not read before.
template <int kPending, int kRegisters>
__device__ __forceinline__ void wgmma_wait(float (&d)[kRegisters]) {
  wgmma_wait<kPending>();
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

// Registers of a thread from here on, by a whole warpgroup ("setmaxnreg").
template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// wgmma(d, a, b): d += a b; N = 2 * registers of d. Lane l of warp w holds, for the n-th eight columns of d, in d[4 n]:
// row 16 w + l / 4, column 8 n + 2 (l % 4); in d[4 n + 1] the next column; in d[4 n + 2] and d[4 n + 3] the same of the
// row 8 further: what mma_16x8x16 calls d, n after n.
#define QWILL_NAMES_4 "%0, %1, %2, %3"
#define QWILL_NAMES_8 QWILL_NAMES_4 ", %4, %5, %6, %7"
#define QWILL_NAMES_16 \
  QWILL_NAMES_8        \
  ", %8, %9, %10, %11, %12, %13, %14, %15"
#define QWILL_NAMES_32 \
  QWILL_NAMES_16       \
  ", %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define QWILL_NAMES_64                                                                                \
  QWILL_NAMES_32                                                                                      \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, " \
  "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define QWILL_NAMES_128                                                                               \
  QWILL_NAMES_64                                                                                      \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, " \
  "%83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, " \
  "%102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, "  \
  "%118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define QWILL_SUMS_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define QWILL_SUMS_8(i) QWILL_SUMS_4(i), QWILL_SUMS_4(i + 4)
#define QWILL_SUMS_16(i) QWILL_SUMS_8(i), QWILL_SUMS_8(i + 8)
#define QWILL_SUMS_32(i) QWILL_SUMS_16(i), QWILL_SUMS_16(i + 16)
#define QWILL_SUMS_64(i) QWILL_SUMS_32(i), QWILL_SUMS_32(i + 32)
#define QWILL_SUMS_128(i) QWILL_SUMS_64(i), QWILL_SUMS_64(i + 64)
// The trailing 1, 1, 1: add to d, neither operand negated; 0, 0: both along K.
#define QWILL_WGMMA(columns, registers, a_name, b_name)                                                     \
  __device__ __forceinline__ void wgmma(float(&d)[registers], uint64_t a, uint64_t b) {                     \
    asm volatile("wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" QWILL_NAMES_##registers \
                 "}, " a_name ", " b_name ", 1, 1, 1, 0, 0;"                                                \
                 : QWILL_SUMS_##registers(0)                                                                \
                 : "l"(a), "l"(b));                                                                         \
  }
QWILL_WGMMA(8, 4, "%4", "%5")
QWILL_WGMMA(16, 8, "%8", "%9")
QWILL_WGMMA(32, 16, "%16", "%17")
QWILL_WGMMA(64, 32, "%32", "%33")
QWILL_WGMMA(128, 64, "%64", "%65")
QWILL_WGMMA(256, 128, "%128", "%129")
#undef QWILL_WGMMA

// The same, but d starts anew unless `add`.
__device__ __forceinline__ void wgmma(float (&d)[64], uint64_t a, uint64_t b, bool add) {
  asm volatile(
      "{\n.reg .pred add;\nsetp.ne.b32 add, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" QWILL_NAMES_64 "}, %64, %65, add, 1, 1, 0, 0;\n}\n"
      : QWILL_SUMS_64(0)
      : "l"(a), "l"(b), "r"(static_cast<int>(add)));
}
// With a in registers, as mma_16x8x16 takes it, and b's rows along K: [16, N].
#define QWILL_WGMMA(columns, registers, a_names, b_name, add_name)                                          \
  __device__ __forceinline__ void wgmma(float(&d)[registers], const uint32_t* a, uint64_t b, bool add) {    \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add_name                                           \
                 ", 0;\n"                                                                                   \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32.bf16.bf16 {" QWILL_NAMES_##registers \
                 "}, {" a_names "}, " b_name ", add, 1, 1, 1;\n}\n"                                         \
                 : QWILL_SUMS_##registers(0)                                                                \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)));         \
  }
QWILL_WGMMA(64, 32, "%32, %33, %34, %35", "%36", "%37")
QWILL_WGMMA(128, 64, "%64, %65, %66, %67", "%68", "%69")
#undef QWILL_WGMMA

// The same of e4m3: a [64, 32], b [32, N], both along K, 128 columns in an atom; d starts anew unless `add`. For any N
// an element of d has the same bits, for one number of products from one start to the next (measured on an H100).
#define QWILL_WGMMA(columns, registers, a_name, b_name, add_name)                                           \
  __device__ __forceinline__ void wgmma_fp8(float(&d)[registers], uint64_t a, uint64_t b, bool add) {       \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, " add_name                                           \
                 ", 0;\n"                                                                                   \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k32.f32.e4m3.e4m3 {" QWILL_NAMES_##registers \
                 "}, " a_name ", " b_name ", add, 1, 1;\n}\n"                                               \
                 : QWILL_SUMS_##registers(0)                                                                \
                 : "l"(a), "l"(b), "r"(static_cast<int>(add)));                                             \
  }
QWILL_WGMMA(8, 4, "%4", "%5", "%6")
QWILL_WGMMA(16, 8, "%8", "%9", "%10")
QWILL_WGMMA(32, 16, "%16", "%17", "%18")
QWILL_WGMMA(64, 32, "%32", "%33", "%34")
QWILL_WGMMA(128, 64, "%64", "%65", "%66")
#undef QWILL_WGMMA
#undef QWILL_SUMS_128
#undef QWILL_SUMS_64
#undef QWILL_SUMS_32
#undef QWILL_SUMS_16
#undef QWILL_SUMS_8
#undef QWILL_SUMS_4
#undef QWILL_NAMES_128
#undef QWILL_NAMES_64
#undef QWILL_NAMES_32
#undef QWILL_NAMES_16
#undef QWILL_NAMES_8
#undef QWILL_NAMES_4

}  // namespace qwill::cuda
