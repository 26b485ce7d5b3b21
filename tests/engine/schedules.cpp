#include "engine/schedules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <span>

#include "base/error.h"
#include "support/backends.h"
#include "support/test_paths.h"

namespace qwill::test {
namespace {

constexpr int64_t kMaxSteps = 20000;  // of one engine; far more than any schedule takes

SamplingParams random_sampling(Random& random, int64_t vocab_size) {
  const auto one_in = [&](int64_t n) { return random.below(n) == 0; };
  SamplingParams p;
  p.seed = random.next();
  p.choice = static_cast<uint32_t>(random.below(3));
  if (!one_in(3)) {
    p.temperature = random.uniform(0.5f, 2);
    if (one_in(2)) p.top_k = random.between(1, 40);
    if (one_in(2)) p.top_p = random.uniform(0.5f, 1);
    if (one_in(3)) p.min_p = random.uniform(0, 0.2f);
  }
  if (one_in(3)) p.repetition_penalty = random.uniform(0.8f, 1.5f);
  if (one_in(4)) p.presence_penalty = random.uniform(-1, 2);
  if (one_in(4)) p.frequency_penalty = random.uniform(-0.5f, 1);
  if (one_in(4)) p.logit_bias = {{static_cast<int32_t>(random.below(vocab_size)), random.uniform(-4, 4)}};
  for (int64_t i = random.below(3); i > 0; --i) p.stop_ids.push_back(static_cast<int32_t>(random.below(vocab_size)));
  p.num_logprobs = static_cast<int32_t>(random.between(-1, 4));
  if (one_in(4)) p.num_prompt_logprobs = static_cast<int32_t>(random.between(0, 3));
  p.max_tokens = one_in(10) ? 1000 : random.between(1, 50);
  return p;
}

void append_random(std::vector<int32_t>& tokens, Random& random, int64_t count, int64_t vocab_size) {
  for (; count > 0; --count) tokens.push_back(static_cast<int32_t>(random.below(vocab_size)));
}

std::vector<int32_t> ids_of(std::span<const Draw> draws) {
  std::vector<int32_t> ids;
  for (const Draw& draw : draws) ids.push_back(draw.id);
  return ids;
}

// A beginning that others have too, and a few tokens more.
std::vector<int32_t> random_prompt(Random& random, const std::vector<std::vector<int32_t>>& beginnings,
                                   const std::vector<Known>& known, int64_t vocab_size) {
  const auto any = [&](const auto& items) -> const auto& {
    return items[static_cast<size_t>(random.below(static_cast<int64_t>(items.size())))];
  };
  std::vector<int32_t> prompt = any(beginnings);
  if (!known.empty() && random.below(3) == 0) {
    const Known& before = any(known);
    prompt = before.request.prompt;
    const std::vector<int32_t> answer = ids_of(before.draws);
    prompt.insert(prompt.end(), answer.begin(), answer.end());
  }
  const auto longest = std::min<int64_t>(static_cast<int64_t>(prompt.size()), 200);
  prompt.resize(static_cast<size_t>(random.below(4) == 0 ? random.between(1, longest) : longest));
  append_random(prompt, random, random.between(0, 20), vocab_size);
  return prompt;
}

EngineConfig random_config(Random& random, RopeWhen rope_when) {
  EngineConfig config{.max_seq_len = kMaxSeqLen};
  config.page_size = random.below(4) == 0 ? 128 : 64;
  config.num_pages = kMaxSeqLen / config.page_size + random.below(random.below(3) == 0 ? 40 : 4);
  config.chunk_size = random.below(2) ? random.between(1, 40) : random.between(1, 300);
  config.mixed_chunk_size = random.below(2) ? random.between(1, config.chunk_size) : 0;
  config.row_tile = random.between(1, 20);
  config.max_given_rows = random.between(1, random.below(2) ? 10 : 64);
  config.max_sequences = random.between(1, 8);
  config.reserve = random.below(5) == 0;
  config.prefix_cache = random.below(8) != 0;
  config.overlap = random.below(2) == 0;
  config.rope_when = rope_when;
  return config;
}

// One schedule: sequences that wait to be added (again), and those in the engine of the moment.
class Schedule {
 public:
  Schedule(const Instance& on, const std::vector<Known>& known, uint64_t seed, Occurrences& occurred)
      : on_(on), known_(known), seed_(seed), random_(seed), occurred_(occurred) {
    for (int64_t i = random_.between(4, 12); i > 0; --i)
      to_add_.push_back({static_cast<size_t>(random_.below(static_cast<int64_t>(known_.size()))), {}});
  }

