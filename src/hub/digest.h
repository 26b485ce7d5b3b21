// Whether a file is what its hash on the hub says.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace qwill {

// The hash of a file's first `size` bytes in the form of `etag`: SHA-256 of the bytes for 64 digits, git's SHA-1 of a
// blob for 40. Stops early, with an empty result, once `stop` is set. Throws Error(io) naming path.
std::string digest_like(const std::string& etag, int descriptor, int64_t size, const std::string& path,
                        const std::atomic<bool>& stop);

}  // namespace qwill
