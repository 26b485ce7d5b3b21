#include "cli/hub.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "hub/hub_cache.h"
#include "hub/pull.h"

namespace qwill::cli {
namespace fs = std::filesystem;
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// The folder that holds the cache and the token.
std::string hub_home() {
  if (const std::string home = environment("HF_HOME"); !home.empty()) return home;
  if (const std::string cache = environment("XDG_CACHE_HOME"); !cache.empty()) return cache + "/huggingface";
  const std::string home = environment("HOME");
  return home.empty() ? "" : home + "/.cache/huggingface";
}

std::string trim(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::string hub_token() {
  if (const std::string token = trim(environment("HF_TOKEN")); !token.empty()) return token;
  constexpr size_t kMaxTokenBytes = 4096;
  const std::string home = hub_home();
  return home.empty() ? "" : trim(read_small_file(fs::path(home) / "token", kMaxTokenBytes).value_or(""));
}

std::string hub_endpoint() {
  std::string endpoint = environment("HF_ENDPOINT");
  while (endpoint.ends_with('/')) endpoint.pop_back();
  return endpoint.empty() ? "https://huggingface.co" : endpoint;
}

// As the hub's other clients read it.
bool is_offline() {
  std::string value = environment("HF_HUB_OFFLINE");
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return std::toupper(c); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

}  // namespace

std::string hub_cache() {
  if (const std::string cache = environment("HF_HUB_CACHE"); !cache.empty()) return cache;
  const std::string home = hub_home();
  return home.empty() ? "" : home + "/hub";
}

std::optional<std::string> pull(const HubName& name) {
  if (is_offline()) {
    const HubRepository repository(hub_cache(), name);
    if (const std::string snapshot = repository.find_snapshot(); HubRepository::is_whole(snapshot)) return snapshot;
    fail_invalid("{}: not whole in the hub cache {}, and HF_HUB_OFFLINE is set: nothing is fetched", name.name,
                 hub_cache());
  }
  PullOptions options;
  options.endpoint = hub_endpoint();
  options.token = hub_token();
  options.hub_cache = hub_cache();
  options.cancel = &interrupted();
  PullBar bar(name.name);
  options.progress = [&](const PullProgress& progress) {
    bar.show(progress.done_bytes, progress.total_bytes, progress.note);
  };
  return pull_model(options, name);
}

void fetch_if_absent(const std::string& model, FetchWhen when) {
  const std::optional<HubName> name = HubName::parse(model);
  std::error_code error;
  // A name without an owner is more likely a folder's with a mistake in it, and one with this ending a file's.
  if (!name || model.ends_with(".gguf") || name->name.find('/') == std::string::npos || fs::exists(model, error) ||
      hub_cache().empty())
    return;
  const HubRepository repository(hub_cache(), *name);
  std::string snapshot;
  try {
    snapshot = repository.find_snapshot();
  } catch (const Error&) {
    if (is_offline()) throw;  // else fetching mends it
  }
  if (!snapshot.empty() && (is_offline() || when == FetchWhen::no_snapshot || HubRepository::is_whole(snapshot)))
    return;
  if (is_offline())
    fail_invalid("{}: no such folder, and not in the hub cache {}; HF_HUB_OFFLINE is set, so it is not fetched", model,
                 hub_cache());
  pull(*name);
}

}  // namespace qwill::cli
