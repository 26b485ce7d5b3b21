// What a model is called on the hub: "Qwen/Qwen3-0.6B", or with a version of it "Qwen/Qwen3-0.6B@REVISION".
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace qwill {

struct HubName {
  std::string name;               // "NAME" or "OWNER/NAME"
  std::string revision = "main";  // a branch, a tag or a commit

  // Nothing for what is no such name. None that is contains "..", so none can leave a folder.
  static std::optional<HubName> parse(std::string_view text);
};

// A branch, a tag or a commit, "refs/pr/1" included.
bool is_hub_revision(std::string_view text);

// A commit, or anything else that may name a snapshot's folder.
bool is_hub_snapshot(std::string_view text);

// A file of a repository's top folder: all that qwill reads of one lie there.
bool is_plain_file_name(std::string_view text);

}  // namespace qwill
