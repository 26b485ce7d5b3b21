#include "weights/shard_index.h"

#include <map>
#include <string_view>

#include "base/error.h"
#include "hub/hub_name.h"

namespace qwill {

ShardIndex ShardIndex::from_json(const Json& index) {
  index.as_object();
  const Json* map = index.find("weight_map");
  if (!map) fail_invalid("weight_map: missing");
  return with_context("weight_map", [&] {
    ShardIndex out;
    std::map<std::string_view, size_t> numbers;
    for (const auto& [tensor, file] : map->as_object()) {
      // It must stay inside the folder, and must not garble a message.
      with_context(printable(tensor, 200), [&value = file] {
        if (!is_plain_file_name(value.as_string()))
          fail_invalid("{} is not a plain file name", printable(value.as_string()));
      });
      numbers.emplace(file.as_string(), 0);
    }
    if (numbers.empty()) fail_invalid("names no tensor");
    for (auto& [name, number] : numbers) {
      number = out.files.size();
      out.files.emplace_back(name);
    }
    out.tensors.reserve(map->as_object().size());
    for (const auto& [tensor, file] : map->as_object()) out.tensors.emplace_back(tensor, numbers.at(file.as_string()));
    return out;
  });
}

}  // namespace qwill
