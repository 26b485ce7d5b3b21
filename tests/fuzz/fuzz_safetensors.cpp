// Any bytes as a safetensors file: refused with one line, or every tensor lies inside the bytes and they tile the data.
#include <cstdint>
#include <span>

#include "base/error.h"
#include "weights/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qwill;
  const auto bytes = std::as_bytes(std::span(data, size));
  try {
    const SafetensorsFile file = SafetensorsFile::parse(MappedFile::view(bytes, "fuzz.safetensors"));
    size_t total = 0;
    unsigned sum = 0;
    for (const auto& [name, tensor] : file.tensors()) {
      size_t expected = static_cast<size_t>(dtype_bytes(tensor.dtype));
      for (const int64_t extent : tensor.shape) expected *= static_cast<size_t>(extent);
      CHECK(tensor.bytes.size() == expected, "a tensor has the bytes of its shape");
      CHECK(file.find(name) == &tensor, "a tensor is found by its name");
      for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);
      total += expected;
    }
    CHECK(total <= size, "tensors do not overlap");
    return sum == 1 ? 1 : 0;  // uses the sum, so that the bytes are read
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "a message is one line");
  }
  return 0;
}
