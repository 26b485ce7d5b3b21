// Random steps of a model on a backend: sequences in chunks and one by one, together and beside each other, on pages
// that others have left, share or have copied, with tokens that the backend drew; and the same sequences alone.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/random_model.h"

namespace qwill::test {

struct PlayedSequence {
  std::vector<int32_t> tokens;
  RopeKind rope = RopeKind::plain;
  bool is_poison = false;                        // not a number may be what comes of it
  std::map<int64_t, std::vector<float>> logits;  // of some positions
};

// How often what a play is meant to do was done.
struct PlayedEvents {
  int64_t steps = 0, decode_steps = 0, single_steps = 0, beside_prompts = 0;  // the last: rows that decode
  int64_t shared_pages = 0, copied_pages = 0, begun_again = 0;
  int64_t from_draws = 0, ended_rows = 0;  // rows
  int64_t poison_rows = 0, most_rows = 0, beyond_1024 = 0;
};

struct Play {
  std::vector<PlayedSequence> sequences;
  PlayedEvents events;
  std::vector<std::string> complaints;  // of rows that were computed twice and differ, and of what is not a number
};

struct PlayLimits {
  int64_t tokens = 0;     // of all sequences
  bool poisoned = false;  // some sequences are poison
};
Play play_random_steps(Ops& ops, const Model& model, const RandomModel& shape, const PlayLimits& limits, uint64_t seed);

// The logits of all positions of one sequence, chunk rows a step; of one row each they are decode steps.
std::vector<std::vector<float>> run_alone(Ops& ops, const Model& model, PagedKv& kv, const PlayedSequence& sequence,
                                          int64_t chunk, uint64_t seed);
PagedKv make_cache(Ops& ops, const RandomModel& shape, DType dtype, int64_t num_pages);

}  // namespace qwill::test
