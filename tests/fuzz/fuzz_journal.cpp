// Request::from_json on any bytes: an Error of one line that is `invalid`, or a request that may be sampled with and
// that survives being written and read again.
#include <cstdint>

#include "base/error.h"
#include "qwill/request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qwill;
  Request request;
  try {
    request = Request::from_json(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const Error& e) {
    CHECK(e.kind() == ErrorKind::invalid, "a journal that is refused is invalid");
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "a message is one line");
    return 0;
  }
  request.sampling.check();
  CHECK(!request.prompt.empty(), "there is a prompt");
  for (const auto* ids : {&request.prompt, &request.output, &request.sampling.stop_ids})
    for (const int32_t id : *ids) CHECK(id >= 0, "ids are not negative");
  const std::string once = request.to_json();
  CHECK(Request::from_json(once).to_json() == once, "to_json and from_json disagree");
  return 0;
}
