// Launching a kernel so that it may start while the one before it ends (CUDA programming guide, "programmatic dependent
// launch"): its blocks become resident early and wait in wait_for_previous_kernel.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <utility>

namespace qwill::cuda {

enum class Start : uint8_t {
  early,  // while the kernel before ends
  after,  // when it has ended: where it writes what this one takes for constant
};

// Blocks come in clusters of `cluster` along x.
template <typename... Params, typename... Args>
cudaError_t launch_in_clusters(Start start, void (*kernel)(Params...), unsigned cluster, dim3 grid, dim3 block,
                               size_t shared_bytes, cudaStream_t stream, Args&&... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = start == Start::early;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {cluster, 1, 1};
  config.attrs = attributes;
  config.numAttrs = cluster > 1 ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(std::forward<Args>(args))...);
}

template <typename... Params, typename... Args>
cudaError_t launch_in_clusters(void (*kernel)(Params...), unsigned cluster, dim3 grid, dim3 block, size_t shared_bytes,
                               cudaStream_t stream, Args&&... args) {
  return launch_in_clusters(Start::early, kernel, cluster, grid, block, shared_bytes, stream,
                            std::forward<Args>(args)...);
}

template <typename... Params, typename... Args>
cudaError_t launch(Start start, void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, Args&&... args) {
  return launch_in_clusters(start, kernel, 1, grid, block, shared_bytes, stream, std::forward<Args>(args)...);
}

template <typename... Params, typename... Args>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Args&&... args) {
  return launch_in_clusters(kernel, 1, grid, block, shared_bytes, stream, std::forward<Args>(args)...);
}

// More than 48 KB of shared memory must be asked for, once per kernel and device.
template <typename Kernel>
cudaError_t allow_shared(Kernel kernel, size_t bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}

}  // namespace qwill::cuda
