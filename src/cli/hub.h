// The hub, as the environment describes it: HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE.
#pragma once

#include <optional>
#include <string>

#include "hub/hub_name.h"

namespace qwill::cli {

// Where the hub's clients keep what they downloaded; empty if no folder is known.
std::string hub_cache();

// Fetches a model into the cache, with progress on stderr. The folder of its snapshot; nothing if a caught signal ended
// it. Throws Error, without a look at the network if HF_HUB_OFFLINE is set.
std::optional<std::string> pull(const HubName& name);

enum class FetchWhen { no_snapshot, not_whole };
// If MODEL is a hub name, OWNER/NAME, of which the cache has no snapshot, or one that lacks weights, fetches it.
void fetch_if_absent(const std::string& model, FetchWhen when = FetchWhen::not_whole);

}  // namespace qwill::cli
