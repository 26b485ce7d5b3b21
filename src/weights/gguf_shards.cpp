// A model in several files: NAME-00001-of-00003.gguf and so on, each of which says which one it is.
#include <filesystem>

#include "weights/gguf.h"

namespace qwill {
namespace {

constexpr int64_t kMaxShards = 99999;  // of five digits

// What a file says of itself; a file that says nothing is the only one.
struct Place {
  int64_t number = 0, count = 1;
};

Place place_of(const GgufFile& file) {
  constexpr std::string_view kCount = "split.count", kNumber = "split.no";
  const auto integer = [](const GgufValue& value) { return value.as_integer(); };
  Place place;
  if (!file.find_value(kCount)) return place;
  place.count = file.read(kCount, integer);
  if (place.count <= 1) return {};
  place.number = file.read(kNumber, integer);
  if (place.count > kMaxShards || place.number < 0 || place.number >= place.count)
    fail_invalid("{}: split.no: {} of {} shards", file.file().name(), place.number, place.count);
  return place;
}

std::string ending(int64_t number, int64_t count) { return fmt::format("-{:05}-of-{:05}.gguf", number + 1, count); }

GgufFile open_file(const std::string& path) { return GgufFile::parse(MappedFile::open(path)); }

// The paths of the shards beside one of them.
class Siblings {
 public:
  Siblings(const std::string& path, Place place) : count_(place.count) {
    const std::string wanted = ending(place.number, place.count);
    if (!path.ends_with(wanted))
      fail_invalid("{}: shard {} of {}, but its name does not end in {}: the others are found by their names", path,
                   place.number + 1, place.count, wanted);
    stem_ = path.substr(0, path.size() - wanted.size());
  }

  GgufFile open(int64_t number) const {
    const std::string path = stem_ + ending(number, count_);
    std::error_code error;
    if (!std::filesystem::exists(path, error))
      fail_invalid("{}: not there: shard {} of {} (an unfinished download?)", path, number + 1, count_);
    GgufFile file = open_file(path);
    const Place place = place_of(file);
    if (place.number != number || place.count != count_)
      fail_invalid("{}: says that it is shard {} of {}, not {} of {}", path, place.number + 1, place.count, number + 1,
                   count_);
    return file;
  }

 private:
  int64_t count_;
  std::string stem_;
};

void check_number_of_tensors(const std::vector<GgufFile>& shards) {
  constexpr std::string_view kTensors = "split.tensors.count";
  if (!shards[0].find_value(kTensors)) return;
  const int64_t wanted = shards[0].read(kTensors, [](const GgufValue& value) { return value.as_integer(); });
  size_t found = 0;
  for (const GgufFile& shard : shards) found += shard.tensors().size() + shard.unsupported().size();
  if (wanted != static_cast<int64_t>(found))
    fail_invalid("{}: {}: {}, but the {} shards hold {}", shards[0].file().name(), kTensors, wanted, shards.size(),
                 found);
}

}  // namespace

std::vector<GgufFile> open_gguf(const std::string& path) {
  std::vector<GgufFile> shards;
  GgufFile named = open_file(path);
  const Place place = place_of(named);
  if (place.count == 1) {
    shards.push_back(std::move(named));
    return shards;
  }
  const Siblings siblings(path, place);
  for (int64_t number = 0; number < place.count; ++number)
    shards.push_back(number == place.number ? std::move(named) : siblings.open(number));
  check_number_of_tensors(shards);
  return shards;
}

GgufFile open_first_gguf(const std::string& path) {
  GgufFile named = open_file(path);
  const Place place = place_of(named);
  return place.number == 0 ? std::move(named) : Siblings(path, place).open(0);
}

}  // namespace qwill
