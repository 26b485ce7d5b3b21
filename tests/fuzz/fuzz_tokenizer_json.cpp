// Tokenizer::from_json on any bytes: an Error of one line, or a tokenizer that gives a text back.
#include <cstdint>

#include "base/error.h"
#include "text/bpe_tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qwill;
  try {
    const Tokenizer tokenizer = Tokenizer::from_json({reinterpret_cast<const char*>(data), size});
    const std::string text = "abc aab <s>  <n>\u00e9 \u4e16\n";  // in normal form C
    CHECK(tokenizer.decode(tokenizer.encode(text, Tokenizer::Special::as_text)) == text, "the text does not come back");
    for (const int32_t id : tokenizer.encode(text, Tokenizer::Special::parse))
      CHECK(id >= 0 && id < tokenizer.size(), "an id that names no token");
    for (const AddedToken& token : tokenizer.added_tokens())
      CHECK(tokenizer.token_id(token.content) == token.id && tokenizer.is_added(token.id), "an added token is lost");
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, "an error of several lines");
  }
  return 0;
}
