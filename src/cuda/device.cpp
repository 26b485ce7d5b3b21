#include "cuda/device.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace qwill {

bool cuda_built() { return true; }

namespace {

constexpr int kMinDriver = CUDART_VERSION / 1000 * 1000;  // any of the runtime's major version serves

// Cards that exist; throws with the reason where there are none.
int count_devices() {
  int driver = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    fail_unsupported("no NVIDIA driver was found: install one, or use --device cpu");
  if (driver < kMinDriver)
    fail_unsupported(
        "the NVIDIA driver is for CUDA {}.{}, and this build needs {}.{}: update the driver, or use --device cpu",
        driver / 1000, driver % 1000 / 10, kMinDriver / 1000, kMinDriver % 1000 / 10);
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0)
    fail_unsupported("no CUDA card was found ({}): use --device cpu",
                     error == cudaSuccess ? "none is there" : cudaGetErrorString(error));
  return count;
}

cudaDeviceProp properties(int index) {
  const int count = count_devices();
  if (index >= count)
    fail_unsupported("cuda:{} does not exist: there {} {} card{}", index, count == 1 ? "is" : "are", count,
                     count == 1 ? "" : "s");
  cudaDeviceProp prop;
  cuda::check(cudaGetDeviceProperties(&prop, index), "read the card's properties");
  if (prop.major < 8)
    fail_unsupported("cuda:{} ({}) has compute capability {}.{}, and 8.0 is needed: use --device cpu", index, prop.name,
                     prop.major, prop.minor);
  return prop;
}

}  // namespace

bool cuda_available() {
  try {
    return count_devices() > 0;
  } catch (const Error&) {
    return false;
  }
}

int64_t cuda_free_bytes(const CudaOptions& options) {
  properties(options.device);
  size_t free_bytes = 0, total_bytes = 0;
  cuda::check(cudaSetDevice(options.device), "select the card");
  cuda::check(cudaMemGetInfo(&free_bytes, &total_bytes), "read the card's memory");
  return static_cast<int64_t>(free_bytes);
}

std::string cuda_device_name(const CudaOptions& options) {
  const cudaDeviceProp prop = properties(options.device);
  return fmt::format("cuda:{} ({}, {})", options.device, prop.name,
                     prop.major == 9 && !options.portable ? "hopper" : "portable");
}

namespace cuda {

void check(cudaError_t error, std::string_view what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // not to be told again by the next call
  fail(ErrorKind::device, "cuda: {}: {}", what, cudaGetErrorString(error));
}

Device::Device(const CudaOptions& options) : index(options.device) {
  const cudaDeviceProp prop = properties(index);
  num_sms = prop.multiProcessorCount;
  hopper = prop.major == 9 && !options.portable;
  make_current();
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream");
}

Device::~Device() {
  if (cudaSetDevice(index) == cudaSuccess) cudaStreamDestroy(stream);
}

namespace {

std::atomic<int64_t> allocations{0};

void* allocate_device(int64_t bytes, std::string_view what) {
  ++allocations;
  void* data = nullptr;
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    size_t free_bytes = 0, total_bytes = 0;
    cudaMemGetInfo(&free_bytes, &total_bytes);
    fail(
        ErrorKind::device,
        "cuda: out of memory: {} needs {:.2f} GB, and {:.2f} GB of {:.2f} are free: choose a smaller model, --dtype or "
        "--max-seq-len",
        what, static_cast<double>(bytes) / 1e9, static_cast<double>(free_bytes) / 1e9,
        static_cast<double>(total_bytes) / 1e9);
  }
  check(error, what);
  return data;
}

constexpr int64_t kAlignment = 256;
constexpr int64_t kFirstBlock = int64_t{16} << 20, kLargestBlock = int64_t{512} << 20;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Arena::~Arena() {
  for (void* block : blocks_) cudaFree(block);
}

void Arena::reserve(int64_t bytes) {
  blocks_.push_back(allocate_device(bytes, "the model's weights"));
  next_ = static_cast<char*>(blocks_.back());
  left_ = bytes;
}

void* Arena::allocate(int64_t bytes) {
  bytes = aligned(bytes);
  if (bytes > left_) {
    // Blocks grow with what is in use; a large piece gets one of its own.
    const int64_t usual = std::clamp(used_bytes_ / 4, kFirstBlock, kLargestBlock);
    if (bytes > usual / 4) {
      blocks_.push_back(allocate_device(bytes, "a weight"));
      used_bytes_ += bytes;
      return blocks_.back();
    }
    blocks_.push_back(allocate_device(usual, "weights"));
    next_ = static_cast<char*>(blocks_.back());
    left_ = usual;
  }
  void* data = next_;
  next_ += bytes;
  left_ -= bytes;
  used_bytes_ += bytes;
  return data;
}

void* DeviceMemory::allocate(int64_t bytes) {
  void* data = allocate_device(bytes, "a step");
  check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "clear memory");
  check(cudaDeviceSynchronize(), "wait for the card");
  return data;
}
void DeviceMemory::release(void* data) { cudaFree(data); }

void* PinnedMemory::allocate(int64_t bytes) {
  void* data = nullptr;
  check(cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault), "allocate pinned memory");
  return data;
}
void PinnedMemory::release(void* data) { cudaFreeHost(data); }

}  // namespace cuda

int64_t cuda_device_allocations() { return cuda::allocations; }

}  // namespace qwill