  std::vector<std::string> run() {
    for (int engine = 0; !to_add_.empty() && complaints_.empty(); ++engine) run_engine(/*may_stop=*/engine < 2);
    return std::move(complaints_);
  }

 private:
  struct Live {
    size_t known;
    std::vector<Draw> draws;  // so far, in all engines
    size_t num_scored = 0;    // tokens of the prompt, in this one
  };

  void run_engine(bool may_stop) {
    const EngineConfig config = random_config(random_, on_.rope_when);
    EngineCore engine(*on_.ops, *on_.model, config);
    occurred_.overlapping += *config.overlap;
    occurred_.reserving += config.reserve;
    occurred_.without_cache += !config.prefix_cache;
    const int64_t last_step = may_stop && random_.below(2) == 0 ? random_.between(3, 80) : kMaxSteps;
    int64_t step = 0;
    for (; step < last_step && complaints_.empty() && !(to_add_.empty() && engine.idle()); ++step) {
      if (engine.idle() || random_.below(4) == 0)
        for (int64_t i = random_.between(1, 3); i > 0 && !to_add_.empty(); --i) add(engine);
      if (!live_.empty() && random_.below(25) == 0) stop_one(engine);
      take_step(engine);
    }
    if (step == kMaxSteps) complain("no end of it");
    occurred_.continued_elsewhere += static_cast<int64_t>(live_.size());
    while (!live_.empty()) stop(engine, live_.begin(), /*continues=*/true);
    while (!engine.idle()) take_step(engine);
    occurred_.preempted += engine.stats().preempted;
    occurred_.hit_tokens += engine.stats().prefix_hit_tokens;
  }

  void add(EngineCore& engine) {
    Live live = std::move(to_add_.back());
    live.num_scored = 0;
    to_add_.pop_back();
    Request request = known_[live.known].request;
    request.output = ids_of(live.draws);
    request.priority = static_cast<int32_t>(random_.below(3));
    request.cache_namespace = random_.below(6) == 0 ? 1 : 0;
    const auto size = static_cast<int64_t>(request.prompt.size() + request.output.size());
    occurred_.in_chunks += size > engine.config().chunk_size;
    live_.emplace(engine.add(Request::from_json(request.to_json())), std::move(live));
  }

  void stop_one(EngineCore& engine) {
    auto victim = live_.begin();
    std::advance(victim, random_.below(static_cast<int64_t>(live_.size())));
    const bool continues = random_.below(2) == 0;
    ++(continues ? occurred_.continued_here : occurred_.cancelled);
    stop(engine, victim, continues);
  }

  void stop(EngineCore& engine, std::map<int64_t, Live>::iterator victim, bool continues) {
    engine.cancel(victim->first);
    if (continues) to_add_.push_back(std::move(victim->second));
    live_.erase(victim);
  }

  void take_step(EngineCore& engine) {
    const int64_t hits = engine.stats().prefix_hit_tokens;
    int64_t num_draws = 0;
    for (const TokenEvent& event : engine.step()) {
      num_draws += event.draw.has_value();
      take(event);
    }
    engine.scheduler().check_pages();
    occurred_.copied_pages += (engine.stats().prefix_hit_tokens - hits) % engine.config().page_size != 0;
    occurred_.many_at_once += num_draws > 1;
  }

  void take(const TokenEvent& event) {
    const auto found = live_.find(event.sequence);
    if (found == live_.end()) {
      if (event.draw || !event.prompt.empty() || event.finish != FinishReason::cancelled)
        complain("a sequence that was stopped goes on");
      return;
    }
    Live& live = found->second;
    const Known& wanted = known_[live.known];
    for (const Draw& scored : event.prompt) {
      const size_t i = live.num_scored++;
      if (i >= wanted.prompt.size() || words(scored) != words(wanted.prompt[i]))
        return complain(fmt::format("request {}: token {} of the prompt is scored otherwise", live.known, i + 1));
      ++occurred_.scored;
    }
    if ((event.draw || event.stop_token) && live.num_scored != wanted.prompt.size())
      complain(fmt::format("request {}: {} tokens of the prompt are scored, and alone {}", live.known, live.num_scored,
                           wanted.prompt.size()));
    if (event.draw) {
      const size_t i = live.draws.size();
      if (i >= wanted.draws.size()) return complain(fmt::format("request {}: more than {} tokens", live.known, i));
      if (words(*event.draw) != words(wanted.draws[i]))
        return complain(fmt::format("request {}: token {} is {:x}, and alone {:x}", live.known, i,
                                    fmt::join(words(*event.draw), " "), fmt::join(words(wanted.draws[i]), " ")));
      live.draws.push_back(*event.draw);
    }
    if (!event.finish) return;
    const int32_t stop_id = event.stop_token ? event.stop_token->id : -1;
    if (event.finish != wanted.finish || stop_id != wanted.stop_id || live.draws.size() != wanted.draws.size())
      complain(fmt::format("request {}: ends after {} tokens with {} {}, and alone after {} with {} {}", live.known,
                           live.draws.size(), finish_name(*event.finish), stop_id, wanted.draws.size(),
                           finish_name(wanted.finish), wanted.stop_id));
    occurred_.stopped += event.finish == FinishReason::stop;
    live_.erase(found);
  }

