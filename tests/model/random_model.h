// Small models that nobody has published: random shapes that are odd multiples of what kernels take at once, random
// weights, in every way that a backend can hold them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/model.h"
#include "support/random.h"

namespace qwill::test {

struct RandomModel {
  ModelConfig config;
  DType stored = DType::bf16;  // of the weights
  DTypeChoice dtype = DTypeChoice::automatic;
  DType cache = DType::f32;
  int64_t page_size = 64;
  bool poisoned = false;  // the last token
  uint64_t seed = 0;      // of the weights

  std::string describe() const;
};

enum class ModelKind : uint8_t {
  small,
  large,     // products of many pieces
  poisoned,  // small, with a token whose embedding is not a number: its rows spoil whatever they can
};
// One that the backend takes.
RandomModel random_model(Random& random, const std::string& backend, ModelKind kind);

// Its weights: matrices uniform with variance 1 / cols, embeddings ± 1, norms 0.5 … 1.5; the same for each name
// whenever it is asked for.
class RandomModelTensors final : public TensorSource {
 public:
  explicit RandomModelTensors(const RandomModel& model) : model_(model) {}
  WeightSource get(const std::string& name, int64_t rows, int64_t cols) const override;

 private:
  const RandomModel& model_;
  mutable std::map<std::string, std::vector<char>> tensors_;
};

}  // namespace qwill::test
