#include "weights/checkpoint.h"

#include <algorithm>

#include "base/error.h"
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

[[noreturn]] void fail_dtype(std::string_view where, std::string_view dtype) {
  fail_unsupported("{}: dtype {} is not supported, only BF16, F16 and F32 are", where, dtype);
}

}  // namespace

Checkpoint Checkpoint::open(const ModelFolder& folder) {
  Checkpoint out;
  out.name_ = folder.name();
  const Json config = folder.open_json("config.json");
  out.config_ = with_context(folder.name_of("config.json"), [&] { return ModelConfig::from_json(config); });
  if (folder.open_if_present("generation_config.json")) {
    const Json generation = folder.open_json("generation_config.json");
    out.generation_config_ =
        with_context(folder.name_of("generation_config.json"), [&] { return GenerationConfig::from_json(generation); });
  } else {
    out.generation_config_.eos_token_ids = out.config_.eos_token_ids;  // as the reference then does
  }
  out.open_files(folder);
  for_each_expected_tensor(out.config_, [&](const ExpectedTensor& e) { out.tensor(e.name, e.shape); });
  return out;
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
    const SafetensorsFile& named = files_[file_idx];
    if (named.find(tensor) || named.unsupported().contains(tensor)) continue;
    const auto other = tensors_.find(tensor);
    const std::string found = other == tensors_.end() ? "" : fmt::format("in {}, ", other->second.file->file().name());
    fail_invalid("{}: weight_map: {}: {}not in {}", where, printable(tensor, 200), found, index.files[file_idx]);
  }
}

void Checkpoint::index_tensors() {
  size_t count = 0;
  for (const SafetensorsFile& file : files_) count += file.tensors().size();
  tensors_.reserve(count);
  for (const SafetensorsFile& file : files_) {
    for (const auto& [name, tensor] : file.tensors()) {
      const auto [found, is_new] = tensors_.emplace(name, Found{&tensor, &file});
      if (!is_new)
        fail_invalid("{}: {}: also in {}", file.file().name(), printable(name, 200), found->second.file->file().name());
    }
  }
}

void Checkpoint::fail_missing(std::string_view name) const {
  for (const SafetensorsFile& file : files_)
    if (const auto found = file.unsupported().find(name); found != file.unsupported().end())
      fail_dtype(fmt::format("{}: {}", file.file().name(), printable(name, 200)), found->second);
  const size_t experts = name.find(".mlp.experts.");
  if (experts != std::string_view::npos && has(fmt::format("{}.mlp.experts.down_proj", name.substr(0, experts))))
    fail_unsupported("{}: {}: experts stored as one tensor are not supported: save one tensor for each expert", name_,
                     printable(name, 200));
  fail_invalid("{}: {}: missing{}", files_.size() == 1 ? files_[0].file().name() : name_, printable(name, 200),
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
  const auto where = [&f = *file, name] { return fmt::format("{}: {}", f.file().name(), printable(name, 200)); };
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end()))
    fail_invalid("{}: expected {}, found {}", where(), shape_text(shape), shape_text(tensor->shape));
  if (!is_float(tensor->dtype)) fail_dtype(where(), safetensors_dtype_name(tensor->dtype));
  return *tensor;
}

int64_t Checkpoint::total_bytes() const {
  int64_t bytes = 0;
  for (const SafetensorsFile& file : files_)
    for (const auto& [name, tensor] : file.tensors()) bytes += static_cast<int64_t>(tensor.bytes.size());
  return bytes;
}

}  // namespace qwill