  void complain(const std::string& what) { complaints_.push_back(fmt::format("schedule {}: {}", seed_, what)); }

  const Instance& on_;
  const std::vector<Known>& known_;
  uint64_t seed_;
  Random random_;
  Occurrences& occurred_;
  std::vector<Live> to_add_;
  std::map<int64_t, Live> live_;  // by sequence id
  std::vector<std::string> complaints_;
};

}  // namespace

Instance::Instance(const Subject& subject, const std::string& backend)
    : checkpoint(Checkpoint::open(ModelFolder::find(source_path("tests/data/checkpoints/" + subject.checkpoint), ""))),
      ops(make_backend(backend)),
      model(load_model(*ops, checkpoint->config(), rope_settings(checkpoint->config()), CheckpointTensors(*checkpoint),
                       subject.dtype)),
      rope_when(subject.rope_when) {}

Instance::Instance(const ModelConfig& config, const TensorSource& tensors, DTypeChoice dtype,
                   const std::string& backend)
    : ops(make_backend(backend)),
      model(load_model(*ops, config, rope_settings(config), tensors, dtype)),
      rope_when(RopeWhen::needed) {}

std::vector<uint32_t> words(const Draw& draw) {
  std::vector<uint32_t> words = {static_cast<uint32_t>(draw.id), std::bit_cast<uint32_t>(draw.logprob)};
  for (const TokenLogprob& top : draw.top) {
    words.push_back(static_cast<uint32_t>(top.id));
    words.push_back(std::bit_cast<uint32_t>(top.logprob));
  }
  return words;
}

std::vector<Known> answer_alone(const Instance& on, int64_t count, uint64_t seed) {
  EngineCore engine(*on.ops, *on.model,
                    {.max_seq_len = kMaxSeqLen,
                     .chunk_size = kMaxSeqLen,
                     .prefix_cache = false,
                     .overlap = false,
                     .rope_when = on.rope_when});
  Random random(seed);
  std::vector<std::vector<int32_t>> beginnings(3);
  for (std::vector<int32_t>& beginning : beginnings)
    append_random(beginning, random, random.between(100, 200), on.vocab_size());
  std::vector<Known> all;
  while (static_cast<int64_t>(all.size()) < count) {
    Known known{.request = {.prompt = random_prompt(random, beginnings, all, on.vocab_size()),
                            .sampling = random_sampling(random, on.vocab_size())},
                .prompt = {},
                .draws = {}};
    engine.add(known.request);
    while (!engine.idle())
      for (TokenEvent& event : engine.step()) {
        std::ranges::move(event.prompt, std::back_inserter(known.prompt));
        if (event.draw) known.draws.push_back(std::move(*event.draw));
        if (!event.finish) continue;
        known.finish = *event.finish;
        if (event.stop_token) known.stop_id = event.stop_token->id;
      }
    all.push_back(std::move(known));
  }
  return all;
}

std::vector<std::string> run_schedule(const Instance& on, const std::vector<Known>& known, uint64_t seed,
                                      Occurrences& occurred) {
  return Schedule(on, known, seed, occurred).run();
}

std::vector<std::vector<Draw>> continue_all(const Instance& on, const std::vector<Request>& requests) {
  EngineCore engine(
      *on.ops, *on.model,
      {.max_seq_len = kMaxSeqLen, .num_pages = 12, .chunk_size = 50, .max_sequences = 4, .rope_when = on.rope_when});
  for (const Request& request : requests) engine.add(request);  // ids are counted from 0
  std::vector<std::vector<Draw>> rests(requests.size());
  while (!engine.idle())
    for (TokenEvent& event : engine.step()) {
      std::vector<Draw>& rest = rests[static_cast<size_t>(event.sequence)];
      std::ranges::move(event.prompt, std::back_inserter(rest));
      if (event.draw) rest.push_back(std::move(*event.draw));
    }
  return rests;
}

}  // namespace qwill::test
