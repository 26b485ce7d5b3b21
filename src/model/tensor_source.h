// Where a model's weights come from, by the hub's names.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/ops.h"
#include "weights/checkpoint.h"

namespace qwill {

// That a source's values take; of panels none.
int64_t source_bytes(const WeightSource& source);

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  // The [rows, cols] tensor of that name (a vector is one row). Alive as long as the source.
  virtual WeightSource get(const std::string& name, int64_t rows, int64_t cols) const = 0;
  // The source's values have been taken and will not be read again: the memory that they occupy may go.
  virtual void release(const WeightSource&) const {}
};

// The tensors of a checkpoint, where they were mapped.
class CheckpointTensors final : public TensorSource {
 public:
  explicit CheckpointTensors(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  WeightSource get(const std::string& name, int64_t rows, int64_t cols) const override;
  void release(const WeightSource& source) const override;

 private:
  const Checkpoint& checkpoint_;
};

// Random weights that the backend makes in place: the same distribution as RandomTensors.
class RandomValues final : public TensorSource {
 public:
  explicit RandomValues(const ModelConfig& config) : config_(config) {}
  WeightSource get(const std::string& name, int64_t rows, int64_t cols) const override;

 private:
  ModelConfig config_;
  mutable uint64_t next_seed_ = 0;
};

// Random bf16 weights of a model's size, for measurements: matrices normal-like with variance 1 / cols, norms near 1.
class RandomTensors final : public TensorSource {
 public:
  // Throws Error(io) if the memory cannot be had.
  explicit RandomTensors(const ModelConfig& config);
  ~RandomTensors() override;
  WeightSource get(const std::string& name, int64_t rows, int64_t cols) const override;
  void release(const WeightSource& source) const override;

 private:
  ModelConfig config_;
  int64_t bytes_ = 0;
  mutable int64_t used_ = 0;
  char* data_ = nullptr;
};

// Random weights for a backend: made in place on a card, else in memory.
std::unique_ptr<TensorSource> random_source(const ModelConfig& config, bool on_cuda);

}  // namespace qwill
