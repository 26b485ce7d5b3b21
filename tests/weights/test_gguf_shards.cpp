// GGUF models in several files, and the folders that hold them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "base/error.h"
#include "weights/tiny_gguf.h"

namespace qwill::test {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

TEST(GgufShards, AnyOfThemOpensAll) {
  TemporaryFolder folder;
  write_gguf_shards(folder, tiny_gguf(gguf_moe_config()), 3);
  for (const std::string& path :
       {folder.path(gguf_shard_name(0, 3)), folder.path(gguf_shard_name(2, 3)), folder.path()}) {
    Checkpoint opened = open_gguf_model(path);
    const Checkpoint checkpoint = std::move(opened);  // look-ups must survive a move
    EXPECT_EQ(checkpoint.files().size(), 3u);
    for (const OwnedTensor& tensor : tiny_tensors(gguf_moe_config(), DType::bf16))
      EXPECT_TRUE(std::ranges::equal(checkpoint.tensor(tensor.name, tensor.shape).bytes, tensor.bytes)) << tensor.name;
  }
}

TEST(GgufShards, OneLineForEachDamage) {
  const auto error_with = [](const std::function<void(const TemporaryFolder&)>& damage, int opened = 0) {
    TemporaryFolder folder;
    write_gguf_shards(folder, tiny_gguf(gguf_dense_config()), 3);
    damage(folder);
    return error_of([&] { open_gguf_model(folder.path(gguf_shard_name(opened, 3))); });
  };
  const std::string first = gguf_shard_name(0, 3), second = gguf_shard_name(1, 3), third = gguf_shard_name(2, 3);
  const auto with = [](const TemporaryFolder& folder, int shard, const std::string& key, GgufType type,
                       const std::string& bytes) {
    // The shard again, with one value changed.
    GgufWriter writer = shard == 0 ? tiny_gguf(gguf_dense_config()) : GgufWriter();
    const auto all = tiny_gguf(gguf_dense_config()).tensors;
    writer.tensors.clear();
    for (size_t t = static_cast<size_t>(shard); t < all.size(); t += 3) writer.tensors.push_back(all[t]);
    writer.set_raw("split.no", GgufType::u16, raw(static_cast<uint16_t>(shard)));
    writer.set_raw("split.count", GgufType::u16, raw<uint16_t>(3));
    writer.set_raw("split.tensors.count", GgufType::i32, raw(static_cast<int32_t>(all.size())));
    write_file(folder.path(gguf_shard_name(shard, 3)), writer.set_raw(key, type, bytes).bytes());
  };
  EXPECT_EQ(error_with([](const TemporaryFolder&) {}), "");
  for (const int opened : {0, 2})
    EXPECT_THAT(error_with([&](const TemporaryFolder& f) { std::filesystem::remove(f.path(second)); }, opened),
                EndsWith(second + ": not there: shard 2 of 3 (an unfinished download?)"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { std::filesystem::remove(f.path(first)); }, 2),
              HasSubstr(first + ": not there"));
  // Shards that are each other, or one of them twice.
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { write_file(f.path(second), read_file(f.path(first))); }),
              EndsWith(second + ": says that it is shard 1 of 3, not 2 of 3"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { write_file(f.path(first), read_file(f.path(third))); }),
              HasSubstr(first + ": shard 3 of 3, but its name does not end in -00003-of-00003.gguf"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { write_file(f.path(third), ""); }),
              HasSubstr(third + ": not a"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { with(f, 1, "split.count", GgufType::u16, raw<uint16_t>(4)); }),
              HasSubstr(second + ": says that it is shard 2 of 4"));
  EXPECT_THAT(
      error_with([&](const TemporaryFolder& f) { with(f, 0, "split.count", GgufType::u16, raw<uint16_t>(65535)); }),
      HasSubstr("-00001-of-65535.gguf"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { with(f, 0, "split.no", GgufType::i32, raw<int32_t>(-1)); }),
              HasSubstr("split.no: -1 of 3 shards"));
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) { with(f, 0, "split.no", GgufType::string, gguf_string("0")); }),
              HasSubstr("split.no: expected an integer"));
  EXPECT_THAT(
      error_with([&](const TemporaryFolder& f) { with(f, 0, "split.tensors.count", GgufType::i32, raw<int32_t>(1)); }),
      HasSubstr("split.tensors.count: 1, but the 3 shards hold"));
  // A tensor that is in two of them.
  EXPECT_THAT(error_with([&](const TemporaryFolder& f) {
                GgufWriter model = tiny_gguf(gguf_dense_config());
                model.tensors[1] = model.tensors[0];
                write_gguf_shards(f, model, 3);
              }),
              HasSubstr("token_embd.weight: also in "));
}

TEST(GgufFolder, HoldsOneModelAndNoSafetensors) {
  TemporaryFolder folder;
  const std::string bytes = tiny_gguf(gguf_dense_config()).bytes();
  write_file(folder.path("a.gguf"), bytes);
  EXPECT_EQ(ModelFolder::find(folder.path(), "").gguf(), folder.path("a.gguf"));
  EXPECT_EQ(ModelFolder::find(folder.path(), "").name(), folder.path("a.gguf"));
  EXPECT_EQ(open_error(folder), "");
  write_gguf_shards(folder, tiny_gguf(gguf_dense_config()), 2);
  EXPECT_EQ(open_error(folder), folder.path() + ": several GGUF models: name a file, a.gguf for one");
  write_file(folder.path("model.safetensors"), "");
  EXPECT_EQ(ModelFolder::find(folder.path(), "").gguf(), "") << "the hub's format goes before";
  EXPECT_EQ(error_of([&] { open_gguf_model(folder.path("b.gguf")); }), folder.path("b.gguf") + ": no such file");
  std::filesystem::create_directory(folder.path("c.gguf"));
  EXPECT_THAT(error_of([&] { open_gguf_model(folder.path("c.gguf")); }), HasSubstr("no config.json"));
}

}  // namespace
}  // namespace qwill::test
