// Which kernels run: the best this machine has, or the one that was asked for.
#pragma once

#include <span>
#include <string_view>

#include "cpu/kernels.h"

namespace qwill::cpu {

// The tables that this machine can run, best first; never empty.
std::span<const Kernels* const> available_kernels();

// By name ("avx2", "avx2-vnni", "avx512", "avx512-vnni", "avx512-bf16", "amx", "neon", "neon-dotprod"), or the best for
// "" and "auto". Throws Error(unsupported)
// that lists what this machine has.
const Kernels& select_kernels(std::string_view name);

}  // namespace qwill::cpu
