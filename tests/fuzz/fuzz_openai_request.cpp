// Any line as a line of a batch, and any JSON as a body of each endpoint: refused with one line and a body that says
// why, or requests that the engine takes.
#include <cstdint>

#include "base/error.h"
#include "base/utf8.h"
#include "llm/parts.h"
#include "server/batch_file.h"
#include "server/openai_response.h"

namespace {

using namespace qwill;

const Llm& builtin_llm() {
  static const std::unique_ptr<Llm> llm = [] {
    LlmOptions options;
    options.device = "cpu";
    options.num_threads = 1;
    return Llm::open(options);
  }();
  return *llm;
}

void check_taken(const ApiRequest& api) {
  const int64_t vocab_size = builtin_llm().parts().config().vocab_size;
  CHECK(!api.requests.empty(), "there is something to answer");
  for (const GenerateRequest& request : api.requests) {
    request.sampling.check();
    CHECK(!request.prompt.empty(), "a prompt has a token");
    CHECK(static_cast<int64_t>(request.prompt.size()) < builtin_llm().parts().engine->max_seq_len(), "there is room");
    for (const int32_t id : request.prompt) CHECK(id >= 0 && id < vocab_size, "ids are of the model");
    for (const std::string& stop : request.stop) CHECK(!stop.empty(), "stop strings have a byte");
  }
}

void check_body(Endpoint endpoint, const Json& body) {
  try {
    check_taken(read_api_request(builtin_llm(), endpoint, body, 0));
  } catch (const RequestError& e) {
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "an error of several lines");
    CHECK(api_status(e) == 400, "the request is at fault");
    CHECK(find_invalid_utf8(api_error(e).dump()) == std::string_view::npos, "an answer that is not UTF-8");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const BatchRequest request = parse_batch_request(text, 1);
  CHECK(request.id().size() == 32, "an id has 32 digits");
  if (!request.flaw) check_body(request.endpoint, request.body);
  try {
    const Json body = Json::parse(text);
    check_body(Endpoint::chat_completions, body);
    check_body(Endpoint::completions, body);
  } catch (const Error&) {  // no JSON
  }
  return 0;
}
