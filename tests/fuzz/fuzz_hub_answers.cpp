// What a hub answers: its headers, and its list of a model's files. Any bytes are refused with one line, or give values
// that are safe to use as they are: sizes, ranges, names of files.
#include <cstdint>

#include "base/error.h"
#include "hub/http_headers.h"
#include "hub/hub_api.h"

namespace {

void read_headers(std::string_view text) {
  using namespace qwill;
  HttpHeaders headers;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    if (!headers.add_line(text.substr(begin, end - begin))) break;
    begin = end;
  }
  if (const auto size = parse_http_size(headers.find("X-Linked-Size"))) CHECK(*size >= 0, "a size is one");
  if (const auto range = ContentRange::parse(headers.find("Content-Range"))) {
    CHECK(0 <= range->first && range->first <= range->last, "a range is one");
    CHECK(range->last < range->total.value_or(INT64_MAX), "a range lies inside its file");
  }
  if (const auto hash = parse_etag_hash(headers.find("ETag")))
    CHECK(hash->find_first_not_of("0123456789abcdef") == std::string::npos, "a hash is safe as a file's name");
}

void read_list(std::string_view text) {
  using namespace qwill;
  try {
    const HubListing list = HubListing::parse(text);
    CHECK(is_hub_snapshot(list.commit), "a commit is safe as a folder's name");
    for (const HubFile& file : list.files) {
      CHECK(is_plain_file_name(file.path), "a file stays in its folder");
      CHECK(file.size.value_or(0) >= 0, "a size is one");
    }
  } catch (const Error& e) {
    CHECK(std::string_view(e.what()).find_first_of("\r\n") == std::string_view::npos, "a message is one line");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.starts_with("HTTP/"))
    read_headers(text);
  else
    read_list(text);
  return 0;
}
