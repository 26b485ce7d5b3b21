#include "hub/partial_blob.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "hub/digest.h"

namespace qwill {
namespace {

// Large enough that asking for a piece costs little, small enough that several are under way at once.
constexpr int64_t kLeastPiece = int64_t{1} << 20, kLargestPiece = int64_t{64} << 20;
constexpr int64_t kPieces = 16;

// Stands behind the bytes of the file, before the notes on its pieces.
struct Header {
  char magic[8] = {'q', 'w', 'i', 'l', 'l', 'p', 'b', '1'};
  int64_t size = 0, piece_bytes = 0;
};

std::filesystem::path incomplete_of(std::filesystem::path blob) { return blob += ".qwill.incomplete"; }

int64_t default_piece_bytes(int64_t size) { return std::clamp(size / kPieces, kLeastPiece, kLargestPiece); }

}  // namespace

PartialBlob::PartialBlob(std::filesystem::path blob, std::string hash, int64_t size)
    : blob_(std::move(blob)), incomplete_(incomplete_of(blob_)), hash_(std::move(hash)), size_(size) {
  descriptor_ = ::open(incomplete_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (descriptor_ < 0) fail(ErrorKind::io, "{}: {}", incomplete_.string(), std::strerror(errno));
  try {
    resume();
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

PartialBlob::~PartialBlob() { ::close(descriptor_); }

int64_t PartialBlob::note_at(int64_t piece) const {
  return size_ + static_cast<int64_t>(sizeof(Header)) + piece * static_cast<int64_t>(sizeof(int64_t));
}

// Takes over what an earlier run has left, if it is of the same file; else begins anew.
void PartialBlob::resume() {
  Header header;
  struct stat status{};
  const bool there = ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode) &&
                     ::pread(descriptor_, &header, sizeof header, size_) == sizeof header &&
                     std::memcmp(header.magic, Header().magic, sizeof header.magic) == 0 && header.size == size_ &&
                     header.piece_bytes > 0;
  if (there && (header.piece_bytes == default_piece_bytes(size_) || header.piece_bytes >= size_)) {
    piece_bytes_ = header.piece_bytes;
    done_.assign(static_cast<size_t>((size_ + piece_bytes_ - 1) / piece_bytes_), 0);
    const auto bytes = static_cast<ssize_t>(done_.size() * sizeof(int64_t));
    if (::pread(descriptor_, done_.data(), static_cast<size_t>(bytes), note_at(0)) == bytes) {
      bool sane = true;
      done_bytes_ = 0;
      for (int64_t i = 0; i < num_pieces(); ++i) {
        const int64_t length = std::min(piece_bytes_, size_ - i * piece_bytes_);
        sane = sane && done_[static_cast<size_t>(i)] >= 0 && done_[static_cast<size_t>(i)] <= length;
        done_bytes_ += sane ? done_[static_cast<size_t>(i)] : 0;
      }
      if (sane) return;
    }
  }
  restart(false);
}

void PartialBlob::restart(bool one_piece) {
  piece_bytes_ = one_piece ? std::max<int64_t>(size_, 1) : default_piece_bytes(size_);
  done_.assign(static_cast<size_t>((size_ + piece_bytes_ - 1) / piece_bytes_), 0);
  done_bytes_ = 0;
  if (::ftruncate(descriptor_, 0) != 0 || ::ftruncate(descriptor_, note_at(num_pieces())) != 0)
    fail(ErrorKind::io, "{}: {}", incomplete_.string(), std::strerror(errno));
  Header header;
  header.size = size_;
  header.piece_bytes = piece_bytes_;
  write_at(&header, sizeof header, size_);
}

void PartialBlob::write_at(const void* data, size_t size, int64_t at) {
  const char* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t written = ::pwrite(descriptor_, bytes, size, at);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail(ErrorKind::io, "{}: {}", incomplete_.string(), std::strerror(written < 0 ? errno : ENOSPC));
    bytes += written;
    size -= static_cast<size_t>(written);
    at += written;
  }
}

ByteRange PartialBlob::rest(int64_t piece) const {
  const int64_t begin = piece * piece_bytes_;
  return {begin + done_[static_cast<size_t>(piece)], std::min(begin + piece_bytes_, size_)};
}

void PartialBlob::append(int64_t piece, std::string_view data) {
  int64_t& done = done_[static_cast<size_t>(piece)];
  CHECK(static_cast<int64_t>(data.size()) <= rest(piece).end - rest(piece).begin, "bytes stay inside their piece");
  write_at(data.data(), data.size(), rest(piece).begin);
  done += static_cast<int64_t>(data.size());
  done_bytes_ += static_cast<int64_t>(data.size());
  write_at(&done, sizeof done, note_at(piece));  // after the bytes, so that it never speaks of more than there is
}

bool PartialBlob::check(const std::atomic<bool>& stop) const {
  return digest_like(hash_, descriptor_, size_, incomplete_.string(), stop) == hash_;
}

void PartialBlob::finish() {
  // The notes are cut off and the bytes on disk before the file has its name: who finds it need not check it again.
  if (::ftruncate(descriptor_, size_) != 0 || ::fsync(descriptor_) != 0 ||
      ::rename(incomplete_.c_str(), blob_.c_str()) != 0)
    fail(ErrorKind::io, "{}: {}", blob_.string(), std::strerror(errno));
}

void PartialBlob::discard() { ::unlink(incomplete_.c_str()); }

int64_t PartialBlob::bytes_on_disk(const std::filesystem::path& blob) {
  struct stat status{};
  if (::stat(incomplete_of(blob).c_str(), &status) != 0) return 0;
  return static_cast<int64_t>(status.st_blocks) * 512;  // the unit of st_blocks, whatever a block of the disk is
}

}  // namespace qwill
