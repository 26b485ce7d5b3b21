// Marks of functions that kernels may call as well as the host.
#pragma once

#ifdef __CUDACC__
#define QWILL_HOST_DEVICE __host__ __device__
#else
#define QWILL_HOST_DEVICE
#endif

// Before a loop: a kernel's is unrolled, so that arrays stay in registers.
#ifdef __CUDA_ARCH__
#define QWILL_UNROLL _Pragma("unroll")
#else
#define QWILL_UNROLL
#endif
