// What this processor and operating system allow.
#pragma once

#include <filesystem>
#include <span>

namespace qwill {

struct CpuFeatures {
  bool avx2 = false;         // with FMA, F16C and BMI2
  bool avx_vnni = false;     // VPDPBUSD over 256 bits, without AVX-512
  bool avx512 = false;       // F, BW, DQ, VL
  bool avx512_vnni = false;  // VPDPBUSD
  bool avx512_bf16 = false;  // VDPBF16PS, VBMI and the above
  bool amx = false;          // TDPBF16PS, TDPBSUD, and the kernel granted the tile state to this process
  bool dotprod = false;      // SDOT of AArch64
  // Cores look far enough ahead in what they read, however busy they are with it: those of AMD's Zen, as measured.
  bool follows_streams = false;
};

// Detected once; asks the kernel for the tile state where the processor has it.
const CpuFeatures& cpu_features();

// The cores that these processors are of, where `processors` is Linux's folder of them: two threads of a core count
// once.
int count_cores(std::span<const int> cpus, const std::filesystem::path& processors);

// Cores this process may run on, limited by its control group's quota; at least 1. More threads than that decode no
// faster, and slower where they share caches and wait for each other.
int available_cores();

// Processors this process may run on, limited by its control group's quota; at least 1.
int available_cpus();

}  // namespace qwill
