// A model under the name by which requests ask for it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "llm/parts.h"
#include "qwill/llm.h"
#include "server/metrics.h"

namespace qwill {

struct ServedModel {
  std::string name;
  ModelMetrics metrics = {};  // outlives the answers, which count in it
  std::unique_ptr<Llm> llm;
  int64_t created = 0;  // seconds since 1970

  const Tokenizer* tokenizer() const {
    const auto& tokenizer = llm->parts().tokenizer;
    return tokenizer ? &*tokenizer : nullptr;
  }
};

}  // namespace qwill
