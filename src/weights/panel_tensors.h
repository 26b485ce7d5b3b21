// Checkpoints that `qwill quantize` made: the hub's folder, but matrices are stored as the CPU's panels
// (tensor/panels.h), bytes in dtype U8 and shape [panels, bytes of one], under their usual names. config.json says so:
//     "quantization_config": {"quant_method": "qwill", "dtype": "int8" or "int4", "format": 2}
// Format 1 had no int6: those matrices were int8. It is read as well.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tensor/panels.h"
#include "weights/model_config.h"
#include "weights/tensor_file.h"

namespace qwill {

constexpr std::string_view kQuantMethod = "qwill";
// Raised whenever panels that are stored change.
constexpr int64_t kPanelsFormat = 2;

// The shape of a [rows, cols] matrix as panels.
std::vector<int64_t> stored_panels_shape(PanelFormat format, int64_t rows, int64_t cols);

// Gives those matrices that the files hold as panels their own shape and format. Throws Error(invalid) naming file and
// tensor where the bytes are no panels of it.
void take_panels(std::vector<TensorFile>& files, const ModelConfig& config);

}  // namespace qwill
