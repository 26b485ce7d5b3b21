#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/test_paths.h"
#include "weights/builtin_model.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;

std::string find_error(const std::string& model, const std::string& hub_cache) {
  return error_of([&] { ModelFolder::find(model, hub_cache); });
}

// A hub cache with one model, its files links to blobs as huggingface_hub leaves them.
void fill_hub_cache(const TemporaryFolder& cache, const std::string& revision) {
  namespace fs = std::filesystem;
  const fs::path repository = cache.path("models--Org--Name");
  for (const char* folder : {"refs", "blobs"}) fs::create_directories(repository / folder);
  fs::create_directories(repository / "snapshots" / revision);
  write_file((repository / "refs" / "main").string(), revision);
  write_file((repository / "blobs" / "abc").string(), tiny_dense_config().dump());
  fs::create_symlink("../../blobs/abc", repository / "snapshots" / revision / "config.json");
}

TEST(ModelFolder, FindsAFolder) {
  TemporaryFolder folder;
  write_file(folder.path("config.json"), "{\"a\": 1}");
  const ModelFolder found = ModelFolder::find(folder.path(), "");
  EXPECT_EQ(found.name(), folder.path());
  EXPECT_EQ(found.open_json("config.json").integer("a"), 1);
  EXPECT_FALSE(found.open_if_present("other.json"));
  EXPECT_THAT(error_of([&] { found.open("other.json"); }), HasSubstr(folder.path() + ": no other.json"));
}

TEST(ModelFolder, FindsAHubName) {
  TemporaryFolder cache;
  fill_hub_cache(cache, "0123abcd");
  const ModelFolder found = ModelFolder::find("Org/Name", cache.path());
  EXPECT_EQ(found.open_json("config.json").integer("hidden_size"), 16);
  EXPECT_THAT(found.name(), HasSubstr("snapshots/0123abcd"));

  EXPECT_THAT(find_error("Org/Other", cache.path()), HasSubstr("get it with \"qwill pull Org/Other\""));
  EXPECT_THAT(find_error("Org/Other", ""), HasSubstr("no hub cache"));
  EXPECT_THAT(find_error("Other", cache.path()), HasSubstr("not in the hub cache"));
  std::filesystem::remove(cache.path("models--Org--Name/blobs/abc"));
  EXPECT_THAT(error_of([&] { found.open("config.json"); }), HasSubstr("an unfinished download?"));
}

TEST(ModelFolder, DamagedHubCache) {
  TemporaryFolder cache;
  fill_hub_cache(cache, "0123abcd");
  for (const char* revision : {"", "..", "../../x", "a b", "missing", ".hidden"}) {
    write_file(cache.path("models--Org--Name/refs/main"), revision);
    EXPECT_THAT(find_error("Org/Name", cache.path()), HasSubstr("refs/main")) << revision;
  }
  write_file(cache.path("models--Org--Name/refs/main"), "0123abcd\n");
  EXPECT_EQ(find_error("Org/Name", cache.path()), "");
}

TEST(ModelFolder, NamesThatAreNone) {
  TemporaryFolder cache;
  write_file(cache.path("file"), "");
  for (const char* name : {"/nonexistent/folder", "a/b/c", "../x", "a/..", ".", "a b", "a\nb", "a/", "/a", "a/.b"}) {
    if (std::string_view(name) == ".") continue;  // a folder that is there
    EXPECT_THAT(find_error(name, cache.path()), HasSubstr("no such folder")) << name;
  }
  EXPECT_THAT(find_error(cache.path("file"), cache.path()), HasSubstr("not a folder"));
}

TEST(ModelFolder, TheBuiltInModel) {
  if (builtin_files().empty()) {
    EXPECT_THAT(find_error("", ""), HasSubstr("this build has no built-in model"));
    return;
  }
  const ModelFolder folder = ModelFolder::find("", "");
  EXPECT_EQ(folder.name(), "the built-in model");
  for (const EmbeddedFile& file : builtin_files()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(file.bytes.data()) % 4096, 0u) << file.name;
    const std::string original = read_file(test::source_path("models/nib/" + std::string(file.name)));
    EXPECT_EQ(folder.open(file.name).text(), original) << file.name;
  }
  EXPECT_FALSE(folder.open_if_present("other.json"));
  EXPECT_THAT(error_of([&] { folder.open("other.json"); }), HasSubstr("the built-in model: no other.json"));
  EXPECT_GT(Checkpoint::open(folder).total_bytes(), 0);
}

}  // namespace
}  // namespace qwill::test
