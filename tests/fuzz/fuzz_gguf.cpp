// Any bytes as a GGUF file: refused with one line, or tensors that lie inside the bytes, and from its metadata a
// configuration, a tokenizer and a template, each sound or refused with one line.
#include <cstdint>
#include <span>
#include <vector>

#include "base/error.h"
#include "llm/gguf_text.h"
#include "weights/gguf_config.h"
#include "weights/gguf_tensors.h"

namespace {

using namespace qwill;

template <typename F>
void try_to(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "a message is one line");
  }
}

void check_tensors(const TensorFile& file, size_t size, unsigned& sum) {
  size_t total = 0;
  for (const auto& [name, tensor] : file.tensors()) {
    size_t values = 1;
    for (const int64_t extent : tensor.shape) values *= static_cast<size_t>(extent);
    const BlockShape block = block_shape(tensor.format);
    const size_t bytes = tensor.format == BlockFormat::none
                             ? values * static_cast<size_t>(dtype_bytes(tensor.dtype))
                             : values / static_cast<size_t>(block.cols) * static_cast<size_t>(block.bytes);
    CHECK(tensor.bytes.size() == bytes, "a tensor has the bytes of its shape");
    for (const std::byte b : tensor.bytes) sum += static_cast<unsigned>(b);
    total += bytes;
  }
  CHECK(total <= size, "tensors do not overlap");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  unsigned sum = 0;
  try_to([&] {
    std::vector<GgufFile> shards;
    shards.push_back(GgufFile::parse(MappedFile::view(std::as_bytes(std::span(data, size)), "fuzz.gguf")));
    check_tensors(shards[0], size, sum);
    try_to([&] { read_gguf_generation_config(shards[0]); });
    for (const bool with_tools : {false, true}) try_to([&] { read_gguf_chat_template(shards[0], with_tools); });
    try_to([&] {
      const std::string text = "abc aab <s>  <n>\u00e9 \u4e16\n";  // in normal form C
      const auto tokenizer = read_gguf_tokenizer(shards[0]);
      if (!tokenizer) return;
      CHECK(tokenizer->decode(tokenizer->encode(text, Tokenizer::Special::as_text)) == text, "a text comes back");
    });
    const ModelConfig config = read_gguf_config(shards);
    if (config.num_layers * (config.moe ? config.moe->num_experts : 1) > 1000) return;  // takes long
    for (const TensorFile& file : with_hub_names(std::move(shards), config)) check_tensors(file, size, sum);
  });
  return sum == 1 ? 1 : 0;  // uses the sum, so that the bytes are read
}
