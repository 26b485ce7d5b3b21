#include "base/cpu_features.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace qwill {
namespace {

#if defined(__x86_64__)
struct Leaf {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

// The register states that the operating system saves (XCR0).
uint64_t saved_states() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t{high} << 32) | low;
}

bool bit(unsigned word, int index) { return (word >> index) & 1u; }

CpuFeatures detect() {
  CpuFeatures f;
  const Leaf one = cpuid(1, 0), seven = cpuid(7, 0), seven_one = cpuid(7, 1);
  if (!bit(one.c, 27)) return f;  // OSXSAVE
  const uint64_t states = saved_states();
  const bool ymm = (states & 0x6) == 0x6, zmm = (states & 0xe6) == 0xe6, tiles = (states & 0x60000) == 0x60000;
  const unsigned vendor = cpuid(0, 0).b;
  f.follows_streams = vendor == 0x68747541 || vendor == 0x6f677948;  // "Auth"enticAMD, "Hygo"nGenuine
  f.avx2 = ymm && bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29) && bit(seven.b, 8);
  f.avx512 = f.avx2 && zmm && bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31);
  f.avx_vnni = f.avx2 && bit(seven_one.a, 4);
  f.avx512_vnni = f.avx512 && bit(seven.c, 11);
  f.avx512_bf16 = f.avx512_vnni && bit(seven.c, 1) && bit(seven_one.a, 5);
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  f.amx = f.avx512_bf16 && tiles && bit(seven.d, 22) && bit(seven.d, 24) && bit(seven.d, 25) &&
          ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return f;
}
#elif defined(__aarch64__)
CpuFeatures detect() {
  CpuFeatures f;
  f.dotprod = (::getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
  return f;
}
#endif

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

namespace {

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
      if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  if (cpus.empty())  // more processors than a set of this size has room for
    for (int cpu = 0; cpu < std::max(1, static_cast<int>(std::thread::hardware_concurrency())); ++cpu)
      cpus.push_back(cpu);
  return cpus;
}

// At most what the control group's quota pays for.
int within_quota(int count) {
  // cgroup v2: "max 100000" or "200000 100000" (quota and period in microseconds).
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    const double cpus = std::strtod(quota.c_str(), nullptr) / period;
    if (cpus > 0) count = std::clamp(static_cast<int>(std::ceil(cpus)), 1, count);
  }
  return count;
}

}  // namespace

int count_cores(std::span<const int> cpus, const std::filesystem::path& processors) {
  std::set<std::string> cores;  // each by its list of threads
  for (const int cpu : cpus) {
    std::ifstream file(processors / ("cpu" + std::to_string(cpu)) / "topology/thread_siblings_list");
    std::string siblings;
    if (!(file >> siblings)) siblings = std::to_string(cpu);  // nothing is known of it
    cores.insert(siblings);
  }
  return static_cast<int>(cores.size());
}

int available_cores() { return within_quota(count_cores(allowed_cpus(), "/sys/devices/system/cpu")); }

int available_cpus() { return within_quota(static_cast<int>(allowed_cpus().size())); }

}  // namespace qwill
