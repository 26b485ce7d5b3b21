// Tiny checkpoints with known bytes, written by the tests into a temporary folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "weights/checkpoint.h"

namespace qwill::test {

// A folder that is removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string path(const std::string& file = "") const { return file.empty() ? path_ : path_ + "/" + file; }

 private:
  std::string path_;
};

void write_file(const std::string& path, std::string_view bytes);
std::string read_file(const std::string& path);

// config.json in the spelling of transformers 4 and 5; every key that the reader looks at.
Json tiny_dense_config();
Json tiny_moe_config();
Json tiny_generation_config();

// Owned tensors to store: bytes count up, so that each element is known by its place.
struct OwnedTensor {
  std::string name;
  DType dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};
OwnedTensor make_tensor(const std::string& name, DType dtype, const std::vector<int64_t>& shape);
std::vector<OwnedTensor> tiny_tensors(const Json& config, DType dtype);
void write_tensors(const std::string& path, const std::vector<OwnedTensor>& tensors);

// config.json, generation_config.json and model.safetensors.
void write_single(const TemporaryFolder& folder, const Json& config, DType dtype = DType::bf16);
// The same in num_shards files with an index; tensors are dealt out in turn.
void write_sharded(const TemporaryFolder& folder, const Json& config, int num_shards);
std::string shard_name(int shard, int num_shards);

Checkpoint open_checkpoint(const TemporaryFolder& folder);
// The message of the Error that opening throws, "" if it opens. Fails the test if the message is not one line.
std::string open_error(const TemporaryFolder& folder);
// The same of any function.
std::string error_of(const std::function<void()>& f);

}  // namespace qwill::test
