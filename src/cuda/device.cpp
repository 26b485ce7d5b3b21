#include "cuda/device.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace qwill {

bool cuda_built() { return true; }

namespace {

constexpr int kMinDriver = CUDART_VERSION / 1000 * 1000;  // any of the runtime's major version serves

// 0: there is none.
int driver_version() {
  int driver = 0;
  return cudaDriverGetVersion(&driver) == cudaSuccess ? driver : 0;
}

[[noreturn]] void fail_to_start(cudaError_t error) {
  switch (error) {
    case cudaErrorNoDevice:
      fail_unsupported("no CUDA card was found, or CUDA_VISIBLE_DEVICES hides it: use --device cpu");
    case cudaErrorSystemDriverMismatch:
      fail_unsupported(
          "the NVIDIA driver was updated while it was loaded ({}): restart the machine, or use --device cpu",
          cudaGetErrorString(error));
    default:
      fail_unsupported("the NVIDIA driver does not start ({}): see what nvidia-smi says, or use --device cpu",
                       cudaGetErrorString(error));
  }
}

// Cards that exist; throws with the reason where there are none.
int count_devices() {
  const int driver = driver_version();
  if (driver == 0) fail_unsupported("no NVIDIA driver was found: install one, or use --device cpu");
  if (driver < kMinDriver)
    fail_unsupported(
        "the NVIDIA driver is for CUDA {}.{}, and this build needs {}.{}: update the driver, or use --device cpu",
        driver / 1000, driver % 1000 / 10, kMinDriver / 1000, kMinDriver % 1000 / 10);
  int count = 0;
  if (const cudaError_t error = cudaGetDeviceCount(&count); error != cudaSuccess || count == 0)
    fail_to_start(error == cudaSuccess ? cudaErrorNoDevice : error);
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

// The card becomes this thread's; the first time in a process it is asked for a context, which it may refuse.
void open_card(int index) {
  properties(index);
  const cudaError_t error = cudaSetDevice(index);
  if (error == cudaSuccess) return;
  cudaGetLastError();
  if (error == cudaErrorDevicesUnavailable)
    fail(ErrorKind::device,
         "cuda:{} is busy: another process has it for itself, or its compute mode lets none in (nvidia-smi tells "
         "which): "
         "wait for it, or use --device cpu",
         index);
  if (error == cudaErrorMemoryAllocation)
    fail(ErrorKind::device,
         "cuda:{} is full: not even a context fits beside what other processes hold (nvidia-smi lists them): wait for "
         "them, or use --device cpu",
         index);
  fail(ErrorKind::device, "cuda:{} cannot be used ({}): see what nvidia-smi says, or use --device cpu", index,
       cudaGetErrorString(error));
}

}  // namespace

std::string cuda_trouble() {
  if (driver_version() == 0) return "";
  try {
    open_card(0);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

bool cuda_exists() {
  int count = 0;
  const bool found = driver_version() > 0 && cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
  cudaGetLastError();  // not to be told again by the next call
  return found;
}

bool cuda_available() { return driver_version() > 0 && cuda_trouble().empty(); }

int64_t cuda_free_bytes(const CudaOptions& options) {
  open_card(options.device);
  size_t free_bytes = 0, total_bytes = 0;
  cuda::check(cudaMemGetInfo(&free_bytes, &total_bytes), "read the card's memory");
  return static_cast<int64_t>(free_bytes);
}

CudaCard cuda_card(const CudaOptions& options) {
  const cudaDeviceProp prop = properties(options.device);
  return {.num_sms = prop.multiProcessorCount, .hopper = prop.major == 9 && !options.portable};
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

Device::Device(const CudaOptions& options) : memory(options.dry.has_value()), index(options.device) {
  const CudaCard card = options.dry ? *options.dry : cuda_card(options);
  num_sms = card.num_sms;
  hopper = card.hopper;
  if (dry()) return;
  open_card(index);
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "create a stream");
}

Device::~Device() {
  if (!dry() && cudaSetDevice(index) == cudaSuccess) cudaStreamDestroy(stream);
}

namespace {

std::atomic<int64_t> allocations{0}, held_bytes{0};

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
  held_bytes += bytes;
  return data;
}

void release_device(void* data, int64_t bytes) {
  cudaFree(data);
  held_bytes -= bytes;
}

constexpr int64_t kAlignment = 256;
constexpr int64_t kFirstBlock = int64_t{16} << 20, kLargestBlock = int64_t{512} << 20;

int64_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

Arena::~Arena() {
  if (purpose_.dry()) return;
  for (const Block& block : blocks_) release_device(block.data, block.bytes);
}

void* Arena::add_block(int64_t bytes) {
  blocks_.push_back({purpose_.dry() ? MemoryLedger::nowhere() : allocate_device(bytes, purpose_.name), bytes});
  purpose_.add(bytes);
  return blocks_.back().data;
}

void Arena::reserve(int64_t bytes) {
  next_ = static_cast<char*>(add_block(bytes));
  left_ = bytes;
}

void* Arena::allocate(int64_t bytes) {
  bytes = aligned(bytes);
  if (bytes > left_) {
    // Blocks grow with what is in use; a large piece gets one of its own.
    const int64_t usual = std::clamp(used_bytes_ / 4, kFirstBlock, kLargestBlock);
    if (bytes > usual / 4) {
      used_bytes_ += bytes;
      return add_block(bytes);
    }
    reserve(usual);
  }
  void* data = next_;
  next_ += bytes;
  left_ -= bytes;
  used_bytes_ += bytes;
  return data;
}

void* DeviceMemory::allocate(int64_t bytes, std::string_view purpose) {
  void* data = allocate_device(bytes, purpose);
  check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "clear memory");
  check(cudaDeviceSynchronize(), "wait for the card");
  return data;
}
void DeviceMemory::release(void* data, int64_t bytes) { release_device(data, bytes); }

void* PinnedMemory::allocate(int64_t bytes, std::string_view purpose) {
  void* data = nullptr;
  check(cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault),
        fmt::format("allocate pinned memory for {}", purpose));
  return data;
}
void PinnedMemory::release(void* data, int64_t) { cudaFreeHost(data); }

}  // namespace cuda

int64_t cuda_device_allocations() { return cuda::allocations; }
int64_t cuda_device_bytes() { return cuda::held_bytes; }

}  // namespace qwill
