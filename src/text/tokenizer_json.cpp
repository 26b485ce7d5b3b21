#include "text/tokenizer_json.h"

#include <rapidjson/error/en.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"

namespace qwill {
namespace {

// The pre-tokenizer that text/pretokenizer.h implements.
constexpr std::string_view kQwenPattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxFileBytes = size_t{1} << 30;  // offsets and lengths fit 32 bits with room to spare

// Receives RapidJSON's events. The two big fields, model.vocab and model.merges, go straight into tables (as trees
// they would take most of the loading time); everything else becomes a small Json. Throws from within an event.
class Reader {
 public:
  using Ch = char;
  bool Null() { return add(Json()); }
  bool Bool(bool value) { return add(Json(value)); }
  bool Int(int value) { return add(Json(value)); }
  bool Uint(unsigned value) {
    if (place_ != Place::vocab) return add(Json(static_cast<uint64_t>(value)));
    vocab.emplace_back(key_, value);
    return true;
  }
  bool Int64(int64_t value) { return add(Json(value)); }
  bool Uint64(uint64_t value) { return add(Json(value)); }
  bool Double(double value) { return add(Json(value)); }
  bool RawNumber(const char*, rapidjson::SizeType, bool) { return false; }  // never called: numbers are converted
  bool String(const char* text, rapidjson::SizeType size, bool) {
    const std::string_view value(text, size);
    if (place_ == Place::tree || place_ == Place::vocab) return add(Json(value));
    if (place_ == Place::merges) return add_merge_line(value);
    if (pair_size_ < 2) pair_[pair_size_] = value;
    ++pair_size_;
    return true;
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    key_ = {text, size};
    return true;
  }

  bool StartObject() {
    if (place_ != Place::tree) misplaced("an object");
    return at_model_field("vocab") ? enter(Place::vocab, has_vocab) : open(false);
  }
  bool EndObject(rapidjson::SizeType) {
    if (place_ == Place::tree) return close();
    place_ = Place::tree;
    return true;
  }
  bool StartArray() {
    if (place_ == Place::merges) {
      place_ = Place::pair;
      pair_size_ = 0;
      return true;
    }
    if (place_ != Place::tree) misplaced("an array");
    return at_model_field("merges") ? enter(Place::merges, has_merges) : open(true);
  }
  bool EndArray(rapidjson::SizeType) {
    if (place_ == Place::tree) return close();
    if (place_ == Place::merges) {
      place_ = Place::tree;
      return true;
    }
    if (pair_size_ != 2) misplaced(fmt::format("{} strings", pair_size_));
    merges.emplace_back(pair_[0], pair_[1]);
    place_ = Place::merges;
    return true;
  }

  Json root;
  std::vector<std::pair<std::string_view, uint32_t>> vocab;
  std::vector<std::pair<std::string_view, std::string_view>> merges;
  bool has_vocab = false, has_merges = false;

 private:
  enum class Place { tree, vocab, merges, pair };
  struct Container {
    std::string key;  // its name in the object around it
    bool is_array;
    std::vector<Json> items;
    std::vector<Json::Member> members;
  };

  bool at_model_field(std::string_view name) const {
    return open_.size() == 2 && open_[1].key == "model" && !open_[1].is_array && key_ == name;
  }

  bool enter(Place place, bool& seen) {
    if (seen) fail_invalid("model.{}: given twice", key_);
    seen = true;
    place_ = place;
    return true;
  }

  [[noreturn]] void misplaced(std::string_view found) const {
    if (place_ == Place::vocab) fail_invalid("model.vocab[\"{}\"]: expected an id, found {}", printable(key_), found);
    fail_invalid("model.merges[{}]: expected two strings in an array or \"a b\", found {}", merges.size(), found);
  }

  // Merges as they were written before pairs: the two tokens with a space between. A "#version" line has no rank.
  bool add_merge_line(std::string_view line) {
    if (line.starts_with("#version")) return true;
    const size_t space = line.find(' ');
    if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos)
      misplaced(fmt::format("\"{}\"", printable(line)));
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
    return true;
  }

