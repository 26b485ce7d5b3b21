#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/fnv1a.h"
#include "server/batch_file.h"

namespace qwill {
namespace {

using testing::HasSubstr;

std::string request(const std::string& custom_id, const std::string& body = "{}") {
  return R"({"custom_id":")" + custom_id + R"(","method":"POST","url":"/v1/completions","body":)" + body + "}";
}

class BatchFile : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) const {
    const std::string path = folder_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  std::string read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(folder_ / name, std::ios::binary).rdbuf();
    return text.str();
  }
  // Opens both files; what is left to answer, by custom_id. Every request answered: with status 200.
  std::vector<std::string> remaining(bool answer = false) const {
    BatchInput input(folder_ / "in");
    BatchOutput output(folder_ / "out", input);
    input.start();
    std::vector<std::string> ids;
    while (const auto next = input.next()) {
      ids.push_back(next->custom_id.value_or("null"));
      if (answer) output.append(*next, 200, Json::object());
    }
    return ids;
  }
  std::string refusal() const {
    try {
      remaining();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      ("qwill-batch-" + std::to_string(::getpid()) + testing::UnitTest::GetInstance()->current_test_info()->name());
};

using Ids = std::vector<std::string>;

TEST_F(BatchFile, LinesOfAnySize) {
  const std::string large(700000, 'x');
  const std::string path = write("lines", "a\n\n" + large + "\n" + large + "b\nend");
  const RegularFile file(path, O_RDONLY);
  LineReader lines(file);
  std::vector<std::pair<int64_t, int64_t>> places;
  std::vector<size_t> sizes;
  bool ended = true;
  while (lines.next()) {
    places.emplace_back(lines.number(), lines.offset());
    sizes.push_back(lines.line().size());
    ended = lines.ended();
  }
  EXPECT_EQ(sizes, (std::vector<size_t>{1, 0, 700000, 700001, 3}));
  EXPECT_EQ(places, (std::vector<std::pair<int64_t, int64_t>>{{1, 0}, {2, 2}, {3, 3}, {4, 700004}, {5, 1400006}}));
  EXPECT_FALSE(ended);
  EXPECT_FALSE(lines.next());
}

TEST_F(BatchFile, Requests) {
  const BatchRequest good = parse_batch_request(" " + request("é", R"({"n":1})") + "\r", 9);
  EXPECT_FALSE(good.flaw);
  EXPECT_EQ(good.custom_id, "é");
  EXPECT_EQ(good.custom_id_hash, fnv1a("é"));
  EXPECT_EQ(good.line_hash, fnv1a(request("é", R"({"n":1})")));
  EXPECT_EQ(good.body.dump(), R"({"n":1})");
  EXPECT_EQ(good.id().size(), 32u);
  const std::tuple<const char*, const char*, const char*> flawed[] = {
      {"{", "invalid_json_line", ""},
      {"\xff", "invalid_json_line", "UTF-8"},
      {"[]", "invalid_json_line", "an object"},
      {"{}", "missing_required_parameter", "custom_id"},
      {R"({"custom_id":1})", "invalid_custom_id", "custom_id"},
      {R"({"custom_id":"a"})", "invalid_method", "POST"},
      {R"({"custom_id":"a","method":"GET"})", "invalid_method", "POST"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{}})", "invalid_url", "/v1/completions"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/completions"})", "missing_required_parameter", "body"}};
  for (const auto& [line, code, message] : flawed) {
    const BatchRequest bad = parse_batch_request(line, 9);
    ASSERT_TRUE(bad.flaw) << line;
    EXPECT_EQ(bad.flaw->code, code) << line;
    EXPECT_THAT(bad.flaw->message, HasSubstr(message)) << line;
  }
  EXPECT_NE(parse_batch_request("{}", 1).id(), parse_batch_request("{}", 2).id());
}

