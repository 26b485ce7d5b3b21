// Requests on real backends and tiny checkpoints: what each gives alone, and random schedules that must give the same.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine_core.h"
#include "support/random.h"

namespace qwill::test {

struct Subject {
  std::string checkpoint;  // below tests/data/checkpoints
  DTypeChoice dtype = DTypeChoice::automatic;
  RopeWhen rope_when = RopeWhen::always;
};
// Tokens of one sequence; also what yarn's config allows.
constexpr int64_t kMaxSeqLen = 256;

// A model on a backend of its own.
struct Instance {
  Instance(const Subject& subject, const std::string& backend);
  // The tensors must outlive it.
  Instance(const ModelConfig& config, const TensorSource& tensors, DTypeChoice dtype, const std::string& backend);
  int64_t vocab_size() const { return model->config().vocab_size; }

  std::optional<Checkpoint> checkpoint;  // where the weights lie in its files
  std::unique_ptr<Ops> ops;
  std::unique_ptr<Model> model;
  RopeWhen rope_when;
};

// Everything about a draw, for comparisons to the bit: its id, its log-probability's bits, and the same of `top`.
std::vector<uint32_t> words(const Draw& draw);

// A request and its answer.
struct Known {
  Request request;
  std::vector<Draw> prompt;  // its tokens with their log-probabilities, if asked for
  std::vector<Draw> draws;
  FinishReason finish = FinishReason::length;
  int32_t stop_id = -1;
};

// Greedy and sampled requests with penalties, biases, stop ids and log-probabilities, whose prompts begin alike or
// continue another's answer, each answered alone: one sequence, whole prompts, no prefix cache, no overlap.
std::vector<Known> answer_alone(const Instance& on, int64_t count, uint64_t seed);

// How often what a schedule is meant to do was done.
struct Occurrences {
  int64_t preempted = 0, hit_tokens = 0, copied_pages = 0;
  int64_t cancelled = 0, continued_here = 0, continued_elsewhere = 0;  // sequences
  int64_t in_chunks = 0, stopped = 0, many_at_once = 0;                // prompts, sequences, steps
  int64_t scored = 0;                                                  // tokens of prompts
  int64_t overlapping = 0, reserving = 0, without_cache = 0;           // engines
};

// Runs a random choice of the requests through engines of random limits, one after the other: arrivals, cancellations,
// sequences stopped and continued from their journals. Returns one line for each answer that differs from the known
// one.
std::vector<std::string> run_schedule(const Instance& on, const std::vector<Known>& known, uint64_t seed,
                                      Occurrences& occurred);

// The rest of each answer, behind the prompt's tokens if their log-probabilities are wanted; the requests run together.
std::vector<std::vector<Draw>> continue_all(const Instance& on, const std::vector<Request>& requests);

}  // namespace qwill::test
