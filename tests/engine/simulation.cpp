#include "engine/simulation.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace qwill::test {

ModelConfig Simulation::model() {
  ModelConfig model;
  model.vocab_size = kVocabSize;
  model.max_position_embeddings = 1 << 20;
  model.yarn = YarnConfig{};
  model.yarn->original_max_position_embeddings = 64;
  return model;
}

Simulation::Simulation(const EngineConfig& config, const Traffic& traffic)
    : config_(config), traffic_(traffic), random_(traffic.seed) {
  config_.rope_when = RopeWhen::needed;
  for (int64_t i = 0; i < traffic.num_stems; ++i) {
    std::vector<int32_t>& stem = stems_.emplace_back();
    for (int64_t k = 0; k < traffic.max_prompt; ++k) stem.push_back(static_cast<int32_t>(random_.below(kVocabSize)));
  }
  start_engine();
}

void Simulation::start_engine() {
  const int64_t clock_ns = runner_ ? runner_->clock_ns() : 0;
  auto runner = std::make_unique<SimulatedRunner>(config_, kVocabSize);
  runner_ = runner.get();
  runner_->wait_until(clock_ns);
  if (traffic_.steps_between_failures > 0) runner_->fail_after(random_.below(4 * traffic_.steps_between_failures) + 1);
  engine_ = std::make_unique<EngineCore>(std::move(runner), model(), config_);
  engine_finished_ = engine_output_ = 0;
}

Request Simulation::make_request() {
  Request request;
  if (last_request_ && chance(20)) {  // another answer to the same prompt
    request = *last_request_;
    ++request.sampling.choice;
    return request;
  }
  const int64_t length = random_.between(1, chance(80) ? traffic_.max_prompt / 2 : traffic_.max_prompt);
  if (chance(70)) {
    const std::vector<int32_t>& stem = stems_[static_cast<size_t>(random_.below(traffic_.num_stems))];
    request.prompt.assign(stem.begin(), stem.begin() + random_.between(0, length));
  }
  while (static_cast<int64_t>(request.prompt.size()) < length)
    request.prompt.push_back(static_cast<int32_t>(random_.below(kVocabSize)));
  request.sampling.seed = random_.next();
  request.sampling.max_tokens = random_.between(1, traffic_.max_tokens);
  if (chance(traffic_.stops))
    for (int i = 0; i < 10; ++i) request.sampling.stop_ids.push_back(static_cast<int32_t>(random_.below(kVocabSize)));
  if (chance(traffic_.penalised)) request.sampling.presence_penalty = 1;
  if (chance(traffic_.scored)) request.sampling.num_prompt_logprobs = static_cast<int32_t>(random_.below(3));
  request.priority = static_cast<int32_t>(random_.below(traffic_.num_priorities));
  request.cache_namespace = static_cast<int32_t>(
      traffic_.requests_per_namespace > 0 ? num_added_ / traffic_.requests_per_namespace : random_.below(2));
  last_request_ = request;
  return request;
}

void Simulation::add(Request request) {
  if (chance(traffic_.deadlines)) request.deadline = now() + std::chrono::nanoseconds(random_.below(300'000'000));
  const auto prompt_len = static_cast<int64_t>(request.prompt.size());
  const int64_t max_len = std::min(prompt_len + request.sampling.max_tokens, config_.max_seq_len);
  const bool yarn = max_len > model().yarn->original_max_position_embeddings;
  Live live{.source = TokenSource({yarn ? RopeKind::yarn : RopeKind::plain, request.cache_namespace}, request.sampling),
            .sampling = request.sampling,
            .priority = request.priority,
            .deadline = request.deadline,
            .prompt_len = prompt_len,
            .max_len = max_len,
            .prompt = {},
            .index = ids_.size()};
  const int32_t num_logprobs = request.sampling.num_prompt_logprobs;
  for (const int32_t token : request.prompt) {
    if (num_logprobs >= 0) live.prompt.push_back({token, live.source.score(token, num_logprobs), {}});
    live.source.push(token);
  }
  if (num_logprobs >= 0) live.prompt.erase(live.prompt.begin());
  const int64_t id = engine_->add(std::move(request));
  ids_.push_back(id);
  order_.emplace(live.priority, id);
  if (live.deadline) deadlines_.emplace(*live.deadline, id);
  live_.emplace(id, std::move(live));
  ++num_added_;
}

void Simulation::arrive() {
  while (num_added_ < traffic_.num_requests && static_cast<int64_t>(live_.size()) < traffic_.max_live) {
    if (engine_->idle()) runner_->wait_until(next_arrival_ns_);
    if (next_arrival_ns_ > runner_->clock_ns()) return;
    const bool many = chance(3);
    for (int64_t count = many ? random_.between(2, 20) : 1; count > 0; --count) add(make_request());
    next_arrival_ns_ = runner_->clock_ns() + random_.below(2 * traffic_.mean_interval_ns);
  }
}