  bool open(bool is_array) {
    if (open_.size() == kMaxDepth) fail_invalid("nested deeper than {} levels", kMaxDepth);
    open_.push_back({std::string(key_), is_array, {}, {}});
    return true;
  }

  bool close() {
    Container done = std::move(open_.back());
    open_.pop_back();
    Json json = done.is_array ? Json::array(std::move(done.items)) : Json::object(std::move(done.members));
    return add(std::move(json), done.key);
  }

  bool add(Json value) { return add(std::move(value), key_); }
  bool add(Json value, std::string_view key) {
    if (place_ != Place::tree) misplaced(value.is_number() ? value.number_text() : value.kind_name());
    if (open_.empty())
      root = std::move(value);
    else if (open_.back().is_array)
      open_.back().items.push_back(std::move(value));
    else
      open_.back().members.emplace_back(key, std::move(value));
    return true;
  }

  Place place_ = Place::tree;
  std::string_view key_;
  std::string_view pair_[2];
  size_t pair_size_ = 0;
  std::vector<Container> open_;
};

const Json& member(const Json& object, std::string_view name) {
  const Json* found = object.find_value(name);
  if (!found) fail_invalid("{}: missing", name);
  return *found;
}

const std::string& string_member(const Json& object, std::string_view name) {
  const Json& found = member(object, name);
  return with_context(name, [&]() -> auto& { return found.as_string(); });
}

const std::vector<Json>& array_member(const Json& object, std::string_view name) {
  const Json& found = member(object, name);
  return with_context(name, [&]() -> auto& { return found.as_array(); });
}

void require_type(const Json& step, std::string_view type) {
  if (const std::string& found = string_member(step, "type"); found != type)
    fail_unsupported("type: only {} is supported, found {}", type, printable(found));
}

// A flag that must have one value for this pipeline; absent counts as fallback, as in the reference.
void require_flag(const Json& step, std::string_view name, bool wanted, bool fallback) {
  if (step.boolean_or(name, fallback) != wanted)
    fail_unsupported("{}: only {} is supported", name, wanted ? "true" : "false");
}

void check_pre_tokenizer(const Json& json) {
  require_type(json, "Sequence");
  const auto& steps = array_member(json, "pretokenizers");
  if (steps.size() != 2) fail_unsupported("pretokenizers: only [Split, ByteLevel] is supported");
  with_context("pretokenizers[0]", [&] {
    require_type(steps[0], "Split");
    const Json& pattern = member(steps[0], "pattern");
    const std::string& regex = with_context("pattern", [&]() -> auto& { return string_member(pattern, "Regex"); });
    if (regex != kQwenPattern)
      fail_unsupported("pattern.Regex: only the pattern of Qwen2 and Qwen3 is supported, found {}",
                       printable(regex, 200));
    if (steps[0].string_or("behavior", "") != "Isolated") fail_unsupported("behavior: only Isolated is supported");
    require_flag(steps[0], "invert", false, false);
  });
  with_context("pretokenizers[1]", [&] {
    require_type(steps[1], "ByteLevel");
    require_flag(steps[1], "add_prefix_space", false, true);
    require_flag(steps[1], "use_regex", false, true);
  });
}

// Every byte has a token (the Tokenizer sees to that), so the settings for unknown ones have no effect.
void check_model(const Json& json) {
  if (const std::string type = json.string_or("type", "BPE"); type != "BPE")
    fail_unsupported("type: only BPE is supported, found {}", printable(type));
  if (json.number_or("dropout", 0) != 0) fail_unsupported("dropout: only 0 is supported");
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!json.string_or(name, "").empty()) fail_unsupported("{}: only an empty one is supported", name);
}

