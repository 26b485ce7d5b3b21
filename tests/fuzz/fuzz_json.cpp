// Json::parse on any bytes: an Error of one line, or a value that survives being written and read again.
#include <cstdint>

#include "base/error.h"
#include "base/json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace qwill;
  Json json;
  try {
    json = Json::parse(std::string_view(reinterpret_cast<const char*>(data), size));
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find('\n') == std::string_view::npos, "an error of several lines");
    return 0;
  }
  const std::string once = json.dump();
  CHECK(Json::parse(once).dump() == once, "dump and parse disagree");
  // Numbers are rewritten as Python writes them, once: then the text is stable too.
  const std::string python = json.dump_python();
  CHECK(Json::parse(python).dump_python() == python, "dump_python and parse disagree");
  return 0;
}
