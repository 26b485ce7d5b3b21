// Damaged model folders: each must open, where the damage does not matter, or be refused with one line that says where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <set>

#include "base/error.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

// At least 50 places, the first 200 bytes and the ends of header and file among them.
std::vector<size_t> places_to_cut(const std::string& bytes) {
  std::set<size_t> places;
  for (size_t i = 0; i < std::min<size_t>(200, bytes.size()); ++i) places.insert(i);
  for (size_t i = 0; i < 100; ++i) places.insert(i * bytes.size() / 100);
  for (size_t i = 1; i <= std::min<size_t>(16, bytes.size()); ++i) places.insert(bytes.size() - i);
  return {places.begin(), places.end()};
}

void expect_refused_when_cut(const TemporaryFolder& folder, const std::string& file) {
  const std::string bytes = read_file(folder.path(file));
  const std::vector<size_t> places = places_to_cut(bytes);
  ASSERT_GE(places.size(), 50u);
  for (const size_t size : places) {
    write_file(folder.path(file), bytes.substr(0, size));
    EXPECT_THAT(open_error(folder), HasSubstr(file)) << file << " cut to " << size << " of " << bytes.size();
  }
  write_file(folder.path(file), bytes);
  EXPECT_EQ(open_error(folder), "");
}

TEST(DamagedCheckpoint, CutAnywhere) {
  TemporaryFolder single;
  write_single(single, tiny_dense_config());
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors"})
    expect_refused_when_cut(single, file);
  TemporaryFolder sharded;
  write_sharded(sharded, tiny_moe_config(), 2);
  for (const std::string& file : {std::string("model.safetensors.index.json"), shard_name(0, 2), shard_name(1, 2)})
    expect_refused_when_cut(sharded, file);
}

TEST(DamagedCheckpoint, FilesMissing) {
  for (const char* file : {"config.json", "model.safetensors"}) {
    TemporaryFolder folder;
    write_single(folder, tiny_dense_config());
    std::filesystem::remove(folder.path(file));
    EXPECT_THAT(open_error(folder), HasSubstr(std::string("no ") + file));
    std::filesystem::create_directory(folder.path(file));
    EXPECT_THAT(open_error(folder), HasSubstr(file)) << "a folder in the file's place";
    std::filesystem::remove(folder.path(file));
    std::filesystem::create_symlink("/nonexistent/blob", folder.path(file));
    EXPECT_THAT(open_error(folder), HasSubstr("a link to a file that is not there"));
  }
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  std::filesystem::remove(folder.path("generation_config.json"));
  EXPECT_EQ(open_error(folder), "") << "generation_config.json may be absent";
}

TEST(DamagedCheckpoint, TextInOtherEncodings) {
  TemporaryFolder folder;
  write_sharded(folder, tiny_moe_config(), 2);
  for (const char* file : {"config.json", "generation_config.json", "model.safetensors.index.json"}) {
    const std::string good = read_file(folder.path(file));
    std::string utf16 = "\xff\xfe";
    for (const char c : good) utf16 += {c, '\0'};
    const std::string bad[] = {"\xef\xbb\xbf" + good,
                               utf16,
                               std::string(good.size(), '\0'),
                               good + "\xff",
                               good + "{}",
                               std::string(200000, '['),
                               std::string(200000, '{'),
                               "[]",
                               "null",
                               "3",
                               "\"x\""};
    for (const std::string& text : bad) {
      write_file(folder.path(file), text);
      EXPECT_THAT(open_error(folder), HasSubstr(file)) << text.substr(0, 20);
    }
    write_file(folder.path(file), good + "\n \t\r\n");
    EXPECT_EQ(open_error(folder), "") << "white space may follow";
    write_file(folder.path(file), good);
  }
}

// The values that each field is given in turn; "" removes it.
constexpr const char* kWrongTypes[] = {"true", "\"x\"", "[[]]", "[{}]", "{\"x\":[]}"};
constexpr const char* kWrongNumbers[] = {"-1",
                                         "-9223372036854775808",
                                         "-1e300",
                                         "1e300",
                                         "NaN",
                                         "Infinity",
                                         "-Infinity",
                                         "99999999999999999999",
                                         "9223372036854775807",
                                         "1.5e18",
                                         "4611686018427387904"};

enum class Field { required_count, optional_count, number, boolean, text, token_ids, list, object, ignored };

struct FieldCase {
  const char* path;  // "rope_scaling/factor": a member of a member
  Field kind;
};

