// The card: what it is, errors told by name, memory that only grows.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/memory_ledger.h"
#include "cuda/cuda_ops.h"

namespace qwill::cuda {

// Throws Error(device): "cuda: linear [512, 4096]: out of memory".
void check(cudaError_t error, std::string_view what);

struct Device {
  // Makes the card current in this thread, if it is not dry. Throws Error(unsupported).
  explicit Device(const CudaOptions& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // CUDA's current device belongs to the thread.
  void make_current() const {
    if (!dry()) check(cudaSetDevice(index), "select the card");
  }
  void synchronize() const {
    if (!dry()) check(cudaStreamSynchronize(stream), "wait for the card");
  }
  // Whether memory is only counted: nothing may be launched.
  bool dry() const { return memory.dry(); }

  MemoryLedger memory;  // what is held of the card
  int index = 0;
  int num_sms = 0;
  bool hopper = false;  // kernels by wgmma and the copy engine
  cudaStream_t stream = nullptr;
};

// Device memory in large blocks, handed out in order and kept until the end.
class Arena {
 public:
  explicit Arena(const MemoryPurpose& purpose) : purpose_(purpose) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();
  // One block for all that is to come: large pages, few translations of addresses. What exceeds it gets other blocks.
  void reserve(int64_t bytes);
  // 256-byte aligned. Throws Error(device) with what was asked and what is free.
  void* allocate(int64_t bytes);
  int64_t used_bytes() const { return used_bytes_; }

 private:
  void* add_block(int64_t bytes);

  struct Block {
    void* data;
    int64_t bytes;
  };
  MemoryPurpose purpose_;
  std::vector<Block> blocks_;
  char* next_ = nullptr;
  int64_t left_ = 0;
  int64_t used_bytes_ = 0;
};

struct DeviceMemory {  // zeroed
  static constexpr bool kOfCard = true;
  static void* allocate(int64_t bytes, std::string_view purpose);
  static void release(void* data, int64_t bytes);
};
struct PinnedMemory {  // of the host, locked, so that copies run in the background
  static constexpr bool kOfCard = false;
  static void* allocate(int64_t bytes, std::string_view purpose);
  static void release(void* data, int64_t bytes);
};

// Memory of one purpose, whose address changes only when it must grow; growing waits for the card.
template <typename Memory>
class GrowingBuffer {
 public:
  explicit GrowingBuffer(const MemoryPurpose& purpose) : purpose_(purpose) {}
  GrowingBuffer(const GrowingBuffer&) = delete;
  GrowingBuffer& operator=(const GrowingBuffer&) = delete;
  ~GrowingBuffer() { release(); }

  // At least `count` elements.
  template <typename T>
  T* get(int64_t count) {
    const int64_t bytes = std::max<int64_t>(count * static_cast<int64_t>(sizeof(T)), 1);
    if (bytes > capacity_) {
      if (data_ && !purpose_.dry()) check(cudaDeviceSynchronize(), "wait for the card");
      release();
      data_ = purpose_.dry() ? MemoryLedger::nowhere() : Memory::allocate(bytes, purpose_.name);
      capacity_ = bytes;
      note(bytes);
    }
    return static_cast<T*>(data_);
  }

  int64_t capacity() const { return capacity_; }

  void release() {
    if (!data_) return;
    if (!purpose_.dry()) Memory::release(data_, capacity_);
    note(-capacity_);
    data_ = nullptr;
    capacity_ = 0;
  }

 private:
  // All memory of the host is one purpose of its own.
  void note(int64_t bytes) { purpose_.ledger.add(Memory::kOfCard ? purpose_.name : kPinnedPurpose, bytes); }

  MemoryPurpose purpose_;
  void* data_ = nullptr;
  int64_t capacity_ = 0;
};

using DeviceBuffer = GrowingBuffer<DeviceMemory>;
using PinnedBuffer = GrowingBuffer<PinnedMemory>;

}  // namespace qwill::cuda
