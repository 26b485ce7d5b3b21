#include "cpu/weight_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <mutex>
#include <utility>

#include "base/error.h"

namespace qwill::cpu {
namespace {

constexpr int64_t kHuge = 2 << 20, kRegion = 256 << 20;

constexpr int64_t rounded_up(int64_t bytes, int64_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

// A mapping that several weights share, one behind the other. What none of them takes is never touched.
class WeightMemory::Region {
 public:
  explicit Region(int64_t bytes) : mapped_(rounded_up(bytes, kHuge) + kHuge), left_(mapped_ - kHuge) {
    mapping_ = ::mmap(nullptr, static_cast<size_t>(mapped_), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping_ == MAP_FAILED) fail(ErrorKind::io, "out of memory: {} bytes for weights", bytes);
    next_ = reinterpret_cast<std::byte*>(rounded_up(reinterpret_cast<intptr_t>(mapping_), kHuge));
    ::madvise(next_, static_cast<size_t>(left_), MADV_HUGEPAGE);  // a wish
  }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region() { ::munmap(mapping_, static_cast<size_t>(mapped_)); }

  int64_t left() const { return left_; }
  std::byte* take(int64_t bytes) {
    left_ -= bytes;
    return std::exchange(next_, next_ + bytes);
  }

 private:
  int64_t mapped_, left_;
  void* mapping_;
  std::byte* next_;
};

WeightMemory::WeightMemory(int64_t bytes) {
  if (bytes == 0) return;
  bytes = rounded_up(bytes, ::sysconf(_SC_PAGESIZE));  // whole pages, which can be given back alone
  size_ = bytes;
  if (bytes >= kRegion / 2) {  // it would leave little of a region to others
    region_ = std::make_shared<Region>(bytes);
    data_ = region_->take(bytes);
    return;
  }
  static std::mutex mutex;
  static std::weak_ptr<Region> last;
  const std::lock_guard lock(mutex);
  region_ = last.lock();
  if (!region_ || region_->left() < bytes) last = region_ = std::make_shared<Region>(kRegion);
  data_ = region_->take(bytes);
}

// Nothing takes its place: its pages go back at once, the addresses with the last of those that lie beside it.
WeightMemory::~WeightMemory() {
  if (region_) ::madvise(data_, static_cast<size_t>(size_), MADV_DONTNEED);
}

}  // namespace qwill::cpu