// Anyone at any moment, and some before their first step.
void Simulation::cancel_some() {
  if (ids_.empty() || random_.below(1000) >= 10 * traffic_.cancelled) return;
  const size_t index = chance(30) ? ids_.size() - 1 : static_cast<size_t>(random_.below(std::ssize(ids_)));
  const int64_t id = ids_[index];
  for (int64_t times = random_.between(1, 2); times > 0; --times) engine_->cancel(id);
  engine_->cancel(id - 1'000'000'000);
  live_.at(id).cancelled = true;
  just_cancelled_.push_back(id);
}

void Simulation::end(int64_t id, FinishReason reason) {
  const auto found = live_.find(id);
  const Live& live = found->second;
  order_.erase({live.priority, id});
  if (live.deadline) deadlines_.erase({*live.deadline, id});
  const int64_t moved = ids_.back();
  live_.at(moved).index = live.index;
  ids_[live.index] = moved;
  ids_.pop_back();
  live_.erase(found);
  ++ended_[static_cast<size_t>(reason)];
  ++engine_finished_;
}

void Simulation::take(const TokenEvent& event, Time now) {
  const auto require = [&](bool kept, const char* promise) {
    if (!kept) broken(fmt::format("{} (sequence {}, step {})", promise, event.sequence, num_steps_));
  };
  const auto found = live_.find(event.sequence);
  require(found != live_.end(), "a sequence has one end, and no event behind it");
  Live& live = found->second;
  if (event.sequence == first_id_ && (event.draw || event.finish)) first_id_ = -1;
  for (const Draw& scored : event.prompt) {
    require(live.num_scored < std::ssize(live.prompt), "a token of the prompt is scored once, if it was to be");
    const Draw& wanted = live.prompt[static_cast<size_t>(live.num_scored++)];
    require(scored.id == wanted.id && scored.logprob == wanted.logprob, "the scores of a prompt are its own");
    ++num_scored_;
  }
  require(event.prompt.empty() || !live.cancelled, "a cancelled sequence is not scored");
  const int32_t expected = live.source.draw(kVocabSize);
  const bool stops = std::ranges::find(live.sampling.stop_ids, expected) != live.sampling.stop_ids.end();
  if (event.draw || event.finish == FinishReason::stop)
    require(live.num_scored == std::ssize(live.prompt), "the prompt is scored before a token is drawn");
  if (event.draw) {
    require(event.draw->id == expected, "a sequence's tokens are its own");
    require(!stops, "an end token is not part of the output");
    require(!live.cancelled, "a cancelled sequence draws no more");
    live.source.push(expected);
    ++live.output;
    ++engine_output_;
  }
  const bool full = live.prompt_len + live.output == live.max_len;
  if (!event.finish) {
    require(event.draw || !event.prompt.empty(), "an event has tokens or an end");
    require(!full, "the last token ends the sequence");
    return;
  }
  switch (*event.finish) {
    case FinishReason::stop:
      require(!event.draw && stops && event.stop_token && event.stop_token->id == expected, "an end token stops");
      break;
    case FinishReason::length: require(event.draw && full, "a sequence ends where its length does"); break;
    case FinishReason::cancelled: require(!event.draw && live.cancelled, "who is cancelled was to be"); break;
    case FinishReason::deadline: require(!event.draw && live.deadline && *live.deadline <= now, "in time"); break;
    case FinishReason::failed: require(!engine_->failure().empty(), "sequences fail with the device"); break;
  }
  end(event.sequence, *event.finish);
}

// The first in order always advances: it is begun at once, gets a row a step at least, and a token in two steps.
void Simulation::check_first() {
  if (config_.reserve || order_.empty()) return;
  const int64_t id = order_.begin()->second;
  if (id != first_id_) {
    const Live& live = live_.at(id);
    first_id_ = id;
    first_patience_ = live.prompt_len + live.output + 4;
  }
  if (first_patience_-- == 0) broken(fmt::format("the first in order advances (sequence {}, step {})", id, num_steps_));
}

void Simulation::check_step(Time now) {
  const auto require = [&](bool kept, const char* promise) {
    if (!kept) broken(fmt::format("{} (step {})", promise, num_steps_));
  };
  for (const int64_t id : std::exchange(just_cancelled_, {}))
    require(!live_.contains(id), "a cancelled sequence ends within one step");
  require(deadlines_.empty() || deadlines_.begin()->first > now, "a sequence ends at its deadline");
  const EngineStats stats = engine_->stats();
  require(stats.running <= config_.max_sequences, "not more run than may");
  require(stats.running + stats.waiting == std::ssize(ids_), "all that live run or wait");
  require(stats.finished == engine_finished_ && stats.output_tokens == engine_output_, "ends and tokens are counted");
  require(stats.prompt_tokens >= stats.prefix_hit_tokens + stats.computed_prompt_tokens, "prompts are counted once");
  require(stats.free_pages >= 0 && stats.free_pages + stats.cached_pages <= stats.num_pages, "pages are counted");
  require(!config_.reserve || stats.preempted == 0, "with reserve none begins again");
  if (engine_->idle()) require(stats.free_pages + stats.cached_pages == stats.num_pages, "all pages come back");
  if (num_steps_ % traffic_.check_pages_every == 0) engine_->scheduler().check_pages();
  check_first();
}

bool Simulation::step() {
  arrive();
  cancel_some();
  if (engine_->idle() && num_added_ >= traffic_.num_requests) {
    engine_->scheduler().check_pages();
    return false;
  }
  const Time now = this->now();
  const int64_t rows = runner_->num_rows();
  const std::vector<TokenEvent> events = engine_->step(now);
  for (const TokenEvent& event : events) take(event, now);
  // A step whose draws are still under way tells nothing, nor does one that only waits for them; but not two.
  num_vain_ = events.empty() && rows == runner_->num_rows() ? num_vain_ + 1 : 0;
  if (num_vain_ == 2 && !engine_->idle()) broken(fmt::format("an engine that is not idle works (step {})", num_steps_));
  check_step(now);
  ++num_steps_;
  if (engine_->failure().empty()) return true;
  if (!live_.empty() || engine_->stats().free_pages != config_.num_pages)
    broken("a device that fails ends every sequence, and nothing of it is remembered");
  try {
    add(make_request());
    broken("a failed engine takes no more");
  } catch (const Error&) {
  }
  ++num_failures_;
  start_engine();
  return true;
}

}  // namespace qwill::test