std::vector<std::string_view> tokens_by_id(const std::vector<std::pair<std::string_view, uint32_t>>& vocab) {
  std::vector<std::string_view> tokens(vocab.size());
  std::vector<bool> taken(vocab.size());
  for (const auto& [token, id] : vocab) {
    if (id >= tokens.size())
      fail_invalid("model.vocab[\"{}\"]: id {} leaves a hole: there are {} tokens", printable(token), id, vocab.size());
    if (taken[id])
      fail_invalid("model.vocab[\"{}\"]: id {} belongs to \"{}\" too", printable(token), id, printable(tokens[id]));
    taken[id] = true;
    tokens[id] = token;
  }
  return tokens;
}

std::vector<AddedToken> added_tokens(const Json& root) {
  std::vector<AddedToken> added;
  if (!root.find_value("added_tokens")) return added;
  for (const Json& item : array_member(root, "added_tokens")) {
    with_context(fmt::format("added_tokens[{}]", added.size()), [&] {
      AddedToken token;
      const int64_t id = item.integer("id");
      if (id < 0 || id > std::numeric_limits<int32_t>::max()) fail_invalid("id: {} is out of range", id);
      token.id = static_cast<int32_t>(id);
      token.content = string_member(item, "content");
      token.special = item.boolean_or("special", false);
      token.normalized = item.boolean_or("normalized", !token.special);
      token.lstrip = item.boolean_or("lstrip", false);
      token.rstrip = item.boolean_or("rstrip", false);
      require_flag(item, "single_word", false, false);
      added.push_back(token);
    });
  }
  return added;
}

}  // namespace

TokenizerFile parse_tokenizer_json(std::string_view json) {
  if (json.size() > kMaxFileBytes)
    fail_invalid("a tokenizer of {} bytes: expected at most {}", json.size(), kMaxFileBytes);
  if (const size_t bad = find_invalid_utf8(json); bad != std::string_view::npos)
    fail_invalid("invalid JSON at byte {}: not UTF-8", bad);
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos)
    fail_invalid("invalid JSON at byte {}: a NUL byte", nul);
  TokenizerFile file;
  file.text = json;
  Reader reader;
  // Entries of the published file take some 30 bytes and more; memory that is not touched costs nothing.
  reader.vocab.reserve(json.size() / 32);
  reader.merges.reserve(json.size() / 32);
  rapidjson::InsituStringStream stream(file.text.data());
  rapidjson::Reader parser;
  const auto result = parser.Parse<rapidjson::kParseInsituFlag>(stream, reader);
  if (result.IsError())
    fail_invalid("invalid JSON at byte {}: {}", result.Offset(), rapidjson::GetParseError_En(result.Code()));

  const Json& root = reader.root;
  if (!root.is_object()) fail_invalid("expected an object, found {}", root.kind_name());
  const Json& model = member(root, "model");
  with_context("model", [&] {
    if (!model.is_object()) fail_invalid("expected an object, found {}", model.kind_name());
    check_model(model);
    for (const char* name : {"vocab", "merges"})
      if (const Json* other = model.find(name))
        fail_invalid("{}: expected a table, found {}", name, other->kind_name());
    if (!reader.has_vocab) fail_invalid("vocab: missing");
    if (!reader.has_merges) fail_invalid("merges: missing");
  });
  if (const Json* normalizer = root.find_value("normalizer")) {
    with_context("normalizer", [&] { require_type(*normalizer, "NFC"); });
    file.vocabulary.nfc = true;
  }
  const Json &pre_tokenizer = member(root, "pre_tokenizer"), &decoder = member(root, "decoder");
  with_context("pre_tokenizer", [&] { check_pre_tokenizer(pre_tokenizer); });
  with_context("decoder", [&] { require_type(decoder, "ByteLevel"); });
  file.vocabulary.ignore_merges = with_context("model", [&] { return model.boolean_or("ignore_merges", false); });
  file.vocabulary.tokens = tokens_by_id(reader.vocab);
  file.vocabulary.merges = std::move(reader.merges);
  file.vocabulary.added = added_tokens(root);
  return file;
}

}  // namespace qwill