// Every key of the two configurations. Those that the reader ignores may hold anything.
constexpr FieldCase kDenseFields[] = {{"architectures", Field::list},
                                      {"attention_bias", Field::boolean},
                                      {"attention_dropout", Field::ignored},
                                      {"bos_token_id", Field::ignored},
                                      {"eos_token_id", Field::token_ids},
                                      {"head_dim", Field::optional_count},
                                      {"hidden_act", Field::text},
                                      {"hidden_size", Field::required_count},
                                      {"initializer_range", Field::ignored},
                                      {"intermediate_size", Field::required_count},
                                      {"max_position_embeddings", Field::optional_count},
                                      {"max_window_layers", Field::ignored},
                                      {"model_type", Field::text},
                                      {"num_attention_heads", Field::required_count},
                                      {"num_hidden_layers", Field::required_count},
                                      {"num_key_value_heads", Field::required_count},
                                      {"rms_norm_eps", Field::number},
                                      {"rope_scaling", Field::object},
                                      {"rope_scaling/rope_type", Field::text},
                                      {"rope_scaling/factor", Field::number},
                                      {"rope_scaling/original_max_position_embeddings", Field::optional_count},
                                      {"rope_theta", Field::number},
                                      {"sliding_window", Field::optional_count},
                                      {"tie_word_embeddings", Field::boolean},
                                      {"torch_dtype", Field::text},
                                      {"transformers_version", Field::ignored},
                                      {"use_cache", Field::ignored},
                                      {"use_sliding_window", Field::boolean},
                                      {"vocab_size", Field::required_count}};

constexpr FieldCase kMoeFields[] = {{"architectures", Field::list},
                                    {"attention_bias", Field::boolean},
                                    {"attention_dropout", Field::ignored},
                                    {"decoder_sparse_step", Field::optional_count},
                                    {"dtype", Field::text},
                                    {"eos_token_id", Field::token_ids},
                                    {"head_dim", Field::optional_count},
                                    {"hidden_act", Field::text},
                                    {"hidden_size", Field::required_count},
                                    {"initializer_range", Field::ignored},
                                    {"intermediate_size", Field::required_count},
                                    {"max_position_embeddings", Field::optional_count},
                                    {"mlp_only_layers", Field::list},
                                    {"model_type", Field::text},
                                    {"moe_intermediate_size", Field::required_count},
                                    {"norm_topk_prob", Field::boolean},
                                    {"num_attention_heads", Field::required_count},
                                    {"num_experts_per_tok", Field::required_count},
                                    {"num_hidden_layers", Field::required_count},
                                    {"num_key_value_heads", Field::required_count},
                                    {"num_local_experts", Field::required_count},
                                    {"output_router_logits", Field::ignored},
                                    {"rms_norm_eps", Field::number},
                                    {"rope_parameters", Field::object},
                                    {"rope_parameters/rope_theta", Field::number},
                                    {"rope_parameters/rope_type", Field::text},
                                    {"router_aux_loss_coef", Field::ignored},
                                    {"sliding_window", Field::optional_count},
                                    {"tie_word_embeddings", Field::boolean},
                                    {"transformers_version", Field::ignored},
                                    {"use_cache", Field::ignored},
                                    {"use_sliding_window", Field::boolean},
                                    {"vocab_size", Field::required_count}};

constexpr FieldCase kGenerationFields[] = {{"bos_token_id", Field::ignored},
                                           {"do_sample", Field::boolean},
                                           {"eos_token_id", Field::token_ids},
                                           {"max_new_tokens", Field::optional_count},
                                           {"min_p", Field::number},
                                           {"pad_token_id", Field::ignored},
                                           {"repetition_penalty", Field::number},
                                           {"temperature", Field::number},
                                           {"top_k", Field::optional_count},
                                           {"top_p", Field::number},
                                           {"transformers_version", Field::ignored}};

// config with the field replaced by value, or removed if value is "".
Json with_field(const Json& config, std::string_view path, const std::string& value) {
  const size_t slash = path.find('/');
  const std::string_view name = path.substr(0, slash);
  std::vector<Json::Member> members;
  for (const auto& [key, old] : config.as_object()) {
    if (key != name)
      members.emplace_back(key, old);
    else if (slash != std::string_view::npos)
      members.emplace_back(key, with_field(old, path.substr(slash + 1), value));
    else if (!value.empty())
      members.emplace_back(key, Json::parse(value));
  }
  return Json::object(std::move(members));
}

