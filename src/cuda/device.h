// The card: what it is, errors told by name, memory that only grows.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "cuda/cuda_ops.h"

namespace qwill::cuda {

// Throws Error(device): "cuda: linear [512, 4096]: out of memory".
void check(cudaError_t error, std::string_view what);

struct Device {
  // Makes the card current in this thread. Throws Error(unsupported).
  explicit Device(const CudaOptions& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // CUDA's current device belongs to the thread.
  void make_current() const { check(cudaSetDevice(index), "select the card"); }
  void synchronize() const { check(cudaStreamSynchronize(stream), "wait for the card"); }

  int index = 0;
  int num_sms = 0;
  bool hopper = false;  // kernels by wgmma and the copy engine
  cudaStream_t stream = nullptr;
};

// Device memory in large blocks, handed out in order and kept until the end.
class Arena {
 public:
  ~Arena();
  // One block for all that is to come: large pages, few translations of addresses. What exceeds it gets other blocks.
  void reserve(int64_t bytes);
  // 256-byte aligned. Throws Error(device) with what was asked and what is free.
  void* allocate(int64_t bytes);
  int64_t used_bytes() const { return used_bytes_; }

 private:
  std::vector<void*> blocks_;
  char* next_ = nullptr;
  int64_t left_ = 0;
  int64_t used_bytes_ = 0;
};

// Memory of one purpose, whose address changes only when it must grow; growing waits for the card.
template <typename Memory>
class GrowingBuffer {
 public:
  GrowingBuffer() = default;
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;
  ~GrowingBuffer() {
    if (data_) Memory::release(data_);
  }

  // At least `count` elements.
  template <typename T>
  T* get(int64_t count) {
    const int64_t bytes = std::max<int64_t>(count * static_cast<int64_t>(sizeof(T)), 1);
    if (bytes > capacity_) {
      if (data_) {
        check(cudaDeviceSynchronize(), "wait for the card");
        capacity_ = 0;
        Memory::release(std::exchange(data_, nullptr));
      }
      data_ = Memory::allocate(bytes);
      capacity_ = bytes;
    }
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
  int64_t capacity_ = 0;
};

struct DeviceMemory {  // zeroed
  static void* allocate(int64_t bytes);
  static void release(void* data);
};
struct PinnedMemory {  // of the host, locked, so that copies run in the background
  static void* allocate(int64_t bytes);
  static void release(void* data);
};
using DeviceBuffer = GrowingBuffer<DeviceMemory>;
using PinnedBuffer = GrowingBuffer<PinnedMemory>;

}  // namespace qwill::cuda
