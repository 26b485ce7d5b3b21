// qwill serve: the models behind OpenAI's HTTP API.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <filesystem>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/hub.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"
#include "llm/memory_plan.h"
#include "llm/parts.h"
#include "server/api_server.h"

namespace qwill::cli {
namespace {

constexpr auto kPoll = std::chrono::milliseconds(20);

struct Serve {
  LlmOptions llm;
  std::vector<std::string> models, names;
  std::string host = "127.0.0.1", api_key_file;
  int port = 8000, drain_time_s = 30, request_time_s = 0;
  bool quiet = false;
  ServerOptions server;

  void run();
  std::vector<std::string> model_names() const;
  std::vector<LlmOptions> model_options() const;
};

// One key a line; blank lines and those that begin with # are none.
std::vector<std::string> read_keys(const std::string& path) {
  std::istringstream lines(with_context("--api-key-file", [&] { return read_file(path); }));
  std::vector<std::string> keys;
  for (std::string line; std::getline(lines, line);) {
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.pop_back();
    if (!line.empty() && line.front() != '#') keys.push_back(line);
  }
  if (keys.empty()) fail_invalid("--api-key-file {}: there is no key in it", path);
  return keys;
}

// As told, else the hub's name or the folder's.
std::vector<std::string> Serve::model_names() const {
  if (names.size() > models.size())
    fail(ErrorKind::usage, "{} --served-model-name for {} models", names.size(), models.size());
  std::vector<std::string> all;
  std::set<std::string> known;
  for (size_t i = 0; i < models.size(); ++i) {
    std::string name = i < names.size() ? names[i] : models[i];
    if (i >= names.size() && std::filesystem::exists(name)) {
      const auto path = std::filesystem::weakly_canonical(name);
      name = path.filename().string();
    }
    if (name.empty()) name = "nib";  // the built-in model
    if (!known.insert(name).second)
      fail(ErrorKind::usage, "two models have the name \"{}\": tell them apart with --served-model-name", name);
    all.push_back(std::move(name));
  }
  return all;
}

// Of each model. Where several share a device and no --memory is given, each has what its weights and its work need,
// and caches get equal shares of the rest.
std::vector<LlmOptions> Serve::model_options() const {
  std::vector<LlmOptions> all(models.size(), llm);
  for (size_t i = 0; i < models.size(); ++i) all[i].model = models[i];
  if (models.size() == 1 || llm.memory_bytes > 0) return all;
  std::vector<int64_t> needs;
  int64_t rest = 0;
  for (const LlmOptions& options : all) {
    const MemoryPlan plan = plan_memory(options);
    if (needs.empty()) rest = plan.memory_bytes;
    needs.push_back(plan.total_bytes() - plan.num_pages * plan.page_bytes);
    rest -= needs.back();
  }
  if (rest <= 0) fail_invalid("these models need {} MiB more than there is, together", -rest / (1 << 20) + 1);
  for (size_t i = 0; i < all.size(); ++i) all[i].memory_bytes = needs[i] + rest / std::ssize(all);
  return all;
}

void Serve::run() {
  if (models.empty()) models = {""};
  for (const std::string& model : models) fetch_if_absent(model);
  const std::vector<std::string> served_names = model_names();
  if (!api_key_file.empty()) std::ranges::move(read_keys(api_key_file), std::back_inserter(server.api_keys));
  std::erase(server.api_keys, "");
  if (request_time_s > 0) server.request_time = std::chrono::seconds(request_time_s);
  server.log_requests = !quiet;
  server.limits.max_bodies_bytes = std::max(server.limits.max_bodies_bytes, 4 * server.limits.max_body_bytes);

  // A port that is taken is told before minutes are spent on loading.
  ApiServer api(server);
  const int bound = api.listen(host, port);
  const std::string shown = host.find(':') == std::string::npos ? host : "[" + host + "]";
  std::vector<std::unique_ptr<ServedModel>> served;
  const std::vector<LlmOptions> options = model_options();
  for (size_t i = 0; i < models.size(); ++i) {
    auto model = std::make_unique<ServedModel>();
    model->name = served_names[i];
    model->llm = Llm::open(options[i]);
    model->created = std::time(nullptr);
    for (const std::string& warning : model->llm->warnings()) warn(warning);
    warn(fmt::format("{}: {} tokens of context, {} sequences at once, on {}", model->name,
                     model->llm->engine().max_seq_len(), model->llm->engine().max_sequences(),
                     model->llm->device_name()));
    served.push_back(std::move(model));
  }
  const CatchInterrupt catching;
  api.serve(std::move(served));
  if (server.api_keys.empty() && host != "127.0.0.1" && host != "localhost" && host != "::1")
    warn("whoever reaches this address may use it: --api-key asks for a key");
  // From here on stderr may be a pipe that nobody reads: lines go through the log, which waits for nobody.
  api.say(fmt::format("qwill: listening on http://{}:{}", shown, bound));
  while (!interrupted()) std::this_thread::sleep_for(kPoll);
  api.say("qwill: shutting down: requests under way are answered; another signal ends at once");
  if (!api.drain(std::chrono::seconds(drain_time_s))) {
    api.say("qwill: a step of the engine does not end: its requests are lost");
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // for the line to be written
    ::_exit(1);
  }
  obeyed_interrupt();
}

// --max-seq-len is also QWILL_MAX_SEQ_LEN.
void read_environment(CLI::App& command) {
  for (CLI::Option* option : command.get_options()) {
    std::string name = option->get_lnames().empty() ? option->get_name() : option->get_lnames().front();
    if (name == "help") continue;
    for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    option->envname("QWILL_" + name);
  }
}

// What the command line and the environment leave open. (CLI11 reads configuration files for the whole program alone,
// not for one command.)
void read_config(CLI::App& command, const std::string& path) {
  std::istringstream file(with_context("--config", [&] { return read_file(path); }));
  for (const CLI::ConfigItem& item : CLI::ConfigTOML().from_config(file)) {
    CLI::Option* option = item.parents.empty() ? command.get_option_no_throw("--" + item.name) : nullptr;
    if (!option) fail(ErrorKind::usage, "--config {}: there is no flag --{}", path, item.fullname());
    if (option->count() > 0) continue;
    for (const std::string& input : item.inputs) option->add_result(input);
  }
}

}  // namespace

void add_serve(CLI::App& app) {
  CLI::App* command = app.add_subcommand("serve", "Answer requests of OpenAI's API over HTTP.");
  const auto serve = std::make_shared<Serve>();
  // First, so that the flags after it are read with what it adds to them.
  command
      ->add_option_function<std::string>(
          "--config", [command](const std::string& path) { read_config(*command, path); },
          "flags from a TOML file: host = \"0.0.0.0\"")
      ->type_name("FILE");
  command->add_option("MODEL", serve->models, "folders or hub names (default: the built-in model)")
      ->type_name("")
      ->expected(0, -1);
  command->add_option("--host", serve->host, "address to listen on (127.0.0.1: this machine alone)");
  add_number(*command, "--port", serve->port, 0, 65535, "port (8000; 0: one that is free)");
  command->add_option("--served-model-name", serve->names, "by which requests name the model; one a model")
      ->type_name("NAME");
  command->add_option("--api-key", serve->server.api_keys, "that requests must bring; repeatable")->type_name("KEY");
  command->add_option("--api-key-file", serve->api_key_file, "the same, one a line")->type_name("FILE");
  command->add_option("--cors-origin", serve->server.origins, "whose pages may ask from a browser; * for all")
      ->type_name("ORIGIN");
  add_number(*command, "--max-connections", serve->server.limits.max_connections, int64_t{1}, int64_t{1} << 20,
             "connections at once; more are told to come back (8192)");
  add_number(*command, "--max-queued", serve->llm.max_queued, int64_t{0}, int64_t{1} << 20,
             "sequences that wait beside those that run; more are answered with 429 (4096)");
  add_bytes(*command, "--max-body", serve->server.limits.max_body_bytes, "of a request (32MiB)");
  add_number(*command, "--request-timeout", serve->request_time_s, 1, 1 << 24,
             "seconds that a request may take (default: any)");
  add_number(*command, "--drain-timeout", serve->drain_time_s, 0, 1 << 24,
             "seconds that requests under way get after SIGTERM (30)");
  add_number(*command, "--http-threads", serve->server.http_threads, 1, 256, "threads for connections (2)");
  command->add_flag("--allow-priority", serve->server.allow_priority,
                    "requests may name a \"priority\" (lower comes first), which can take the place of others");
  command->add_flag("--quiet", serve->quiet, "no line on stderr for each request");
  add_run_options(*command, serve->llm);
  add_batch_options(*command, serve->llm);
  read_environment(*command);
  command->footer(
      "Flags are also read from the environment: --max-seq-len from QWILL_MAX_SEQ_LEN. The command line comes first,\n"
      "then the environment, then --config.\n"
      "POST /v1/chat/completions, /v1/completions, /tokenize, /detokenize; GET /v1/models, /health, /ready, /metrics,\n"
      "/openapi.json; a page to chat at /.\n\n"
      "Examples:\n"
      "  qwill serve ./Qwen3-8B\n"
      "  QWILL_API_KEY=secret qwill serve ./Qwen3-8B --host 0.0.0.0 --port 80 --max-seqs 256");
  command->callback([serve] { serve->run(); });
}

}  // namespace qwill::cli
