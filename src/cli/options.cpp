#include "cli/options.h"

#include <charconv>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"

namespace qwill::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Where the hub's clients keep what they downloaded.
std::string hub_cache() {
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface/hub";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface/hub";
}

}  // namespace

void add_model(CLI::App& command, std::string& model) {
  command.add_option("MODEL", model, "hub-format folder, or hub name in the local cache (default: the built-in model)")
      ->type_name("");
}

ModelFolder find_model(const std::string& model) { return ModelFolder::find(model, hub_cache()); }

void add_llm_options(CLI::App& command, LlmOptions& options) {
  add_model(command, options.model);
  options.hub_cache = hub_cache();
  options.cancel = &interrupted();
  options.progress = loading_progress();
  command.add_option("--device", options.device, "where it runs; auto is cpu in this version")
      ->check(CLI::IsMember({"auto", "cpu"}).description(""))
      ->type_name("auto|cpu");
  const std::map<std::string, DTypeChoice> dtypes{
      {"auto", DTypeChoice::automatic}, {"f32", DTypeChoice::f32}, {"bf16", DTypeChoice::bf16}};
  command.add_option("--dtype", options.dtype, "precision of matrix products (auto: bf16 for bf16 files, else f32)")
      ->transform(CLI::CheckedTransformer(dtypes).description(""))
      ->type_name("auto|f32|bf16");
  command.add_option("--threads", options.num_threads, "threads (default: one per processor); the result does not depend on it")
      ->check(CLI::Range(1, 1024).description(""))
      ->type_name("N");
  command.add_option("--cpu-path", options.cpu_path, "avx2, avx512, avx512-bf16, amx or neon (default: auto, the best here)")
      ->type_name("NAME");
  command.add_option("--max-seq-len", options.max_seq_len, "tokens of prompt and answer together (default: the model's context)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 24).description(""))
      ->type_name("N");
  command.add_option("--chunk-size", options.chunk_size, "prompt tokens of one step (512)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20).description(""))
      ->type_name("N");
  // --rope-scaling none|yarn, --rope-factor F, --rope-when always|needed
  const std::map<std::string, bool> scalings{{"none", false}, {"yarn", true}};
  const auto yarn = std::make_shared<bool>(false);
  const auto factor = std::make_shared<double>(4);
  auto* scaling = command.add_option("--rope-scaling", *yarn, "context extension, instead of what config.json says")
                      ->transform(CLI::CheckedTransformer(scalings).description(""))
                      ->type_name("none|yarn");
  auto* factor_option = command.add_option("--rope-factor", *factor, "how many times the trained length --rope-scaling yarn reaches (4)")
                            ->check(CLI::Range(1.0, 1024.0).description(""))
                            ->type_name("F")
                            ->needs(scaling);
  const std::map<std::string, RopeWhen> whens{{"always", RopeWhen::always}, {"needed", RopeWhen::needed}};
  command.add_option("--rope-when", options.rope_when, "yarn for every sequence (default), or only for those beyond the trained length")
      ->transform(CLI::CheckedTransformer(whens).description(""))
      ->type_name("always|needed");
  auto* chat_template = command.add_option("--chat-template", options.chat_template,
                                           "chat template, if the model's own is not known: " + ChatTemplate::known_names());
  chat_template->type_name("NAME");
  if (command.get_name() != "chat") chat_template->group("");  // accepted, but of no use: not in the help
  (void)factor_option;
  command.parse_complete_callback([&options, scaling, yarn, factor] {
    if (scaling->count() > 0) options.rope = RopeOverride{*yarn, *factor};
  });
}

std::vector<int32_t> parse_token_ids(const std::string& text) {
  const bool from_file = text.starts_with('@');
  const std::string list = from_file ? read_file(text.substr(1)) : text;
  std::vector<int32_t> ids;
  constexpr std::string_view kSeparators = ", \t\r\n";
  for (size_t i = list.find_first_not_of(kSeparators); i < list.size(); i = list.find_first_not_of(kSeparators, i)) {
    const size_t end = std::min(list.find_first_of(kSeparators, i), list.size());
    const std::string_view word = std::string_view(list).substr(i, end - i);
    int32_t id = 0;
    const auto [last, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || last != word.data() + word.size() || id < 0)
      fail(from_file ? ErrorKind::invalid : ErrorKind::usage, "--token-ids: \"{}\" is no token id", printable(word));
    ids.push_back(id);
    i = end;
  }
  return ids;
}

void add_output_format(CLI::App& command, bool& json) {
  const std::map<std::string, bool> formats{{"text", false}, {"json", true}};
  command.add_option("--output", json, "format of the result (text)")
      ->transform(CLI::CheckedTransformer(formats).description(""))
      ->type_name("text|json");
}

}  // namespace qwill::cli
