#include "weights/panel_tensors.h"

#include <fmt/format.h>

#include "base/error.h"
#include "weights/checkpoint.h"

namespace qwill {
namespace {

void take_panels_of(StoredTensor& tensor, const ExpectedTensor& matrix) {
  const int64_t rows = matrix.shape[0], cols = matrix.shape[1];
  for (const BlockFormat blocks : {BlockFormat::panels_int8, BlockFormat::panels_int6, BlockFormat::panels_int4}) {
    if (tensor.shape != stored_panels_shape(*stored_panels(blocks), rows, cols)) continue;
    tensor.shape = matrix.shape;
    tensor.format = blocks;
    return;
  }
  fail_invalid("expected panels of [{}, {}], U8 [{}] for int8, [{}] for int6 or [{}] for int4, found [{}]", rows, cols,
               fmt::join(stored_panels_shape(PanelFormat::int8, rows, cols), ", "),
               fmt::join(stored_panels_shape(PanelFormat::int6, rows, cols), ", "),
               fmt::join(stored_panels_shape(PanelFormat::int4, rows, cols), ", "), fmt::join(tensor.shape, ", "));
}

}  // namespace

std::vector<int64_t> stored_panels_shape(PanelFormat format, int64_t rows, int64_t cols) {
  return {(rows + kPanelRows - 1) / kPanelRows, panel_bytes(format, cols)};
}

void take_panels(std::vector<TensorFile>& files, const ModelConfig& config) {
  std::vector<TensorFile::Tensors> tensors;
  for (const TensorFile& file : files) tensors.push_back(file.tensors());
  for_each_expected_tensor(config, [&](const ExpectedTensor& expected) {
    if (expected.shape.size() != 2) return;
    for (size_t i = 0; i < files.size(); ++i) {
      const auto found = tensors[i].find(expected.name);
      if (found == tensors[i].end() || found->second.dtype != DType::u8) continue;
      with_context(files[i].file().name(), [&] {
        with_context(printable(expected.name, 200), [&] { take_panels_of(found->second, expected); });
      });
    }
  });
  for (size_t i = 0; i < files.size(); ++i) files[i] = std::move(files[i]).renamed(std::move(tensors[i]));
}

}  // namespace qwill
