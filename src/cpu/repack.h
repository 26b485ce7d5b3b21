// From weights as files hold them to panels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "cpu/kernels.h"
#include "ops/ops.h"

namespace qwill::cpu {

// Compute::int8 and int4 ask for so many bits; blocks that have as few keep theirs, exactly where panels can.
PanelFormat panels_for(const WeightSource& source, Compute compute);

// One stored row as f32.
void read_stored_row(const WeightSource& source, int64_t row, float* out);

// Rows [32 panel, 32 panel + 32) of the source, rounded where they must be, to panel_bytes bytes of zeros.
void repack_panel(const Kernels& kernels, const WeightSource& source, PanelFormat format, int64_t panel, std::byte* to);

}  // namespace qwill::cpu
