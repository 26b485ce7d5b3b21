#include "cli/options.h"

#include <algorithm>

#include "base/error.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "text/chat_template.h"

namespace qwill::cli {
namespace {

// A device that exists somewhere: whether this build has it is said when it is opened.
std::string read_device(const std::string& name) {
  const std::string_view index = name.starts_with("cuda:") ? std::string_view(name).substr(5) : "0";
  const bool known = name == "auto" || name == "cpu" || name == "cuda" || name.starts_with("cuda:");
  const auto number = parse_number<int>(index);
  if (!known || !number || *number < 0)
    throw CLI::ValidationError("--device", fmt::format("\"{}\" is not one of auto, cpu, cuda, cuda:N", name));
  return name;
}

DTypeChoice read_dtype(const std::string& name) {
  if (name == "auto") return DTypeChoice::automatic;
  if (name == "f32") return DTypeChoice::f32;
  if (name == "bf16") return DTypeChoice::bf16;
  if (name == "fp8") return DTypeChoice::fp8;
  if (name == "int8") return DTypeChoice::int8;
  if (name == "int4") return DTypeChoice::int4;
  throw CLI::ValidationError("--dtype", fmt::format("\"{}\" is not one of auto, f32, bf16, fp8, int8, int4", name));
}

// "80GB", "1.5GiB", "500000": bytes, with a decimal or a binary unit.
int64_t read_bytes(const std::string& flag, const std::string& text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {{"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30},
                                                            {"TiB", 0x1p40}, {"KB", 1e3},     {"MB", 1e6},
                                                            {"GB", 1e9},     {"TB", 1e12},    {"B", 1}};
  std::string_view number = text;
  double unit = 1;
  for (const auto& [name, bytes] : kUnits) {
    if (!number.ends_with(name)) continue;
    number.remove_suffix(name.size());
    unit = bytes;
    break;
  }
  const std::optional<double> value = parse_number<double>(number);
  constexpr double kMost = 1e15;
  if (!value || !(*value * unit >= 1 && *value * unit <= kMost))
    throw CLI::ValidationError(
        flag,
        fmt::format("\"{}\" is no amount of memory: give a number and B, KB, MB, GB, TB, KiB, MiB, GiB or TiB", text));
  return static_cast<int64_t>(*value * unit);
}

}  // namespace

void add_model(CLI::App& command, std::string& model) {
  command
      .add_option("MODEL", model,
                  "hub-format folder, GGUF file, or hub name, fetched if it is not in the local cache (default: the "
                  "built-in model)")
      ->type_name("");
}

ModelFolder find_model(const std::string& model) {
  fetch_if_absent(model, FetchWhen::no_snapshot);
  return ModelFolder::find(model, hub_cache());
}

void add_llm_options(CLI::App& command, LlmOptions& options) {
  add_model(command, options.model);
  add_run_options(command, options);
}

void add_run_options(CLI::App& command, LlmOptions& options) {
  options.hub_cache = hub_cache();
  options.cancel = &interrupted();
  options.progress = loading_progress();
  const auto read = [](auto& target, auto parse) {
    return [&target, parse](const std::string& text) { target = parse(text); };
  };
  command
      .add_option_function<std::string>("--device", read(options.device, read_device),
                                        "where it runs (auto: a CUDA card where there is one)")
      ->type_name("auto|cpu|cuda[:I]");
  command
      .add_option_function<std::string>(
          "--dtype", read(options.dtype, read_dtype),
          "precision of matrix products (auto: bf16 for bf16 files, else f32; fp8: on Hopper cards; int8: on the "
          "CPU; int4: weights of four bits)")
      ->type_name("auto|f32|bf16|fp8|int8|int4");
  add_choice<KvDTypeChoice>(
      command, "--kv-dtype", options.kv_dtype,
      {{"auto", KvDTypeChoice::automatic},
       {"f32", KvDTypeChoice::f32},
       {"f16", KvDTypeChoice::f16},
       {"bf16", KvDTypeChoice::bf16},
       {"fp8", KvDTypeChoice::fp8},
       {"int8", KvDTypeChoice::int8}},
      "of cached keys and values (auto: f32 with f32 weights, else f16, on a card bf16; f16 and int8: on the CPU; fp8: "
      "on a card)");
  add_number(command, "--threads", options.num_threads, 1, 1024,
             "threads (default: one per core); the result does not depend on it");
  command
      .add_option("--cpu-path", options.cpu_path,
                  "avx2, avx512, avx512-bf16, amx or neon (default: auto, the best here)")
      ->type_name("NAME");
  add_choice<bool>(command, "--cuda-path", options.cuda_portable, {{"hopper", false}, {"portable", true}},
                   "kernels for Hopper where it is one (default), or for any card; the result does not depend on it");
  add_number(command, "--max-seq-len", options.max_seq_len, int64_t{1}, int64_t{1} << 24,
             "tokens of prompt and answer together (default: the model's context)");
  add_number(command, "--chunk-size", options.chunk_size, int64_t{1}, int64_t{1} << 20,
             "prompt tokens of one step (512; on a card 2048)");
  const auto yarn = std::make_shared<bool>(false);
  const auto factor = std::make_shared<double>(4);
  auto* scaling = add_choice<bool>(command, "--rope-scaling", *yarn, {{"none", false}, {"yarn", true}},
                                   "context extension, instead of what config.json says");
  add_number(command, "--rope-factor", *factor, 1.0, 1024.0,
             "how many times the trained length --rope-scaling yarn reaches (4)")
      ->type_name("F")
      ->needs(scaling);
  add_choice<RopeWhen>(command, "--rope-when", options.rope_when,
                       {{"always", RopeWhen::always}, {"needed", RopeWhen::needed}},
                       "yarn for every sequence (default), or only for those beyond the trained length");
  auto* chat_template =
      command.add_option("--chat-template", options.chat_template,
                         "chat template, if the model's own is not known: " + ChatTemplate::known_names());
  chat_template->type_name("NAME");
  if (command.get_name() != "chat" && command.get_name() != "batch" && command.get_name() != "serve")
    chat_template->group("");  // accepted, but of no use: not in the help
  command.parse_complete_callback([&options, scaling, yarn, factor] {
    if (scaling->count() > 0) options.rope = RopeOverride{*yarn, *factor};
  });
}

void add_bytes(CLI::App& command, const std::string& flag, int64_t& bytes, const std::string& description) {
  command
      .add_option_function<std::string>(
          flag, [&bytes, flag](const std::string& text) { bytes = read_bytes(flag, text); }, description)
      ->type_name("N[GB|GiB|MB…]");
}

void add_batch_options(CLI::App& command, LlmOptions& options) {
  options.max_sequences = 0;
  add_number(command, "--max-seqs", options.max_sequences, int64_t{1}, int64_t{4096},
             "sequences that run at once; more wait (8; on a card 256, on a large one 1024)");
  add_bytes(command, "--memory", options.memory_bytes,
            "memory for weights, cache and everything else (default: what is free)");
  command.add_flag("--reserve", options.reserve,
                   "a sequence begins only when its longest length has room, so that none ever begins again");
}

std::vector<int32_t> parse_ids(std::string_view text, ErrorKind kind) {
  std::vector<int32_t> ids;
  constexpr std::string_view kSeparators = ", \t\r\n";
  for (size_t i = text.find_first_not_of(kSeparators); i < text.size(); i = text.find_first_not_of(kSeparators, i)) {
    const std::string_view word = text.substr(i, text.find_first_of(kSeparators, i) - i);
    const auto id = parse_number<int32_t>(word);
    if (!id) fail(kind, "\"{}\" at byte {} is no token id", printable(word), i);
    ids.push_back(*id);
    i += word.size();
  }
  return ids;
}

std::vector<int32_t> parse_token_ids(const std::string& text) {
  const bool from_file = text.starts_with('@');
  const ErrorKind kind = from_file ? ErrorKind::invalid : ErrorKind::usage;
  return with_context(from_file ? text.substr(1) : "--token-ids", [&] {
    std::vector<int32_t> ids = from_file ? parse_ids(read_file(text.substr(1)), kind) : parse_ids(text, kind);
    for (const int32_t id : ids)
      if (id < 0) fail(kind, "{} is no token id", id);
    return ids;
  });
}

void add_output_format(CLI::App& command, bool& json) {
  add_choice<bool>(command, "--output", json, {{"text", false}, {"json", true}}, "format of the result (text)");
}

}  // namespace qwill::cli
