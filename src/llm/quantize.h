// A checkpoint's matrices rounded ahead of time to the panels that the CPU computes with, so that they load by being
// mapped.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "qwill/options.h"
#include "weights/model_folder.h"

namespace qwill {

struct QuantizeOptions {
  DTypeChoice dtype = DTypeChoice::int4;  // int8 or int4
  int num_threads = 0;                    // 0: as many as there are cores to run on
  std::string cpu_path = "";              // empty: the best; all make the same bytes
  int64_t max_file_bytes = 5'000'000'000;
  // Bytes of the model that have been read; may be empty.
  std::function<void(int64_t done, int64_t total)> progress = nullptr;
  const std::atomic<bool>* cancel = nullptr;  // stops it when it becomes true
};

// Writes the model to the folder `out`, which must not exist and appears at the end, whole. False if it was cancelled.
// Throws Error: for a model that has been quantised, for what cannot be read or written.
bool quantize_model(const ModelFolder& model, const std::string& out, const QuantizeOptions& options);

}  // namespace qwill