bool accepts(Field kind, const std::string& value) {
  switch (kind) {
    case Field::boolean: return value == "true";
    case Field::text: return value == "\"x\"";         // of the right type, though it may not be supported
    case Field::object: return value == "{\"x\":[]}";  // a key that nobody knows is ignored, as in the reference
    default: return kind == Field::ignored;
  }
}

class DamagedFields {
 public:
  DamagedFields(const std::string& file, Json good) : file_(file), good_(std::move(good)) {}

  void run(const TemporaryFolder& folder, std::span<const FieldCase> fields) {
    std::set<std::string> covered;
    for (const FieldCase& field : fields) {
      covered.insert(field.path);
      const std::string path = field.path, key = path.substr(path.rfind('/') + 1);
      for (const char* value : kWrongTypes)
        if (!accepts(field.kind, value)) expect_refused(folder, path, key, value);
      // Numbers are of the wrong type for the others. A window that is switched off may have any size.
      if (field.kind != Field::ignored && key != "sliding_window") {
        for (const char* value : kWrongNumbers) expect_refused(folder, path, key, value);
      }
      if (field.kind == Field::required_count) {
        expect_refused(folder, path, key, "");
        if (key != "num_key_value_heads") expect_refused(folder, path, key, "null");
        if (key != "num_local_experts") expect_refused(folder, path, key, "0");
      }
      if (field.kind == Field::ignored) {
        for (const char* value : {"", "null", "true", "\"x\"", "[[]]", "{\"x\":[]}", "-1", "1e300"})
          EXPECT_EQ(error_with(folder, path, value), "") << path << " = " << value;
      }
      // Whatever a missing or null field means, the folder opens or says in one line why not.
      for (const char* value : {"", "null", "0", "[]", "{}", "\"\"", "1", "0.5", "2147483648", "65536"})
        expect_one_line(folder, path, value);
    }
    for (const auto& [name, value] : good_.as_object()) {
      EXPECT_TRUE(covered.contains(name)) << name;
      if (!value.is_object()) continue;
      for (const auto& [inner, ignored] : value.as_object()) EXPECT_TRUE(covered.contains(name + "/" + inner)) << inner;
    }
    write_file(folder.path(file_), good_.dump());
    EXPECT_EQ(open_error(folder), "");
  }

 private:
  std::string error_with(const TemporaryFolder& folder, const std::string& path, const std::string& value) {
    write_file(folder.path(file_), with_field(good_, path, value).dump());
    return open_error(folder);
  }

  void expect_refused(const TemporaryFolder& folder, const std::string& path, const std::string& key,
                      const std::string& value) {
    const std::string message = error_with(folder, path, value);
    EXPECT_THAT(message, HasSubstr("/" + file_ + ": ")) << path << " = " << value;
    // A rope setting that is an object is told by the outer key, missing experts by the name of transformers 4.
    const std::string outer = path.substr(0, path.find('/'));
    const std::string other = key == "num_local_experts" ? "num_experts" : outer;
    EXPECT_THAT(message, AnyOf(HasSubstr(key), HasSubstr(other))) << path << " = " << value;
  }

  void expect_one_line(const TemporaryFolder& folder, const std::string& path, const std::string& value) {
    const std::string message = error_with(folder, path, value);  // checks for line breaks
    if (message.empty()) return;
    EXPECT_THAT(message, AnyOf(HasSubstr("/" + file_), HasSubstr("/model.safetensors"))) << path << " = " << value;
  }

  std::string file_;
  Json good_;
};

TEST(DamagedCheckpoint, FieldsOfADenseConfig) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  DamagedFields("config.json", tiny_dense_config()).run(folder, kDenseFields);
}

TEST(DamagedCheckpoint, FieldsOfAMixtureConfig) {
  TemporaryFolder folder;
  write_single(folder, tiny_moe_config());
  DamagedFields("config.json", tiny_moe_config()).run(folder, kMoeFields);
}

TEST(DamagedCheckpoint, FieldsOfAGenerationConfig) {
  TemporaryFolder folder;
  write_single(folder, tiny_dense_config());
  DamagedFields("generation_config.json", tiny_generation_config()).run(folder, kGenerationFields);
}

