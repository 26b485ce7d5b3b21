#include "weights/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "tensor/panels.h"
#include "weights/gguf_config.h"
#include "weights/gguf_tensors.h"
#include "weights/panel_tensors.h"
#include "weights/safetensors.h"
#include "weights/shard_index.h"

namespace qwill {
namespace {

constexpr std::string_view kBodyPrefix = "model.";
constexpr std::string_view kEmbedding = "model.embed_tokens.weight";
constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

std::string shape_text(std::span<const int64_t> shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool is_float(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16; }

constexpr std::string_view kBlockTypes = "Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K to Q6_K, IQ4_NL and IQ4_XS";

}  // namespace

Checkpoint Checkpoint::open(const ModelFolder& folder) {
  Checkpoint out;
  out.name_ = folder.name();
  if (folder.gguf().empty())
    out.open_hub_model(folder);
  else
    out.open_gguf_model(folder);
  for_each_expected_tensor(out.config_, [&](const ExpectedTensor& e) { out.tensor(e.name, e.shape); });
  return out;
}

void Checkpoint::open_gguf_model(const ModelFolder& folder) {
  is_gguf_ = true;
  std::vector<GgufFile> shards = open_gguf(folder.gguf());
  config_ = read_gguf_config(shards);
  generation_config_ = read_gguf_generation_config(shards[0]);
  files_ = with_hub_names(std::move(shards), config_);
  index_tensors();
}

void Checkpoint::open_hub_model(const ModelFolder& folder) {
  const Json config = folder.open_json("config.json");
  config_ = with_context(folder.name_of("config.json"), [&] { return ModelConfig::from_json(config); });
  if (folder.open_if_present("generation_config.json")) {
    const Json generation = folder.open_json("generation_config.json");
    generation_config_ =
        with_context(folder.name_of("generation_config.json"), [&] { return GenerationConfig::from_json(generation); });
  } else {
    generation_config_.eos_token_ids = config_.eos_token_ids;  // as the reference then does
  }
  open_files(folder);
}

void Checkpoint::open_files(const ModelFolder& folder) {
  if (std::optional<MappedFile> single = folder.open_if_present(kSingleFile)) {
    files_.push_back(SafetensorsFile::parse(std::move(*single)));
    index_tensors();
  } else if (folder.open_if_present(kIndexFile)) {
    open_shards(folder);
  } else {
    fail_invalid("{}: no {} and no {}: not a model folder, an unfinished download, or weights in another format",
                 folder.name(), kSingleFile, kIndexFile);
  }
}

void Checkpoint::open_shards(const ModelFolder& folder) {
  const Json json = folder.open_json(kIndexFile);
  const std::string where = folder.name_of(kIndexFile);
  const ShardIndex index = with_context(where, [&] { return ShardIndex::from_json(json); });
  for (const std::string& name : index.files) {
    std::optional<MappedFile> shard = folder.open_if_present(name);
    if (!shard) fail_invalid("{}: no {}, which {} names (an unfinished download?)", folder.name(), name, kIndexFile);
    files_.push_back(SafetensorsFile::parse(std::move(*shard)));
  }
  index_tensors();

  for (const auto& [tensor, file_idx] : index.tensors) {
    const TensorFile& named = files_[file_idx];
    if (named.find(tensor) || named.unsupported().contains(tensor)) continue;
    const auto other = tensors_.find(tensor);
    const std::string found = other == tensors_.end() ? "" : fmt::format("in {}, ", other->second.file->file().name());
    fail_invalid("{}: weight_map: {}: {}not in {}", where, printable(tensor, 200), found, index.files[file_idx]);
  }
}

void Checkpoint::index_tensors() {
  if (config_.in_panels) take_panels(files_, config_);
  size_t count = 0;
  for (const TensorFile& file : files_) count += file.tensors().size();
  tensors_.reserve(count);
  for (const TensorFile& file : files_) {
    for (const auto& [name, tensor] : file.tensors()) {
      const auto [found, is_new] = tensors_.emplace(name, Found{&tensor, &file});
      if (!is_new)
        fail_invalid("{}: {}: also in {}", file.file().name(), printable(name, 200), found->second.file->file().name());
    }
  }
}

std::string Checkpoint::stored_name(std::string_view name) const {
  return printable(is_gguf_ ? gguf_place(name).name : name, 200);
}

void Checkpoint::fail_type(const TensorFile& file, std::string_view name, std::string_view type) const {
  fail_unsupported("{}: {}: {} {} is not supported, only BF16, F16 and F32 are{}{}", file.file().name(),
                   stored_name(name), is_gguf_ ? "type" : "dtype", type, is_gguf_ ? ", and of matrices " : "",
                   is_gguf_ ? kBlockTypes : "");
}

void Checkpoint::fail_missing(std::string_view name) const {
  const std::string stored = is_gguf_ ? gguf_place(name).name : std::string(name);
  for (const TensorFile& file : files_)
    if (const auto found = file.unsupported().find(stored); found != file.unsupported().end())
      fail_type(file, name, found->second);
  const size_t experts = name.find(".mlp.experts.");
  if (experts != std::string_view::npos && has(fmt::format("{}.mlp.experts.down_proj", name.substr(0, experts))))
    fail_unsupported("{}: {}: experts stored as one tensor are not supported: save one tensor for each expert", name_,
                     printable(name, 200));
  fail_invalid("{}: {}: missing{}", files_.size() == 1 ? files_[0].file().name() : name_, printable(stored, 200),
               name == kHead ? ", and config.json does not tie the head to the embedding (tie_word_embeddings): an "
                               "embedding model, or an incomplete checkpoint"
                             : "");
}

const Checkpoint::Found* Checkpoint::locate(std::string_view name) const {
  auto found = tensors_.find(name);
  if (found == tensors_.end() && name.starts_with(kBodyPrefix)) found = tensors_.find(name.substr(kBodyPrefix.size()));
  if (found == tensors_.end() && name == kEmbedding && config_.tie_word_embeddings) found = tensors_.find(kHead);
  return found == tensors_.end() ? nullptr : &found->second;
}

const StoredTensor& Checkpoint::tensor(std::string_view name, std::span<const int64_t> shape) const {
  const Found* found = locate(name);
  if (!found) fail_missing(name);
  const auto& [tensor, file] = *found;
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end()))
    fail_invalid("{}: {}: expected {}, found {}", file->file().name(), stored_name(name), shape_text(shape),
                 shape_text(tensor->shape));
  const bool blocks = tensor->format != BlockFormat::none;
  if (blocks && shape.size() < 2) fail_type(*file, name, block_format_name(tensor->format));
  if (!blocks && !is_float(tensor->dtype)) fail_type(*file, name, safetensors_dtype_name(tensor->dtype));
  return *tensor;
}

std::span<const std::byte> Checkpoint::rare_bytes() const {
  const Found* embedding = config_.tie_word_embeddings ? nullptr : locate(kEmbedding);
  return embedding ? embedding->tensor->bytes : std::span<const std::byte>();
}

std::string_view Checkpoint::panels() const {
  for (const TensorFile& file : files_)
    for (const auto& [name, tensor] : file.tensors())
      if (stored_panels(tensor.format)) return tensor.type_name();
  return {};
}

int64_t Checkpoint::total_bytes() const {
  int64_t bytes = 0;
  for (const TensorFile& file : files_)
    for (const auto& [name, tensor] : file.tensors()) bytes += static_cast<int64_t>(tensor.bytes.size());
  return bytes;
}

}  // namespace qwill
