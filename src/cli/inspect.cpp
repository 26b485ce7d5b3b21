// qwill inspect: what a model folder holds, without running it.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"
#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/text_files.h"
#include "text/chat_template.h"
#include "weights/checkpoint.h"

namespace qwill::cli {
namespace {

// One stored tensor, and whether the model reads it.
struct TensorRow {
  std::string_view name;
  const StoredTensor* tensor;
  const TensorFile* file;
  bool used;
};

struct Report {
  Checkpoint checkpoint;
  std::string folder;
  std::vector<TensorRow> tensors;  // those that the model reads, in the order of use, then the others
  std::string tokenizer;           // where it is; empty: none
  std::string chat_template;       // empty: none
};

std::vector<TensorRow> list_tensors(const Checkpoint& checkpoint) {
  std::unordered_map<const StoredTensor*, TensorRow> rows;
  for (const TensorFile& file : checkpoint.files())
    for (const auto& [name, tensor] : file.tensors()) rows.emplace(&tensor, TensorRow{name, &tensor, &file, false});
  std::vector<TensorRow> list;
  for_each_expected_tensor(checkpoint.config(), [&](const ExpectedTensor& expected) {
    TensorRow& row = rows.at(&checkpoint.tensor(expected.name, expected.shape));
    row.used = true;
    list.push_back(row);
  });
  for (const TensorFile& file : checkpoint.files())
    for (const auto& [name, tensor] : file.tensors())
      if (const TensorRow& row = rows.at(&tensor); !row.used) list.push_back(row);
  return list;
}

// The name of the chat template, "unknown" for one that no name is known for, "" for none.
std::string template_name(const ModelFolder& folder) {
  const std::optional<std::string> text = read_chat_template(folder, /*with_tools=*/false);
  if (!text) return "";
  try {
    return std::string(ChatTemplate::recognise(*text).name());
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::unsupported) throw;
    return "unknown";
  }
}

Report make_report(const ModelFolder& folder) {
  Report report{Checkpoint::open(folder),
                folder.name(),
                {},
                has_tokenizer(folder) ? std::string(tokenizer_place(folder)) : "",
                template_name(folder)};
  report.tensors = list_tensors(report.checkpoint);
  return report;
}

std::string file_name(const TensorFile& file) { return std::filesystem::path(file.file().name()).filename(); }

struct DTypeTotal {
  std::string_view dtype;
  int64_t tensors = 0, bytes = 0;
};

// Of the tensors that the model reads, the largest first.
std::vector<DTypeTotal> dtype_totals(const Report& report) {
  std::vector<DTypeTotal> totals;
  for (const TensorRow& row : report.tensors) {
    if (!row.used) continue;
    auto found =
        std::find_if(totals.begin(), totals.end(), [&](const auto& t) { return t.dtype == row.tensor->type_name(); });
    if (found == totals.end()) found = totals.insert(totals.end(), DTypeTotal{row.tensor->type_name()});
    found->tensors += 1;
    found->bytes += static_cast<int64_t>(row.tensor->bytes.size());
  }
  std::sort(totals.begin(), totals.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return totals;
}

Json json_list(const auto& values) {
  Json list = Json::array();
  for (const auto& value : values) list.push_back(Json(value));
  return list;
}

Json optional_json(const auto& value) { return value ? Json(*value) : Json(); }

Json yarn_json(const std::optional<YarnConfig>& yarn) {
  if (!yarn) return {};
  Json out = Json::object();
  out.set("factor", yarn->factor).set("original_max_position_embeddings", yarn->original_max_position_embeddings);
  out.set("attention_factor", yarn->attention_factor);
  out.set("beta_fast", yarn->beta_fast).set("beta_slow", yarn->beta_slow).set("truncate", yarn->truncate);
  return out;
}

Json config_json(const ModelConfig& config) {
  Json out = Json::object();
  out.set("model_type", config.moe ? "qwen3_moe" : "qwen3").set("hidden_size", config.hidden_size);
  out.set("num_hidden_layers", config.num_layers).set("num_attention_heads", config.num_heads);
  out.set("num_key_value_heads", config.num_kv_heads).set("head_dim", config.head_dim);
  out.set("intermediate_size", config.intermediate_size).set("vocab_size", config.vocab_size);
  out.set("max_position_embeddings", config.max_position_embeddings).set("rms_norm_eps", config.rms_norm_eps);
  out.set("rope_theta", config.rope_theta).set("yarn", yarn_json(config.yarn));
  out.set("tie_word_embeddings", config.tie_word_embeddings).set("dtype", config.dtype);
  if (config.moe) {
    out.set("num_experts", config.moe->num_experts).set("num_experts_per_tok", config.moe->num_experts_per_tok);
    out.set("moe_intermediate_size", config.moe->moe_intermediate_size);
    out.set("norm_topk_prob", config.moe->norm_topk_prob);
    out.set("decoder_sparse_step", config.moe->decoder_sparse_step);
    out.set("mlp_only_layers", json_list(config.moe->mlp_only_layers));
  }
  return out;
}

Json generation_json(const Report& report) {
  const GenerationConfig& generation = report.checkpoint.generation_config();
  Json out = Json::object();
  out.set("do_sample", generation.do_sample).set("temperature", optional_json(generation.temperature));
  out.set("top_k", optional_json(generation.top_k)).set("top_p", optional_json(generation.top_p));
  out.set("min_p", optional_json(generation.min_p));
  out.set("repetition_penalty", optional_json(generation.repetition_penalty));
  out.set("max_new_tokens", optional_json(generation.max_new_tokens))
      .set("eos_token_ids", json_list(report.checkpoint.generation_config().eos_token_ids));
  return out;
}

std::string print_json(const Report& report) {
  const ModelConfig& config = report.checkpoint.config();
  Json files = Json::array(), tensors = Json::array(), dtypes = Json::object();
  for (const TensorFile& file : report.checkpoint.files()) {
    Json entry = Json::object();
    entry.set("name", file_name(file)).set("bytes", static_cast<int64_t>(file.file().bytes().size()));
    files.push_back(std::move(entry));
  }
  for (const TensorRow& row : report.tensors) {
    Json entry = Json::object();
    entry.set("name", row.name).set("dtype", row.tensor->type_name()).set("shape", json_list(row.tensor->shape));
    entry.set("bytes", static_cast<int64_t>(row.tensor->bytes.size())).set("file", file_name(*row.file));
    entry.set("used", row.used);
    tensors.push_back(std::move(entry));
  }
  for (const DTypeTotal& total : dtype_totals(report)) {
    Json entry = Json::object();
    entry.set("tensors", total.tensors).set("bytes", total.bytes);
    dtypes.set(total.dtype, std::move(entry));
  }
  Json parameters = Json::object(), context = Json::object(), out = Json::object();
  parameters.set("total", config.num_parameters()).set("active", config.num_active_parameters());
  context.set("max_len", config.context_len()).set("trained_len", config.trained_len());
  context.set("kv_bytes_per_token", config.kv_elements_per_token() * dtype_bytes(DType::bf16));
  out.set("model", replace_invalid_utf8(report.folder))
      .set("files", std::move(files))
      .set("config", config_json(config));
  out.set("generation_config", generation_json(report)).set("parameters", std::move(parameters));
  out.set("dtypes", std::move(dtypes)).set("context", std::move(context));
  out.set("template", report.chat_template.empty() ? Json() : Json(report.chat_template));
  out.set("tokenizer", !report.tokenizer.empty()).set("warnings", json_list(config.warnings));
  out.set("tensors", std::move(tensors));
  return out.dump() + "\n";
}

// 1536 -> "1.54 kB": three digits, powers of ten.
std::string human(double value, std::string_view unit) {
  constexpr std::string_view kPrefixes[] = {"", "k", "M", "G", "T"};
  size_t prefix = 0;
  for (; value >= 999.5 && prefix + 1 < std::size(kPrefixes); ++prefix) value /= 1000;
  const int decimals = prefix == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}{}", value, decimals, kPrefixes[prefix], unit);
}

std::string human_bytes(int64_t bytes) { return human(static_cast<double>(bytes), "B"); }

// 8190735360 -> "8.19 billion".
std::string human_count(int64_t count) {
  const double value = static_cast<double>(count);
  if (value >= 999.5e6) return fmt::format("{:.2f} billion", value / 1e9);
  if (value >= 999.5e3) return fmt::format("{:.2f} million", value / 1e6);
  return fmt::format("{}", count);
}

std::string describe_shape(const ModelConfig& c) {
  std::string text = fmt::format("{} layers, hidden {}, {} query and {} key-value heads of {}", c.num_layers,
                                 c.hidden_size, c.num_heads, c.num_kv_heads, c.head_dim);
  int64_t dense = 0;
  for (int64_t i = 0; i < c.num_layers; ++i) dense += c.is_moe_layer(i) ? 0 : 1;
  if (c.moe)
    text += fmt::format(", {} of {} experts of {}", c.moe->num_experts_per_tok, c.moe->num_experts,
                        c.moe->moe_intermediate_size);
  if (dense == c.num_layers)
    text += fmt::format(", MLP {}", c.intermediate_size);
  else if (dense != 0)
    text += fmt::format(" ({} of the layers dense, MLP {})", dense, c.intermediate_size);
  return text + fmt::format(", vocabulary {}", c.vocab_size);
}

std::string describe_context(const ModelConfig& c) {
  if (!c.yarn) return fmt::format("{} tokens, rope theta {:.10g}", c.context_len(), c.rope_theta);
  return fmt::format("{} tokens: YaRN × {:.10g} over {} trained, attention factor {:.6g}, rope theta {:.10g}",
                     c.context_len(), c.yarn->factor, c.trained_len(), c.yarn->attention_factor, c.rope_theta);
}

std::string describe_head(const Report& report) {
  if (!report.checkpoint.config().tie_word_embeddings) return "its own matrix";
  const bool stored = std::any_of(report.tensors.begin(), report.tensors.end(),
                                  [](const TensorRow& row) { return !row.used && row.name == "lm_head.weight"; });
  return stored ? "tied to the embedding; the stored lm_head.weight is ignored" : "tied to the embedding";
}

std::string describe_sampling(const GenerationConfig& g) {
  if (!g.do_sample) return "greedy";
  std::string text;
  const auto add = [&](std::string_view name, const auto& value) {
    if (value) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, *value);
  };
  add("temperature", g.temperature);
  add("top-k", g.top_k);
  add("top-p", g.top_p);
  add("min-p", g.min_p);
  add("repetition penalty", g.repetition_penalty);
  return text.empty() ? "plain" : text;
}