TEST(DamagedCheckpoint, Index) {
  const std::string first = shard_name(0, 2), second = shard_name(1, 2);
  const std::string embed = "model.embed_tokens.weight";
  const struct {
    const char* path;
    std::string value;
    const char* message;
  } cases[] = {
      {"weight_map", "", "weight_map: missing"},
      {"weight_map", "null", "weight_map: expected an object, found null"},
      {"weight_map", "[]", "weight_map: expected an object, found an array"},
      {"weight_map", "{}", "weight_map: names no tensor"},
      {"weight_map/model.embed_tokens.weight", "7", "embed_tokens.weight: expected a string, found an integer"},
      {"weight_map/model.embed_tokens.weight", "null", "embed_tokens.weight: expected a string, found null"},
      {"weight_map/model.embed_tokens.weight", "\"\"", "is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"..\"", "is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"/etc/passwd\"", "/etc/passwd is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"../" + first + "\"", "is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"a\\u0000b\"", "is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"a\\nb\"", "is not a plain file name"},
      {"weight_map/model.embed_tokens.weight", "\"config.json\"", "config.json: "},
      {"weight_map/model.embed_tokens.weight", "\"other.safetensors\"", "no other.safetensors, which"},
      {"weight_map/model.embed_tokens.weight", "\"" + second + "\"", "embed_tokens.weight: in "},
  };
  TemporaryFolder folder;
  write_sharded(folder, tiny_dense_config(), 2);
  const Json good = Json::parse(read_file(folder.path("model.safetensors.index.json")));
  for (const auto& c : cases) {
    write_file(folder.path("model.safetensors.index.json"), with_field(good, c.path, c.value).dump());
    EXPECT_THAT(open_error(folder), HasSubstr(c.message)) << c.value;
  }
  // A tensor that no shard has; and one that the index forgets, which the reference finds all the same.
  Json map = *good.find("weight_map");
  map.set("model.layers.9.input_layernorm.weight", first);
  Json more = good;
  more.set("weight_map", std::move(map));
  write_file(folder.path("model.safetensors.index.json"), more.dump());
  EXPECT_THAT(open_error(folder), HasSubstr("model.layers.9.input_layernorm.weight: not in " + first));
  write_file(folder.path("model.safetensors.index.json"), with_field(good, "weight_map/" + embed, "").dump());
  EXPECT_EQ(open_error(folder), "");
  for (const char* value : {"", "null", "[]", "{\"total_size\": -1}"}) {
    write_file(folder.path("model.safetensors.index.json"), with_field(good, "metadata", value).dump());
    EXPECT_EQ(open_error(folder), "") << "the metadata is not needed";
  }
}

TEST(DamagedCheckpoint, Shards) {
  TemporaryFolder folder;
  write_sharded(folder, tiny_dense_config(), 3);
  const std::string first = shard_name(0, 3), second = shard_name(1, 3);
  const std::string first_bytes = read_file(folder.path(first)), second_bytes = read_file(folder.path(second));

  std::filesystem::remove(folder.path(second));
  EXPECT_THAT(open_error(folder), HasSubstr("no " + second + ", which model.safetensors.index.json names"));
  write_file(folder.path(second), first_bytes);
  EXPECT_THAT(open_error(folder), HasSubstr(": also in " + folder.path(first))) << "overlapping shards";
  write_tensors(folder.path(second), {});
  EXPECT_THAT(open_error(folder), HasSubstr(": not in " + second)) << "a shard without tensors";
  write_file(folder.path(first), second_bytes);
  write_file(folder.path(second), first_bytes);
  EXPECT_THAT(open_error(folder), HasSubstr("weight_map: ")) << "two shards under each other's name";
}

// Any single wrong byte in front of the data, and any number of them.
TEST(DamagedCheckpoint, RandomBytes) {
  TemporaryFolder folder;
  write_sharded(folder, tiny_moe_config(), 2);
  std::mt19937 random(1);
  for (const std::string& file : {std::string("config.json"), std::string("model.safetensors.index.json"),
                                  std::string("generation_config.json"), shard_name(0, 2)}) {
    const std::string good = read_file(folder.path(file));
    for (int round = 0; round < 400; ++round) {
      std::string bad = good;
      for (int i = 0, count = 1 + round % 3; i < count; ++i)
        bad[random() % std::min<size_t>(bad.size(), 2500)] = static_cast<char>(random() % 256);
      write_file(folder.path(file), bad);
      open_error(folder);  // checks that a message is one line; the sanitizers watch the rest
    }
    write_file(folder.path(file), good);
    EXPECT_EQ(open_error(folder), "");
  }
}

}  // namespace
}  // namespace qwill::test
