#include "llm/gguf_text.h"

#include <algorithm>

#include "base/error.h"

namespace qwill {
namespace {

constexpr std::string_view kModel = "tokenizer.ggml.model", kPre = "tokenizer.ggml.pre";
constexpr std::string_view kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kMerges = "tokenizer.ggml.merges", kAddBos = "tokenizer.ggml.add_bos_token";
constexpr std::string_view kTemplate = "tokenizer.chat_template", kToolTemplate = "tokenizer.chat_template.tool_use";

// Kinds of tokens, as the format numbers them.
constexpr int64_t kControl = 3, kUserDefined = 4, kUnused = 5;

// Converters take what looks so for a control token; the published tokenizer keeps these in decoded text.
constexpr std::string_view kKeptInText[] = {"<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
                                            "<|fim_pad|>",    "<|repo_name|>",  "<|file_sep|>"};

void require(const GgufFile& file, std::string_view key, std::string_view wanted) {
  file.read(key, [&](const GgufValue& value) {
    if (value.as_string() != wanted)
      fail_unsupported("only {} is supported, found {}", wanted, printable(value.as_string()));
  });
}

std::vector<std::string_view> strings(const GgufValue& value) { return value.as_strings(); }

using Merge = std::pair<std::string_view, std::string_view>;

std::vector<Merge> read_merges(const GgufFile& file) {
  return file.read(kMerges, [](const GgufValue& value) {
    std::vector<Merge> merges;
    for (const std::string_view line : value.as_strings()) {
      const size_t space = line.find(' ');
      if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
        fail_invalid("[{}]: expected \"a b\", found \"{}\"", merges.size(), printable(line));
      merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    }
    return merges;
  });
}

// Added tokens follow the others in the published tokenizers; if they stand among them, they are tokens besides. What
// is unused at the end (rows of the embedding that only pad it) is no token.
Vocabulary read_vocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  vocabulary.nfc = true;
  vocabulary.tokens = file.read(kTokens, strings);
  const std::vector<int64_t> types = file.read(kTypes, [&](const GgufValue& value) {
    std::vector<int64_t> all = value.as_integers();
    if (all.size() != vocabulary.tokens.size())
      fail_invalid("{} of them for {} tokens", all.size(), vocabulary.tokens.size());
    return all;
  });
  const auto is_added = [&](size_t id) { return types[id] == kControl || types[id] == kUserDefined; };
  size_t size = types.size();
  while (size > 0 && types[size - 1] == kUnused) --size;
  for (size_t id = 0; id < size; ++id) {
    if (!is_added(id)) continue;
    const std::string_view content = vocabulary.tokens[id];
    vocabulary.added.push_back(
        {.id = static_cast<int32_t>(id),
         .content = std::string(content),
         .special = types[id] == kControl && std::ranges::find(kKeptInText, content) == std::end(kKeptInText)});
  }
  while (size > 0 && is_added(size - 1)) --size;
  vocabulary.tokens.resize(size);
  vocabulary.merges = read_merges(file);
  return vocabulary;
}

// What a Tokenizer's messages begin with, and the key that it comes from.
constexpr std::pair<std::string_view, std::string_view> kPlaces[] = {
    {"vocab", kTokens}, {"merges", kMerges}, {"added_tokens", kTokens}};

}  // namespace

std::optional<Tokenizer> read_gguf_tokenizer(const GgufFile& file) {
  if (!file.find_value(kTokens)) return std::nullopt;
  require(file, kModel, "gpt2");
  require(file, kPre, "qwen2");
  if (file.find_value(kAddBos) && file.read(kAddBos, [](const GgufValue& value) { return value.as_boolean(); }))
    fail_unsupported("{}: {}: true is not supported: Qwen's tokenizer adds nothing", file.file().name(), kAddBos);
  const Vocabulary vocabulary = read_vocabulary(file);
  try {
    return Tokenizer(vocabulary);
  } catch (const Error& e) {
    const std::string_view message = e.what();
    for (const auto& [beginning, key] : kPlaces)
      if (message.starts_with(beginning))
        throw Error(e.kind(), fmt::format("{}: {}: {}", file.file().name(), key, message));
    throw e.within(file.file().name());
  }
}

std::optional<std::string> read_gguf_chat_template(const GgufFile& file, bool with_tools) {
  const std::string_view key = with_tools && file.find_value(kToolTemplate) ? kToolTemplate : kTemplate;
  if (!file.find_value(key)) return std::nullopt;
  return file.read(key, [](const GgufValue& value) { return std::string(value.as_string()); });
}

}  // namespace qwill
