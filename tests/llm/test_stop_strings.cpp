#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "llm/stop_strings.h"
#include "support/random.h"

namespace qwill {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> found;
  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& o, std::ostream* out) {
  *out << '"' << o.text << "\", found " << (o.found ? *o.found : "none");
}

Outcome run(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopStrings watch(stops);
  std::string text;
  for (const std::string& piece : pieces) text += watch.push(piece);
  text += watch.finish();
  return {text, watch.found()};
}

// The plain meaning: byte by byte, until the text ends with a stop string; of several, the longest.
Outcome naive(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<std::string> found;
    for (const std::string& stop : stops)
      if (text.substr(0, end).ends_with(stop) && (!found || stop.size() > found->size())) found = stop;
    if (found) return {text.substr(0, end - found->size()), found};
  }
  return {text, std::nullopt};
}

TEST(StopStrings, AcrossTheBordersOfPieces) {
  EXPECT_EQ(run({"END"}, {"some text E", "N", "D and more"}), (Outcome{"some text ", "END"}));
  EXPECT_EQ(run({"END"}, {"some text EN", "ough"}), (Outcome{"some text ENough", std::nullopt}));
  EXPECT_EQ(run({"\n\n"}, {"a\n", "b\n", "\nc"}), (Outcome{"a\nb", "\n\n"}));
  EXPECT_EQ(run({}, {"any", "thing"}), (Outcome{"anything", std::nullopt}));
  EXPECT_EQ(run({"x"}, {"", "x", ""}), (Outcome{"", "x"}));
  EXPECT_EQ(run({"aab"}, {"a", "a", "a", "b"}), (Outcome{"a", "aab"}));
}

TEST(StopStrings, TheFirstToBeCompleteWinsThenTheLongest) {
  EXPECT_EQ(run({"cd", "b"}, {"abcd"}), (Outcome{"a", "b"}));
  EXPECT_EQ(run({"bc", "abcd"}, {"abcd"}), (Outcome{"a", "bc"}));
  EXPECT_EQ(run({"bc", "abcd"}, {"ab", "cd"}), (Outcome{"a", "bc"})) << "wherever the text was cut";
  EXPECT_EQ(run({"c", "bc", "abc"}, {"xabc"}), (Outcome{"x", "abc"}));
  EXPECT_EQ(run({"abc", "ab"}, {"xabc"}), (Outcome{"x", "ab"}));
}

TEST(StopStrings, HoldsBackOnlyWhatMayBelongToOne) {
  StopStrings watch({"<stop>"});
  EXPECT_EQ(watch.push("hello"), "hello");
  EXPECT_EQ(watch.push(" <"), " ");
  EXPECT_EQ(watch.push("st"), "");
  EXPECT_EQ(watch.push("ar>"), "<star>");
  EXPECT_EQ(watch.push("<sto"), "");
  EXPECT_EQ(watch.finish(), "<sto");
  EXPECT_FALSE(watch.found());
}

TEST(StopStrings, NothingFollowsOnceOneWasFound) {
  StopStrings watch({"."});
  EXPECT_EQ(watch.push("one. two."), "one");
  EXPECT_EQ(watch.push("three"), "");
  EXPECT_EQ(watch.finish(), "");
  EXPECT_EQ(watch.found(), ".");
}

TEST(StopStrings, Unicode) {
  EXPECT_EQ(run({"。"}, {"你好", "。再见"}), (Outcome{"你好", "。"}));
  EXPECT_EQ(run({"😀!"}, {"ha 😀", "?", "😀", "!"}), (Outcome{"ha 😀?", "😀!"}));
  EXPECT_EQ(run({"é"}, {"è", "e", "é"}), (Outcome{"èe", "é"})) << "the first byte of é begins è as well";
}

TEST(StopStrings, EqualsThePlainMeaningHoweverTheTextIsCut) {
  test::Random random(1);
  const std::vector<std::string> letters = {"a", "b", "é", "è"};
  const auto text_of = [&](int64_t length) {
    std::string text;
    for (int64_t i = 0; i < length; ++i) text += letters[static_cast<size_t>(random.below(4))];
    return text;
  };
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops, pieces;
    for (int64_t i = random.below(4); i > 0; --i) stops.push_back(text_of(random.between(1, 5)));
    std::string text;
    for (int64_t i = random.below(8); i > 0; --i) text += pieces.emplace_back(text_of(random.below(5)));
    ASSERT_EQ(run(stops, pieces), naive(stops, text)) << '"' << text << "\" in " << pieces.size() << " pieces";
    // What is given out is never more than is certain, nor less.
    StopStrings watch(stops);
    std::string given, known;
    for (const std::string& piece : pieces) {
      given += watch.push(piece);
      known += piece;
      if (watch.found()) break;
      const std::string held = known.substr(given.size());
      ASSERT_EQ(known, given + held);
      bool begins_a_stop = held.empty();
      for (const std::string& stop : stops) begins_a_stop |= held.size() < stop.size() && stop.starts_with(held);
      ASSERT_TRUE(begins_a_stop) << "held back: " << held;
    }
  }
}

}  // namespace
}  // namespace qwill
