#include "server/line_reader.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace qwill {

bool LineReader::read_more() {
  constexpr size_t kChunk = size_t{1} << 18;
  const size_t had = buffer_.size();
  buffer_.resize(had + kChunk);
  ssize_t count = 0;
  do count = ::pread(file_->descriptor(), buffer_.data() + had, kChunk, read_bytes_);
  while (count < 0 && errno == EINTR);
  if (count < 0) fail(ErrorKind::io, "{}: {}", file_->path(), std::strerror(errno));
  buffer_.resize(had + static_cast<size_t>(count));
  read_bytes_ += count;
  return count > 0;
}

bool LineReader::next() {
  const size_t passed = size_ + (number_ > 0 && ended_ ? 1 : 0);
  begin_ += passed;
  offset_ += static_cast<int64_t>(passed);
  size_t end = buffer_.find('\n', begin_);
  if (end == std::string::npos) {
    buffer_.erase(0, begin_);
    begin_ = 0;
    while (end == std::string::npos) {
      const size_t searched = buffer_.size();
      if (!read_more()) break;
      end = buffer_.find('\n', searched);
    }
  }
  ended_ = end != std::string::npos;
  size_ = (ended_ ? end : buffer_.size()) - begin_;
  if (!ended_ && size_ == 0) return false;
  ++number_;
  return true;
}

}  // namespace qwill
