// Brings mapped weights into memory before they are needed, at the speed of the disk rather than fault by fault.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "weights/tensor_file.h"

namespace qwill {

// Reads ahead and maps the files' pages, on num_threads threads, but for those of `rare`, a part of one of them (or
// nothing): they come when they are used. progress is called from the calling thread. Does
// nothing if the files do not fit the memory that is available: pages then come and go as they are used. Stops early
// when *cancel becomes true (cancel may be null).
void warm_up(std::span<const TensorFile> files, std::span<const std::byte> rare, int num_threads,
             const std::function<void(int64_t done, int64_t total)>& progress, const std::atomic<bool>* cancel);

}  // namespace qwill
