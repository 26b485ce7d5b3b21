// Flags that several commands share, and what they stand for.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "qwill/options.h"
#include "weights/model_folder.h"

namespace qwill::cli {

// MODEL: a folder, a hub name, or nothing for the built-in model.
void add_model(CLI::App& command, std::string& model);
// The folder of MODEL; a hub name that is not in the cache is fetched (cli/hub.h).
ModelFolder find_model(const std::string& model);

// MODEL and everything about how it runs: device, dtype, threads, lengths, rope.
void add_llm_options(CLI::App& command, LlmOptions& options);
// The same without MODEL.
void add_run_options(CLI::App& command, LlmOptions& options);

// FLAG 1.5GB, in a decimal or a binary unit.
void add_bytes(CLI::App& command, const std::string& flag, int64_t& bytes, const std::string& description);

// Of commands that run many sequences at once: --max-seqs, --memory, --reserve.
void add_batch_options(CLI::App& command, LlmOptions& options);

// Whole numbers separated by commas or white space. Throws Error(kind) for what is none.
std::vector<int32_t> parse_ids(std::string_view text, ErrorKind kind);
// The value of --token-ids: "1,2,3" or "@FILE". Throws Error(usage), or for a file Error(invalid), for what is no id.
std::vector<int32_t> parse_token_ids(const std::string& text);

// --output text|json
void add_output_format(CLI::App& command, bool& json);

}  // namespace qwill::cli
