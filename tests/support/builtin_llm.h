// The built-in model on the CPU, opened once for all tests.
#pragma once

#include "qwill/llm.h"

namespace qwill::test {

inline Llm& builtin_llm() {
  static const std::unique_ptr<Llm> llm = [] {
    LlmOptions options;
    options.device = "cpu";
    options.num_threads = 1;
    options.max_sequences = 4;
    return Llm::open(options);
  }();
  return *llm;
}

}  // namespace qwill::test
