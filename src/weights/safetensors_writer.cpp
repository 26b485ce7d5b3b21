#include "weights/safetensors_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "weights/safetensors.h"

namespace qwill {
namespace {

// With its length in front, padded with spaces so that `alignment` divides its size.
std::string header_bytes(std::span<const TensorHeader> tensors, const SafetensorsWriter::Metadata& metadata,
                         int64_t alignment) {
  std::vector<Json::Member> members;
  if (!metadata.empty()) {
    Json strings = Json::object();
    for (const auto& [key, value] : metadata) strings.set(key, value);
    members.emplace_back("__metadata__", std::move(strings));
  }
  int64_t offset = 0;
  for (const TensorHeader& tensor : tensors) {
    Json shape = Json::array();
    for (const int64_t size : tensor.shape) shape.push_back(size);
    Json entry = Json::object();
    entry.set("dtype", safetensors_dtype_name(tensor.dtype)).set("shape", std::move(shape));
    entry.set("data_offsets", Json::array({offset, offset + tensor.bytes()}));
    members.emplace_back(tensor.name, std::move(entry));
    offset += tensor.bytes();
  }
  std::string text = Json::object(std::move(members)).dump();
  const auto step = static_cast<size_t>(alignment);
  text.resize((8 + text.size() + step - 1) / step * step - 8, ' ');
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

}  // namespace

int64_t TensorHeader::bytes() const {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements * dtype_bytes(dtype);
}

SafetensorsWriter::SafetensorsWriter(std::string path, std::span<const TensorHeader> tensors, const Metadata& metadata,
                                     int64_t alignment)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) fail(ErrorKind::io, "{}: cannot write: {}", path_, std::strerror(errno));
  const std::string header = header_bytes(tensors, metadata, alignment);
  missing_ = static_cast<int64_t>(header.size());
  for (const TensorHeader& tensor : tensors) missing_ += tensor.bytes();
  write(std::as_bytes(std::span(header)));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  missing_ -= static_cast<int64_t>(bytes.size());
  CHECK(missing_ >= 0, "no more is written than the header says");
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(ErrorKind::io, "{}: cannot write: {}", path_, std::strerror(errno));
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
}

void SafetensorsWriter::finish() {
  CHECK(missing_ == 0, "all that the header says has been written");
  if (::close(std::exchange(descriptor_, -1)) != 0)
    fail(ErrorKind::io, "{}: cannot write: {}", path_, std::strerror(errno));
}

void write_safetensors(const std::string& path, std::span<const TensorToStore> tensors,
                       const SafetensorsWriter::Metadata& metadata) {
  std::vector<TensorHeader> headers;
  for (const TensorToStore& tensor : tensors) {
    headers.push_back({tensor.name, tensor.dtype, tensor.shape});
    CHECK(headers.back().bytes() == static_cast<int64_t>(tensor.bytes.size()),
          "a tensor to store has the bytes of its shape");
  }
  SafetensorsWriter writer(path, headers, metadata, 8);
  for (const TensorToStore& tensor : tensors) writer.write(tensor.bytes);
  writer.finish();
}

}  // namespace qwill
