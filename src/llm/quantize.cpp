#include "llm/quantize.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/thread_pool.h"
#include "cpu/cpu_ops.h"
#include "cpu/dispatch.h"
#include "cpu/repack.h"
#include "llm/new_folder.h"
#include "model/tensor_source.h"
#include "weights/checkpoint.h"
#include "weights/panel_tensors.h"
#include "weights/safetensors_writer.h"

namespace qwill {
namespace {

// What the hub's folders hold beside config.json and weights, of which anything that runs the model reads some.
constexpr std::string_view kTextFiles[] = {
    "generation_config.json",  "tokenizer.json",    "tokenizer_config.json", "vocab.json",         "merges.txt",
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",   "chat_template.json", "LICENSE"};

// Files are mapped at multiples of this.
constexpr int64_t kPage = 4096;
constexpr int64_t kPieceBytes = 32 << 20;  // that are made, then written, at a time

struct Plan {
  std::string name;
  WeightSource source;
  std::optional<PanelFormat> panels;  // nothing: stays as it is
  TensorHeader stored;
};

// As Qwen3 places them: matrices of layers and the head; an embedding of its own, which nothing is multiplied with,
// router and norms stay.
std::optional<PanelFormat> panels_of(const ExpectedTensor& tensor, const ModelConfig& config,
                                     const WeightSource& source, DTypeChoice dtype) {
  const auto compute = dtype == DTypeChoice::int8 ? Compute::int8 : Compute::int4;
  if (tensor.name == head_name(config) || tensor.is_layer_matrix()) return cpu::panels_for(source, compute);
  return std::nullopt;
}

// Panels first: whatever comes behind them needs no alignment.
std::vector<Plan> plan_tensors(const Checkpoint& checkpoint, const CheckpointTensors& tensors, DTypeChoice dtype) {
  std::vector<Plan> plans;
  for (const ExpectedTensor& tensor : expected_tensors(checkpoint.config())) {
    const bool vector = tensor.shape.size() == 1;
    const WeightSource source = tensors.get(tensor.name, vector ? 1 : tensor.shape[0], tensor.shape.back());
    Plan plan{tensor.name, source, panels_of(tensor, checkpoint.config(), source, dtype), {}};
    plan.stored = {tensor.name, source.dtype, tensor.shape};
    if (plan.panels)
      plan.stored = {tensor.name, DType::u8, stored_panels_shape(*plan.panels, source.rows, source.cols)};
    plans.push_back(std::move(plan));
  }
  std::stable_partition(plans.begin(), plans.end(), [](const Plan& plan) { return plan.panels.has_value(); });
  return plans;
}

std::vector<std::vector<Plan>> split_into_files(std::vector<Plan> plans, int64_t max_bytes) {
  std::vector<std::vector<Plan>> files(1);
  int64_t bytes = 0;
  for (Plan& plan : plans) {
    if (!files.back().empty() && bytes + plan.stored.bytes() > max_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    bytes += plan.stored.bytes();
    files.back().push_back(std::move(plan));
  }
  return files;
}

// Makes and writes one tensor after another.
class Quantizer {
 public:
  Quantizer(const QuantizeOptions& options, const CheckpointTensors& tensors, int64_t total_bytes)
      : options_(options),
        kernels_(cpu::select_kernels(options.cpu_path)),
        pool_(num_threads({.num_threads = options.num_threads})),
        tensors_(tensors),
        total_bytes_(total_bytes) {}

  // False if it was cancelled.
  bool write(const Plan& plan, SafetensorsWriter& to) {
    const int64_t row_bytes = source_bytes(plan.source) / plan.source.rows;
    const int64_t step = plan.panels ? panel_bytes(*plan.panels, plan.source.cols) : row_bytes * kPanelRows;
    const int64_t panels_at_once = std::max<int64_t>(1, kPieceBytes / step);
    const int64_t num_panels = (plan.source.rows + kPanelRows - 1) / kPanelRows;
    for (int64_t first = 0; first < num_panels; first += panels_at_once) {
      if (options_.cancel && options_.cancel->load()) return false;
      const int64_t count = std::min(panels_at_once, num_panels - first);
      const int64_t first_row = first * kPanelRows,
                    num_rows = std::min(count * kPanelRows, plan.source.rows - first_row);
      if (plan.panels)
        to.write(make_panels(plan, first, count));
      else
        to.write({static_cast<const std::byte*>(plan.source.data) + first_row * row_bytes,
                  static_cast<size_t>(num_rows * row_bytes)});
      done_bytes_ += num_rows * row_bytes;
      if (options_.progress) options_.progress(done_bytes_, total_bytes_);
    }
    tensors_.release(plan.source);
    return true;
  }

 private:
  std::span<const std::byte> make_panels(const Plan& plan, int64_t first, int64_t count) {
    const int64_t bytes = panel_bytes(*plan.panels, plan.source.cols);
    piece_.assign(static_cast<size_t>(count * bytes), std::byte{0});
    pool_.run(count, [&](int64_t i) {
      cpu::repack_panel(kernels_, plan.source, *plan.panels, first + i, piece_.data() + i * bytes);
    });
    return piece_;
  }

  const QuantizeOptions& options_;
  const cpu::Kernels& kernels_;
  ThreadPool pool_;
  const CheckpointTensors& tensors_;
  int64_t total_bytes_, done_bytes_ = 0;
  std::vector<std::byte> piece_;
};

Json quantized_config(const ModelFolder& model, DTypeChoice dtype) {
  Json config = model.open_json("config.json");
  Json quantization = Json::object();
  quantization.set("quant_method", kQuantMethod).set("dtype", dtype == DTypeChoice::int8 ? "int8" : "int4");
  quantization.set("format", kPanelsFormat);
  config.set("quantization_config", std::move(quantization));
  return config;
}

}  // namespace

bool quantize_model(const ModelFolder& model, const std::string& out, const QuantizeOptions& options) {
  if (!model.gguf().empty())
    fail_unsupported("{}: GGUF files are not quantised again: use it as it is, or the model's hub folder",
                     printable(model.gguf(), 4000));
  const Checkpoint checkpoint = Checkpoint::open(model);
  if (checkpoint.config().in_panels)
    fail_invalid("{}: is quantised already: quantise the model that it was made of", printable(model.name(), 4000));
  NewFolder folder(out);
  const CheckpointTensors tensors(checkpoint);
  std::vector<Plan> plans = plan_tensors(checkpoint, tensors, options.dtype);
  int64_t read_bytes = 0, stored_bytes = 0;
  for (const Plan& plan : plans) {
    read_bytes += source_bytes(plan.source);
    stored_bytes += plan.stored.bytes();
  }
  Quantizer quantizer(options, tensors, read_bytes);
  const std::vector<std::vector<Plan>> files = split_into_files(std::move(plans), options.max_file_bytes);
  std::vector<Json::Member> places;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string name =
        files.size() == 1 ? "model.safetensors" : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, files.size());
    std::vector<TensorHeader> headers;
    for (const Plan& plan : files[i]) {
      headers.push_back(plan.stored);
      places.emplace_back(plan.name, name);
    }
    SafetensorsWriter writer(folder.file(name), headers, {{"format", "pt"}}, kPage);
    for (const Plan& plan : files[i])
      if (!quantizer.write(plan, writer)) return false;
    writer.finish();
  }
  if (files.size() > 1) {
    Json index = Json::object(), metadata = Json::object();
    metadata.set("total_size", stored_bytes);
    index.set("metadata", std::move(metadata)).set("weight_map", Json::object(std::move(places)));
    folder.write("model.safetensors.index.json", index.dump() + "\n");
  }
  for (const std::string_view name : kTextFiles)
    if (const auto file = model.open_if_present(name)) folder.write(name, file->text());
  folder.write("config.json", quantized_config(model, options.dtype).dump_python() + "\n");
  folder.put_in_place();
  return true;
}

}  // namespace qwill
