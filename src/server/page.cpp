#include "server/page.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "base/embedded_files.h"

namespace qwill {
namespace {

extern "C" const EmbeddedRow qwill_page_files[];

std::string_view content_type_of(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {{".html", "text/html; charset=utf-8"},
                                                                      {".css", "text/css; charset=utf-8"},
                                                                      {".js", "text/javascript; charset=utf-8"},
                                                                      {".svg", "image/svg+xml"},
                                                                      {".json", "application/json"}};
  for (const auto& [ending, type] : kTypes)
    if (name.ends_with(ending)) return type;
  return "application/octet-stream";
}

// Nothing from elsewhere, nothing inline, and in nobody's frame.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

}  // namespace

std::vector<PageFile> page_files() {
  std::vector<PageFile> files;
  for (const EmbeddedFile& file : embedded_files(qwill_page_files)) {
    PageFile page{.path = file.name == "index.html" ? "/" : fmt::format("/{}", file.name), .response = {}};
    page.response.content_type = content_type_of(file.name);
    page.response.body.assign(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
    page.response.headers = {
        {"Cache-Control", "no-cache"}, {"Content-Security-Policy", kPolicy}, {"Referrer-Policy", "no-referrer"}};
    files.push_back(std::move(page));
  }
  return files;
}

}  // namespace qwill