std::string describe_weights(const Report& report) {
  std::string text;
  for (const DTypeTotal& total : dtype_totals(report))
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", human_bytes(total.bytes), total.dtype);
  const size_t files = report.checkpoint.files().size();
  return fmt::format("{} in {} file{}", text, files, files == 1 ? "" : "s");
}

// "model.layers.17.mlp.experts.3.up_proj.weight" -> "model.layers.*.mlp.experts.*.up_proj.weight".
std::string without_indices(std::string_view name) {
  std::string out;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string_view part = name.substr(begin, end - begin);
    const bool index = !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
    out += index ? "*" : printable(part, 100);
    if (end < name.size()) out += '.';
    begin = end + 1;
  }
  return out;
}

// One line for all tensors of one name (indices apart), dtype and shape.
std::string print_tensors(const Report& report) {
  struct Group {
    std::string name, kind;
    bool used;
    int64_t count = 0, bytes = 0;
  };
  std::vector<Group> groups;
  std::unordered_map<std::string, size_t> places;
  size_t widest = 0;
  for (const TensorRow& row : report.tensors) {
    const std::string name = without_indices(row.name);
    const std::string kind = fmt::format("{} [{}]", row.tensor->type_name(), fmt::join(row.tensor->shape, ", "));
    const auto [place, is_new] = places.emplace(fmt::format("{}\n{}\n{}", name, kind, row.used), groups.size());
    if (is_new) groups.push_back({name, kind, row.used});
    groups[place->second].count += 1;
    groups[place->second].bytes += static_cast<int64_t>(row.tensor->bytes.size());
    widest = std::max(widest, name.size());
  }
  std::string text;
  for (const Group& group : groups)
    text += fmt::format("  {:<{}}  {:>6} × {:<24} {:>9}{}\n", group.name, widest, group.count, group.kind,
                        human_bytes(group.bytes), group.used ? "" : "  not used");
  return text;
}

