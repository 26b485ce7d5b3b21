// How fast the tokenizer is on one core: MB/s (1e6 bytes) of encoding and decoding each file, and the loading time.
//
//     bench_tokenizer tokenizer.json [TEXT …]
//
// Medians of repeated runs. Without texts it reads this repository's sources and documents from the current folder.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>

#include "base/mapped_file.h"
#include "text/bpe_tokenizer.h"

namespace {

double median_seconds(int repeats, const std::function<void()>& work) {
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[repeats / 2];
}

void measure(const qwill::Tokenizer& tokenizer, const std::string& name, std::string_view text) {
  if (text.empty()) return;
  constexpr int kRepeats = 15;
  std::vector<int32_t> ids;
  const double encode_s =
      median_seconds(kRepeats, [&] { ids = tokenizer.encode(text, qwill::Tokenizer::Special::parse); });
  std::string decoded;
  const double decode_s = median_seconds(kRepeats, [&] { decoded = tokenizer.decode(ids); });
  fmt::print("{:40} {:9.3f} MB {:9} ids  encode {:7.1f} MB/s  decode {:7.1f} MB/s\n", name, text.size() / 1e6,
             ids.size(), text.size() / 1e6 / encode_s, text.size() / 1e6 / decode_s);
}

// All files below a folder of the repository with one of the endings, one after another.
std::string gather(const char* folder, const std::vector<std::string>& endings) {
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::is_directory(folder))
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (std::find(endings.begin(), endings.end(), entry.path().extension().string()) != endings.end())
        paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::string text;
  for (const auto& path : paths) text += qwill::MappedFile::open(path.string()).text();
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print(stderr, "usage: bench_tokenizer tokenizer.json [TEXT …]\n");
    return 2;
  }
  const auto file = qwill::MappedFile::open(argv[1]);
  const double load_s = median_seconds(9, [&] { qwill::Tokenizer::from_json(file.text()); });
  fmt::print("load {:.1f} ms ({:.1f} MB)\n", load_s * 1e3, file.text().size() / 1e6);
  const auto tokenizer = qwill::Tokenizer::from_json(file.text());
  if (argc == 2) {
    measure(tokenizer, "code of this repository", gather("src", {".cpp", ".h", ".cu"}));
    measure(tokenizer, "documents of this repository", gather("docs", {".md"}));
  }
  for (int i = 2; i < argc; ++i) measure(tokenizer, argv[i], qwill::MappedFile::open(argv[i]).text());
  return 0;
}
