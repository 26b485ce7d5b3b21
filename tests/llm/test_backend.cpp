// Which device a model gets. What a machine without a card cannot show is skipped there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "llm/backend.h"
#include "support/backends.h"

namespace qwill {
namespace {

using testing::HasSubstr;

struct Wish {
  const char* what;  // is told
  DTypeChoice dtype = DTypeChoice::automatic;
  KvDTypeChoice kv_dtype = KvDTypeChoice::automatic;
  const char* panels = "";
};
constexpr Wish kOnlyOnTheCpu[] = {
    {"--dtype int8", DTypeChoice::int8},
    {"--kv-dtype f16", DTypeChoice::automatic, KvDTypeChoice::f16},
    {"--kv-dtype int8", DTypeChoice::automatic, KvDTypeChoice::int8},
    {"m-int4: weights in panels of int4", DTypeChoice::automatic, KvDTypeChoice::automatic, "panels of int4"},
};

LlmOptions options_of(const Wish& wish, const char* device) {
  LlmOptions options;
  options.model = "m-int4";
  options.device = device;
  options.dtype = wish.dtype;
  options.kv_dtype = wish.kv_dtype;
  return options;
}

TEST(ChooseDevice, ACardThatWasAskedForRefusesWhatOnlyTheCpuDoes) {
  for (const Wish& wish : kOnlyOnTheCpu)
    for (const char* device : {"cuda", "cuda:1"}) {
      try {
        choose_device(options_of(wish, device), wish.panels);
        FAIL() << wish.what;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::unsupported);
        EXPECT_THAT(e.what(), HasSubstr(wish.what));
      }
    }
}

TEST(ChooseDevice, TheCpuTakesItWithoutAWord) {
  for (const Wish& wish : kOnlyOnTheCpu) {
    const DeviceChoice choice = choose_device(options_of(wish, "cpu"), wish.panels);
    EXPECT_FALSE(choice.on_cuda);
    EXPECT_EQ(choice.trouble, "");
  }
}

TEST(ChooseDevice, AutoIsTheCpuForWhatNoCardDoes) {
  if (!test::machine_has("cuda")) GTEST_SKIP() << "this machine lacks cuda";
  EXPECT_TRUE(choose_device(options_of({}, "auto")).on_cuda);
  for (const Wish& wish : kOnlyOnTheCpu) {
    const DeviceChoice choice = choose_device(options_of(wish, "auto"), wish.panels);
    EXPECT_FALSE(choice.on_cuda) << wish.what;
    EXPECT_THAT(choice.trouble, HasSubstr(wish.what));
  }
}

}  // namespace
}  // namespace qwill
