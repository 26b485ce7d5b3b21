// What is brought into memory ahead of use, and what is left where it lies.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "support/test_paths.h"
#include "weights/checkpoint.h"
#include "weights/safetensors.h"
#include "weights/safetensors_writer.h"
#include "weights/tiny_checkpoint.h"
#include "weights/warm_up.h"

namespace qwill::test {
namespace {

// Whether the page of that address is mapped now: the highest bit of its entry.
bool is_present(const std::byte* address) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  uint64_t entry = 0;
  const auto page = reinterpret_cast<uintptr_t>(address) / static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  EXPECT_EQ(::pread(pagemap, &entry, 8, static_cast<off_t>(page * 8)), 8);
  ::close(pagemap);
  return entry >> 63 != 0;
}

TEST(WarmUp, BringsInAllButWhatIsRare) {
  TemporaryFolder folder;
  const std::string path = folder.path("w.safetensors");
  constexpr int64_t kBytes = 12 << 20;
  const std::vector<std::byte> zeros(kBytes);
  std::vector<TensorToStore> tensors;
  for (const char* name : {"a", "b", "c"}) tensors.push_back({name, DType::u8, {kBytes}, zeros});
  write_safetensors(path, tensors, {});
  for (const char* rare : {"", "a", "b", "c"}) {
    std::vector<TensorFile> files;
    files.push_back(SafetensorsFile::parse(MappedFile::open(path)));
    const TensorFile::Tensors& found = files[0].tensors();
    const auto middle = [&](const char* name) { return found.at(name).bytes.data() + kBytes / 2; };
    for (const char* name : {"a", "b", "c"}) EXPECT_FALSE(is_present(middle(name))) << name;
    int64_t done = 0, total = 0;
    warm_up(
        files, *rare ? found.at(rare).bytes : std::span<const std::byte>(), 2,
        [&](int64_t now, int64_t of) { done = now, total = of; }, nullptr);
    for (const char* name : {"a", "b", "c"})
      EXPECT_EQ(is_present(middle(name)), std::strcmp(name, rare) != 0) << name << " where rare is " << rare;
    EXPECT_EQ(done, total);
    EXPECT_LE(total, *rare ? 2 * kBytes + (5 << 20) : 3 * kBytes + (1 << 20));
    EXPECT_GE(total, *rare ? 2 * kBytes : 3 * kBytes);
  }
}

TEST(WarmUp, OnlyAnEmbeddingOfItsOwnIsRare) {
  const auto rare = [](const char* path) {
    return Checkpoint::open(ModelFolder::find(source_path(path), "")).rare_bytes().size();
  };
  EXPECT_EQ(rare("models/nib"), 0u);
  const ModelConfig config =
      Checkpoint::open(ModelFolder::find(source_path("tests/data/checkpoints/d128"), "")).config();
  EXPECT_EQ(rare("tests/data/checkpoints/d128"), static_cast<size_t>(config.vocab_size * config.hidden_size * 2));
}

}  // namespace
}  // namespace qwill::test
