// Brings a model from the hub into the local cache: all files that qwill reads of it, and the few more that other
// programs want of a tokenizer.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "hub/hub_name.h"

namespace qwill {

struct PullProgress {
  int64_t done_bytes = 0, total_bytes = 0;
  std::string_view note;  // what is waited for while nothing comes; may be empty
};

struct PullOptions {
  std::string endpoint;                               // "https://huggingface.co"
  std::string token;                                  // may be empty
  std::string hub_cache;                              // its folder
  const std::atomic<bool>* cancel = nullptr;          // looked at all the time; may be null
  std::function<void(const PullProgress&)> progress;  // called often; may be empty
};

// The folder of the snapshot, once all of it is there and checked; nothing if it was cancelled. Whatever ends it early,
// what has come is kept, and the next call goes on from there. Several processes may pull one model: one does, the
// others wait. Throws Error of one line.
std::optional<std::string> pull_model(const PullOptions& options, const HubName& name);

}  // namespace qwill