std::string print_text(const Report& report) {
  const ModelConfig& config = report.checkpoint.config();
  const std::vector<int32_t>& ends = report.checkpoint.generation_config().eos_token_ids;
  const int64_t kv_bytes = config.kv_elements_per_token() * dtype_bytes(DType::bf16);
  std::string parameters = human_count(config.num_parameters());
  if (config.moe) parameters += fmt::format(", {} active for a token", human_count(config.num_active_parameters()));
  const std::pair<std::string_view, std::string> lines[] = {
      {"architecture", fmt::format("Qwen3, {}", config.moe ? "mixture of experts" : "dense")},
      {"shape", describe_shape(config)},
      {"parameters", parameters},
      {"weights", describe_weights(report)},
      {"head", describe_head(report)},
      {"context", describe_context(config)},
      {"KV cache", fmt::format("{} for a token in bf16, {} for {} tokens", human_bytes(kv_bytes),
                               human_bytes(kv_bytes * config.context_len()), config.context_len())},
      {"sampling", describe_sampling(report.checkpoint.generation_config())},
      {"end tokens", ends.empty() ? "none" : fmt::format("{}", fmt::join(ends, ", "))},
      {"tokenizer", report.tokenizer.empty() ? "none: token ids only" : report.tokenizer},
      {"template", report.chat_template.empty() ? "none" : report.chat_template},
  };
  std::string text = printable(report.folder, std::string::npos) + "\n\n";
  for (const auto& [name, value] : lines) text += fmt::format("{:<14}{}\n", name, value);
  return text + "\n" + print_tensors(report);
}

struct Inspect {
  std::string model;
  bool json = false;

  void run() const {
    const Report report = make_report(find_model(model));
    for (const std::string& warning : report.checkpoint.config().warnings) warn(warning);
    write_stdout(json ? print_json(report) : print_text(report));
  }
};

}  // namespace

void add_inspect(CLI::App& app) {
  auto inspect = std::make_shared<Inspect>();
  CLI::App* command =
      app.add_subcommand("inspect", "Print what a model holds: configuration, tensors, dtypes, parameters, context.");
  add_model(*command, inspect->model);
  add_output_format(*command, inspect->json);
  command->footer(
      "Reads the headers alone, so it takes milliseconds for any size.\n\n"
      "  qwill inspect\n"
      "  qwill inspect Qwen/Qwen3-8B-Base\n"
      "  qwill inspect ./my-model --output json");
  command->callback([inspect] { inspect->run(); });
}

}  // namespace qwill::cli
