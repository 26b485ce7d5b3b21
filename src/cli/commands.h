// The subcommands of qwill. Each add_… registers one, with its flags, help and body.
#pragma once

#include <CLI/CLI.hpp>

namespace qwill::cli {

void add_generate(CLI::App& app);
void add_serve(CLI::App& app);
void add_chat(CLI::App& app);
void add_batch(CLI::App& app);
void add_tokenize(CLI::App& app);
void add_detokenize(CLI::App& app);
void add_render(CLI::App& app);
void add_logits(CLI::App& app);
void add_verify(CLI::App& app);
void add_inspect(CLI::App& app);
void add_bench(CLI::App& app);
void add_plan(CLI::App& app);
void add_pull(CLI::App& app);
void add_quantize(CLI::App& app);

}  // namespace qwill::cli
