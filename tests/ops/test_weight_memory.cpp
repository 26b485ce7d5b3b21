// Memory of repacked weights: zeros that nobody else has, and none of it once it is gone.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/weight_memory.h"

namespace qwill::cpu {
namespace {

int64_t page_bytes() { return ::sysconf(_SC_PAGESIZE); }

TEST(WeightMemory, ZerosOfItsOwn) {
  std::vector<WeightMemory> all;
  const std::vector<int64_t> sizes = {1, 4096, 5000, 3 << 20, 200 << 20, 100 << 20, 300 << 20, 7};
  for (size_t i = 0; i < sizes.size(); ++i) {
    all.emplace_back(sizes[i]);
    std::byte* data = all.back().data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(page_bytes()), 0u);
    for (const int64_t at : {int64_t{0}, sizes[i] / 2, sizes[i] - 1}) EXPECT_EQ(data[at], std::byte{0}) << sizes[i];
    data[0] = data[sizes[i] / 2] = data[sizes[i] - 1] = static_cast<std::byte>(i + 1);
  }
  all.erase(all.begin() + 2, all.begin() + 4);
  all.emplace_back(5000);  // in no place that was used
  EXPECT_EQ(all.back().data()[0], std::byte{0});
  const std::vector<size_t> left = {0, 1, 4, 5, 6, 7};
  for (size_t k = 0; k < left.size(); ++k)
    for (const int64_t at : {int64_t{0}, sizes[left[k]] / 2, sizes[left[k]] - 1})
      EXPECT_EQ(all[k].data()[at], static_cast<std::byte>(left[k] + 1)) << sizes[left[k]];
}

TEST(WeightMemory, PagesOfWhatIsGoneGoBack) {
  constexpr int64_t kBytes = 8 << 20;
  const WeightMemory beside(4096);
  auto gone = std::make_unique<WeightMemory>(kBytes);
  std::byte* data = gone->data();
  std::memset(data, 1, kBytes);
  const auto resident = [&] {
    std::vector<unsigned char> pages(static_cast<size_t>(kBytes / page_bytes()));
    EXPECT_EQ(::mincore(data, kBytes, pages.data()), 0);
    return std::ranges::count_if(pages, [](unsigned char page) { return (page & 1) != 0; });
  };
  EXPECT_EQ(resident(), kBytes / page_bytes());
  gone.reset();
  EXPECT_EQ(resident(), 0);
}

TEST(WeightMemory, NothingIsNowhere) {
  EXPECT_EQ(WeightMemory(0).data(), nullptr);
  EXPECT_EQ(WeightMemory().data(), nullptr);
}

}  // namespace
}  // namespace qwill::cpu
