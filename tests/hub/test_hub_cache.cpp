#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "hub/hub_cache.h"
#include "hub/hub_name.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kCommit(40, 'a');

TEST(HubName, Parts) {
  const auto plain = HubName::parse("Qwen/Qwen3-0.6B");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->name, "Qwen/Qwen3-0.6B");
  EXPECT_EQ(plain->revision, "main");
  const auto other = HubName::parse("gpt2@refs/pr/1");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->name, "gpt2");
  EXPECT_EQ(other->revision, "refs/pr/1");
  for (const char* text : {"",     "/",    "a/", "/a", "a/b/c", "..",       "../a", "a/..",  "a/.b",      ".a",   "a b",
                           "a\nb", "a//b", "a@", "@b", "a@..",  "a@b/../c", "a@/b", "a@b@c", "random:8b", "a\\b", "ä"})
    EXPECT_FALSE(HubName::parse(text)) << text;
  EXPECT_FALSE(HubName::parse(std::string(300, 'a')));
}

TEST(HubName, PlainFileNames) {
  EXPECT_TRUE(is_plain_file_name("model-00001-of-00002.safetensors"));
  for (const char* text : {"", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\nb", "a\x7f"})
    EXPECT_FALSE(is_plain_file_name(text)) << text;
}

TEST(HubRepository, Layout) {
  const HubRepository repository("/cache", *HubName::parse("Org/Name@v1"));
  EXPECT_EQ(repository.folder(), "/cache/models--Org--Name");
  EXPECT_EQ(repository.blob("e"), "/cache/models--Org--Name/blobs/e");
  EXPECT_EQ(repository.snapshot("c"), "/cache/models--Org--Name/snapshots/c");
  EXPECT_EQ(repository.reference(), "/cache/models--Org--Name/refs/v1");
}

TEST(HubRepository, LinksAndReferences) {
  TemporaryFolder cache;
  const HubRepository repository(cache.path(), *HubName::parse("Org/Name@refs/pr/1"));
  EXPECT_EQ(repository.find_snapshot(), "");
  for (const char* hash : {"first", "second"}) {  // a link that is there is replaced
    fs::create_directories(repository.folder() / "blobs");
    write_file(repository.blob(hash).string(), hash);
    repository.link(kCommit, "config.json", hash);
    const fs::path link = repository.snapshot(kCommit) / "config.json";
    EXPECT_EQ(fs::read_symlink(link), fs::path("../../blobs") / hash);
    EXPECT_EQ(read_small_file(link, 100), hash);
  }
  EXPECT_EQ(repository.find_snapshot(), "");
  repository.write_reference(kCommit);
  EXPECT_EQ(repository.find_snapshot(), repository.snapshot(kCommit).string());
  // A commit needs no reference, and is given none.
  const HubRepository by_commit(cache.path(), *HubName::parse("Org/Name@" + kCommit));
  by_commit.write_reference(kCommit);
  EXPECT_FALSE(fs::exists(by_commit.reference()));
  EXPECT_EQ(by_commit.find_snapshot(), repository.snapshot(kCommit).string());
  const HubRepository other(cache.path(), *HubName::parse("Org/Name"));
  EXPECT_EQ(other.find_snapshot(), "");
}

TEST(HubRepository, WholeSnapshots) {
  TemporaryFolder folder;
  const auto whole = [&] { return HubRepository::is_whole(folder.path()); };
  EXPECT_FALSE(whole());
  write_file(folder.path("model.safetensors"), "weights");
  EXPECT_FALSE(whole());
  write_file(folder.path("config.json"), "{}");
  EXPECT_TRUE(whole());
  fs::remove(folder.path("model.safetensors"));
  EXPECT_FALSE(whole());
  write_file(folder.path("model.safetensors.index.json"), R"({"weight_map": {"x": "a", "y": "b", "z": "a"}})");
  write_file(folder.path("a"), "");
  EXPECT_FALSE(whole());
  write_file(folder.path("b"), "");
  EXPECT_TRUE(whole());
  for (const char* index :
       {"", "[]", "{}", R"({"weight_map": 5})", R"({"weight_map": {"x": 5}})", R"({"weight_map": {"x": "../a"}})"}) {
    write_file(folder.path("model.safetensors.index.json"), index);
    EXPECT_FALSE(whole()) << index;
  }
}

TEST(HubRepository, FoldersThatCannotBeMade) {
  TemporaryFolder folder;
  write_file(folder.path("file"), "");
  EXPECT_THAT(error_of([&] { make_cache_folder(folder.path("file/hub")); }), HasSubstr("HF_HUB_CACHE"));
}

}  // namespace
}  // namespace qwill::test
