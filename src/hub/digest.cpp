#include "hub/digest.h"

// The low-level functions, which libcrypto 3 calls deprecated: 45 KB of code, where its EVP interface brings 4 MB.
#define OPENSSL_SUPPRESS_DEPRECATED
#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"

namespace qwill {
namespace {

constexpr size_t kBufferBytes = size_t{1} << 20;

struct Sha256 {
  SHA256_CTX context;
  unsigned char digest[SHA256_DIGEST_LENGTH];
  Sha256() { SHA256_Init(&context); }
  void update(const void* data, size_t size) { SHA256_Update(&context, data, size); }
  void finish() { SHA256_Final(digest, &context); }
};

struct Sha1 {
  SHA_CTX context;
  unsigned char digest[SHA_DIGEST_LENGTH];
  Sha1() { SHA1_Init(&context); }
  void update(const void* data, size_t size) { SHA1_Update(&context, data, size); }
  void finish() { SHA1_Final(digest, &context); }
};

// Feeds the file to the hash; its digits, or nothing when told to stop.
template <typename Hash>
std::string digits_of_file(Hash hash, int descriptor, int64_t size, const std::string& path,
                           const std::atomic<bool>& stop) {
  const auto buffer = std::make_unique<char[]>(kBufferBytes);
  for (int64_t at = 0; at < size;) {
    if (stop) return {};
    const auto wanted = static_cast<size_t>(std::min<int64_t>(size - at, kBufferBytes));
    const ssize_t count = ::pread(descriptor, buffer.get(), wanted, at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) fail(ErrorKind::io, "{}: {}", path, count < 0 ? std::strerror(errno) : "became shorter");
    hash.update(buffer.get(), static_cast<size_t>(count));
    at += count;
  }
  hash.finish();
  std::string digits;
  for (const unsigned char byte : hash.digest) digits += fmt::format("{:02x}", byte);
  return digits;
}

}  // namespace

std::string digest_like(const std::string& etag, int descriptor, int64_t size, const std::string& path,
                        const std::atomic<bool>& stop) {
  if (etag.size() == 2 * SHA256_DIGEST_LENGTH) return digits_of_file(Sha256(), descriptor, size, path, stop);
  Sha1 git;
  const std::string header = fmt::format("blob {}", size);
  git.update(header.c_str(), header.size() + 1);
  return digits_of_file(git, descriptor, size, path, stop);
}

}  // namespace qwill
