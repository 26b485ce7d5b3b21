#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "hub/hub_api.h"
#include "weights/tiny_checkpoint.h"

namespace qwill::test {
namespace {

using testing::HasSubstr;

const std::string kCommit(40, 'a');

std::string listing(const std::string& siblings) {
  return R"({"sha": ")" + kCommit + R"(", "siblings": )" + siblings + "}";
}

TEST(HubListing, KeepsWhatItCanUse) {
  const std::string sha1(40, '1'), sha256(64, '2');
  const HubListing list =
      HubListing::parse(listing(R"([{"rfilename": "config.json", "size": 715, "blobId": ")" + sha1 + R"("},
          {"rfilename": "model.safetensors", "size": 12, "blobId": ")" +
                                sha1 + R"(", "lfs": {"sha256": ")" + sha256 + R"("}},
          {"rfilename": "onnx/model.safetensors"}, {"rfilename": "../config.json"}, {"rfilename": ""},
          {"rfilename": "odd", "size": -1, "blobId": "../x", "lfs": {"sha256": 5}}])"));
  EXPECT_EQ(list.commit, kCommit);
  ASSERT_EQ(list.files.size(), 3u);
  EXPECT_EQ(list.find("config.json")->size, 715);
  EXPECT_EQ(list.find("config.json")->hash, sha1);
  EXPECT_EQ(list.find("model.safetensors")->hash, sha256);
  EXPECT_FALSE(list.find("odd")->size);
  EXPECT_EQ(list.find("odd")->hash, "");
  EXPECT_EQ(list.find("other"), nullptr);
}

TEST(HubListing, SaysWhatIsWrong) {
  const auto error = [](const std::string& text) { return error_of([&] { HubListing::parse(text); }); };
  EXPECT_EQ(error(listing("[]")), "");
  EXPECT_THAT(error("[]"), HasSubstr("sha"));
  EXPECT_THAT(error(R"({"sha": "main"})"), HasSubstr("main"));
  EXPECT_THAT(error(R"({"sha": "../../../../../../../../../../../../../../../etc"})"), HasSubstr("no commit"));
  EXPECT_THAT(error(listing("5")), HasSubstr("siblings"));
  EXPECT_THAT(error(listing("[5]")), HasSubstr("rfilename"));
  EXPECT_THAT(error(listing(R"([{"rfilename": null}])")), HasSubstr("siblings"));
}

}  // namespace
}  // namespace qwill::test
