// Random requests to the whole library on the CPU, by the built-in model: texts with shared beginnings, samples, stop
// strings, deadlines, cancels, some from several threads at once. Pages must come back and memory must not grow.
//
//     soak_engine [MINUTES (30)] [THREADS of the model (1)]
//
// Exit status 1 if an answer is missing or wrong, a page is lost, or the most memory of the last fifth of the time is
// more than 1 % above that of the second.
#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <deque>
#include <map>
#include <string>
#include <thread>

#include "base/error.h"
#include "engine/engine_core.h"
#include "qwill/llm.h"
#include "resident_memory.h"
#include "support/random.h"

namespace {

using namespace qwill;
using bench::resident_bytes;
using Clock = std::chrono::steady_clock;

const std::vector<std::string> kBeginnings = {"Once upon a time", "The capital of France is", "A hammer is",
                                              "The little dog went", "In spring, Sophie wanted to grow"};

struct Client {
  Llm& llm;
  test::Random random;
  std::atomic<int64_t>& num_answers;
  std::atomic<int64_t>& num_cancelled;
  std::map<std::string, std::string> answers;  // of requests that have one answer; few, so that all are soon known
  std::deque<std::pair<std::string, Llm::Job>> under_way;

  void submit() {
    GenerateRequest request;
    std::string text = kBeginnings[static_cast<size_t>(random.below(static_cast<int64_t>(kBeginnings.size())))];
    for (int64_t repeat = 4 * random.below(3); repeat > 0; --repeat) text += ". " + text.substr(0, 40);
    request.prompt = llm.encode(text);
    const int64_t kind = 3 * random.below(13) + 1;
    request.sampling.temperature = kind % 4 == 0 ? 0 : 0.8;
    request.sampling.seed = static_cast<uint64_t>(kind);
    request.sampling.repetition_penalty = kind % 5 == 0 ? 1.1 : 1;
    request.sampling.max_tokens = 1 + kind * 7;
    request.ignore_eos = kind % 2 == 0;
    if (kind % 7 == 0) request.stop = {". "};
    const bool ends_early = random.below(10) == 0;
    if (ends_early && kind % 4 == 0) request.deadline = Clock::now() + std::chrono::milliseconds(random.below(50));
    const std::string name = ends_early ? "" : fmt::format("{} {}", kind, text);
    under_way.emplace_back(name, llm.submit(std::move(request)));
    if (ends_early && kind % 4 != 0) llm.cancel(under_way.back().second.sequence);
  }

  void finish_one() {
    auto [name, job] = std::move(under_way.front());
    under_way.pop_front();
    const GenerateResult result = job.result.get();
    ++num_answers;
    if (name.empty()) {
      num_cancelled += result.finish == FinishReason::cancelled || result.finish == FinishReason::deadline;
      return;
    }
    const auto [known, is_new] = answers.emplace(name, result.text);
    if (known->second != result.text)
      fail_invalid("\"{}\" was answered \"{}\" and now \"{}\"", name, known->second, result.text);
  }

  void run(Clock::time_point end) {
    while (Clock::now() < end) {
      while (under_way.size() < static_cast<size_t>(4 + random.below(24))) submit();
      finish_one();
    }
    while (!under_way.empty()) finish_one();
  }
};

int soak(double minutes, int threads) {
  LlmOptions options;
  options.device = "cpu";
  options.num_threads = threads;
  options.max_seq_len = 1024;
  options.max_sequences = 12;
  options.memory_bytes = 171'000'000;
  const auto llm = Llm::open(options);
  const auto start = Clock::now();
  const auto seconds = [&] { return std::chrono::duration<double>(Clock::now() - start).count(); };
  const double total = minutes * 60;
  std::atomic<int64_t> num_answers = 0, num_cancelled = 0;
  std::atomic<bool> failed = false;
  std::vector<std::thread> clients;
  for (uint64_t c = 0; c < 3; ++c)
    clients.emplace_back([&, c] {
      try {
        Client{*llm, test::Random(c), num_answers, num_cancelled, {}, {}}.run(
            start + std::chrono::milliseconds(static_cast<int64_t>(1000 * total)));
      } catch (const std::exception& e) {
        fmt::print(stderr, "{}\n", e.what());
        failed = true;
      }
    });
  int64_t first_bytes = 0, last_bytes = 0;
  const auto report = [&] {
    const EngineStats s = llm->engine().stats();
    fmt::print(
        "{:.0f} s: {} answers, {} ended early, {} begun again, {} of {} prompt tokens hit; pages: {} free + {} "
        "cached of {}; {:.2f} MB\n",
        seconds(), num_answers.load(), num_cancelled.load(), s.preempted, s.prefix_hit_tokens, s.prompt_tokens,
        s.free_pages, s.cached_pages, s.num_pages, static_cast<double>(resident_bytes()) / 1e6);
    std::fflush(stdout);
  };
  for (int64_t tick = 1; seconds() < total && !failed; ++tick) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    const double part = seconds() / total;
    if (part > 0.2 && part < 0.4) first_bytes = std::max(first_bytes, resident_bytes());
    if (part > 0.8) last_bytes = std::max(last_bytes, resident_bytes());
    if (tick % 60 == 0) report();
  }
  for (std::thread& client : clients) client.join();
  llm->engine().call([](EngineCore& core) { core.scheduler().check_pages(); });
  report();
  const EngineStats stats = llm->engine().stats();
  const int64_t lost = stats.num_pages - stats.free_pages - stats.cached_pages;
  const double growth = static_cast<double>(last_bytes) / static_cast<double>(first_bytes) - 1;
  fmt::print("{} pages lost; memory grew by {:.2f} %\n", lost, 100 * growth);
  return failed || lost != 0 || growth > 0.01 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return soak(argc > 1 ? std::atof(argv[1]) : 30, argc > 2 ? std::atoi(argv[2]) : 1);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
