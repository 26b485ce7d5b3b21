// Whatever the schedule, a sequence's tokens and log-probabilities are to the bit those that it has alone: batches,
// chunks, prefix hits, preemption, cancelled neighbours, other limits, another engine, another process.
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "engine/schedules.h"
#include "support/backends.h"
#include "support/test_paths.h"

namespace qwill {
namespace {

using test::Instance;
using test::Known;
using test::Random;
using test::Subject;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kNumSchedules = 20;
#else
constexpr int kNumSchedules = 200;
#endif

// yarn's sequences use both rotary kinds: those that may grow beyond 64 tokens, and the others.
const Subject kSubjects[] = {
    {"yarn", DTypeChoice::automatic, RopeWhen::needed},
    {"moe-30b"},
    {"06b", DTypeChoice::f32},
    {"moe-yarn"},
};
constexpr int64_t kNumRequests = 30;

class Schedules : public test::BackendTest {};

TEST_P(Schedules, ASequencesTokensAreItsOwn) {
  test::Occurrences occurred;
  int num_differences = 0, seed = 0;
  for (const Subject& subject : kSubjects) {
    const Instance on(subject, GetParam());
    const std::vector<Known> known = test::answer_alone(on, kNumRequests, 1);
    for (const int end = seed + kNumSchedules / 4; seed < end && num_differences < 5; ++seed)
      for (const std::string& complaint : test::run_schedule(on, known, static_cast<uint64_t>(seed), occurred)) {
        ADD_FAILURE() << subject.checkpoint << ": " << complaint;
        ++num_differences;
      }
  }
  if (num_differences > 0) return;
  EXPECT_EQ(seed, kNumSchedules);
  // What was to happen did, and often.
  EXPECT_GT(occurred.preempted, seed / 2);
  EXPECT_GT(occurred.hit_tokens, seed * 100);
  EXPECT_GT(occurred.copied_pages, seed / 2);
  EXPECT_GT(occurred.cancelled, seed / 2);
  EXPECT_GT(occurred.continued_here, seed / 2);
  EXPECT_GT(occurred.continued_elsewhere, seed / 2);
  EXPECT_GT(occurred.in_chunks, seed);
  EXPECT_GT(occurred.stopped, seed / 4);
  EXPECT_GT(occurred.many_at_once, seed * 5);
  EXPECT_GT(occurred.scored, seed * 100);
  EXPECT_GT(occurred.overlapping, seed / 4);
  EXPECT_GE(occurred.reserving, seed / 20);
  EXPECT_GE(occurred.without_cache, seed / 20);
}

constexpr std::string_view kLineBegin = "continued:";

// One line: the words of each draw.
std::string line_of(const std::vector<Draw>& draws) {
  std::string line(kLineBegin);
  for (const Draw& draw : draws) line += fmt::format(" {:x}", fmt::join(test::words(draw), ","));
  return line;
}

// What a prompt's tokens are told beside their answer is what EngineCore::score gives, and changes nothing of the
// answer.
TEST_P(Schedules, APromptsScoresAreThoseOfItsLogits) {
  for (Subject subject : kSubjects) {
    subject.rope_when = RopeWhen::always;  // when it is needed depends on the room for an answer
    const Instance on(subject, GetParam());
    EngineCore engine(*on.ops, *on.model, {.max_seq_len = test::kMaxSeqLen, .rope_when = subject.rope_when});
    int64_t num_scored = 0;
    for (Known& known : test::answer_alone(on, kNumRequests, 2)) {
      SamplingParams& sampling = known.request.sampling;
      if (sampling.num_prompt_logprobs < 0) continue;
      std::vector<Draw> wanted;
      engine.score(known.request.prompt, [&](int64_t first, const Tensor& logits) {
        for (int64_t r = 0; r < logits.rows; ++r) {
          const auto next = static_cast<size_t>(first + r + 1);
          if (next == known.request.prompt.size()) continue;
          wanted.emplace_back().id = known.request.prompt[next];
          add_logprobs(wanted.back(), {logits.row<const float>(r), static_cast<size_t>(logits.cols)},
                       sampling.num_prompt_logprobs);
        }
      });
      EXPECT_EQ(line_of(known.prompt), line_of(wanted)) << subject.checkpoint;
      num_scored += std::ssize(wanted);
      sampling.num_prompt_logprobs = -1;
      if (known.draws.empty()) continue;  // ended at once
      EXPECT_EQ(line_of(test::continue_all(on, {known.request})[0]), line_of(known.draws)) << subject.checkpoint;
    }
    EXPECT_GT(num_scored, 500);
  }
}

// --- another process ---

constexpr const char* kBackendVariable = "QWILL_CONTINUE_ON";
constexpr const char* kJournalsVariable = "QWILL_CONTINUE_JOURNALS";

// What this program does in the other process: it continues the journals of a file, one a line, and prints what comes.
TEST(SchedulesElsewhere, ContinuesJournals) {
  const char *backend = std::getenv(kBackendVariable), *journals = std::getenv(kJournalsVariable);
  if (!backend || !journals) GTEST_SKIP() << "Schedules.GoOnInANewProcess names the journals";
  std::ifstream file(journals);
  std::string line;
  std::getline(file, line);
  const Subject& subject = kSubjects[std::stoul(line)];
  std::vector<Request> requests;
  while (std::getline(file, line)) requests.push_back(Request::from_json(line));
  for (const auto& rest : test::continue_all(Instance(subject, backend), requests)) fmt::print("{}\n", line_of(rest));
}

std::vector<std::string> continue_elsewhere(const std::string& backend, const std::string& journals) {
  const std::string command = fmt::format(
      "env -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX {}={} {}='{}' '{}' "
      "--gtest_filter=SchedulesElsewhere.ContinuesJournals --root '{}'",
      kBackendVariable, backend, kJournalsVariable, journals, std::filesystem::read_symlink("/proc/self/exe").string(),
      test::source_path("."));
  std::FILE* pipe = ::popen(command.c_str(), "r");
  std::string output;
  for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
  EXPECT_EQ(::pclose(pipe), 0) << output;
  std::vector<std::string> lines;
  std::istringstream stream(output);
  for (std::string line; std::getline(stream, line);)
    if (line.starts_with(kLineBegin)) lines.push_back(line);
  return lines;
}

TEST_P(Schedules, GoOnInANewProcess) {
  const std::string journals = (std::filesystem::temp_directory_path() / fmt::format("qwill-{}", ::getpid())).string();
  for (size_t s = 0; s < std::size(kSubjects); ++s) {
    Random random(s);
    std::ofstream file(journals);
    file << s << "\n";
    std::vector<std::string> wanted;
    for (Known& known : test::answer_alone(Instance(kSubjects[s], GetParam()), kNumRequests, 1)) {
      // Cut anywhere, also before the first token; what ends by a stop id may be cut before that as well.
      const auto last = static_cast<int64_t>(known.draws.size()) - (known.finish == FinishReason::stop ? 0 : 1);
      const auto cut = known.draws.begin() + random.between(0, last);
      for (auto draw = known.draws.begin(); draw != cut; ++draw) known.request.output.push_back(draw->id);
      file << known.request.to_json() << "\n";
      std::vector<Draw> rest = known.prompt;
      rest.insert(rest.end(), cut, known.draws.end());
      wanted.push_back(line_of(rest));
    }
    file.close();
    EXPECT_EQ(continue_elsewhere(GetParam(), journals), wanted) << kSubjects[s].checkpoint;
  }
  std::filesystem::remove(journals);
}

INSTANTIATE_TEST_SUITE_P(Backends, Schedules, testing::ValuesIn(test::model_backends()), test::backend_test_name);

}  // namespace
}  // namespace qwill