TEST_F(BatchFile, GoesOnWhereItStopped) {
  write("in", request("a") + "\n\n" + request("b") + "\n{}\n" + request("c"));
  EXPECT_EQ(remaining(), (Ids{"a", "b", "null", "c"}));
  EXPECT_EQ(remaining(true), (Ids{"a", "b", "null", "c"}));
  EXPECT_EQ(remaining(), Ids{});
  const std::string all = read("out");
  std::vector<size_t> cuts = {0, 1, 20, all.size() - 2};
  for (size_t end = all.find('\n'); end != std::string::npos; end = all.find('\n', end + 1))
    for (const size_t cut : {end, end + 1, std::min(end + 2, all.size()), end / 2}) cuts.push_back(cut);
  // Wherever it was cut, with or without zeros behind, exactly what is missing is asked again, and the file is whole.
  for (const size_t cut : cuts) {
    const std::string kept = all.substr(0, cut);
    for (const std::string& tail : {std::string(), std::string(5, '\0'), std::string("\0\n", 2) + all}) {
      write("out", kept + tail);
      const auto num_whole = static_cast<size_t>(std::ranges::count(kept, '\n'));
      EXPECT_EQ(remaining(true).size(), 4 - num_whole) << cut;
      EXPECT_EQ(read("out"), all) << cut;
    }
  }
}

TEST_F(BatchFile, CountsFailures) {
  const std::string path = write("in", request("a") + "\n" + request("b") + "\n{}\n");
  for (const int found : {0, 3}) {
    BatchInput input(path);
    EXPECT_EQ(input.num_requests(), 3);
    BatchOutput output(folder_ / "out", input);
    EXPECT_EQ(output.num_found(), found);
    input.start();
    while (const auto next = input.next()) {
      if (next->flaw)
        output.append_flaw(*next);
      else
        output.append(*next, next->custom_id == "a" ? 200 : 400, Json::object());
    }
    EXPECT_EQ(output.num_failed(), 2);
  }
  EXPECT_THAT(read("out"), HasSubstr(R"("custom_id":null,"response":null,"error":{"code":"missing_required_parameter",)"
                                     R"("message":"custom_id: missing"}})"));
  EXPECT_THAT(read("out"), HasSubstr(R"("status_code":400,)"));
}

TEST_F(BatchFile, RefusesFilesOfOtherBatches) {
  write("in", request("a") + "\n" + request("b") + "\n");
  remaining(true);
  const std::string all = read("out");
  for (const std::string& other :
       {request("a"), request("a") + "\n" + request("b", R"({"n":1})"), request("c") + "\n" + request("b")}) {
    write("in", other);
    EXPECT_THAT(refusal(), HasSubstr("is no result of a request of")) << other;
  }
  write("in", request("b") + "\n" + request("x") + "\n" + request("a") + "\n");
  EXPECT_EQ(remaining(), Ids{"x"}) << "requests may be added and moved";
  for (const std::string& foreign :
       {all + all, all + "{}\n", std::string("precious"), std::string("precious\n"), "\n" + all + "{\"id\":1}\n"}) {
    write("out", foreign);
    EXPECT_THAT(refusal(), HasSubstr("give another output file"));
    EXPECT_EQ(read("out"), foreign) << "what is not ours is not touched";
  }
}

TEST_F(BatchFile, RefusesTwinsAndWhatIsNoFile) {
  write("in", request("a") + "\n\n" + request("b") + "\n" + request("a", R"({"n":2})") + "\n");
  EXPECT_THAT(refusal(), HasSubstr("in: lines 1 and 4 have the same custom_id"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "out"));
  EXPECT_THROW(BatchInput{folder_}, Error);
  EXPECT_THROW(BatchInput{folder_ / "none"}, Error);
  BatchInput input(write("in", ""));
  EXPECT_THROW(BatchOutput(folder_ / "in", input), Error) << "the same file";
  EXPECT_THROW(BatchOutput(folder_ / "none/out", input), Error);
}

TEST_F(BatchFile, IsLocked) {
  write("in", request("a"));
  BatchInput input(folder_ / "in");
  const BatchOutput output(folder_ / "out", input);
  EXPECT_THAT(refusal(), HasSubstr("another process is writing it"));
}

}  // namespace
}  // namespace qwill
