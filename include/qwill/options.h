// How a model is opened.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace qwill {

// How weights enter products. automatic: as the file has them, f16 as f32. fp8: matrices of layers as e4m3, embeddings
// and the output head as bf16. int8, int4: by so many bits with a scale for each group of columns; on cards embeddings
// and the output head stay bf16.
enum class DTypeChoice : uint8_t { automatic, f32, bf16, fp8, int8, int4 };

// Of cached keys and values. automatic: f32 with f32 weights, else f16 on the CPU and bf16 on a card. f16 and int8
// (with a scale for each 32 dimensions of a key or value) are the CPU's, fp8 (e4m3 without scales) is a card's.
enum class KvDTypeChoice : uint8_t { automatic, f32, bf16, f16, fp8, int8 };

// When a model that has YaRN uses it: for every sequence, as the reference does, or only for those that may grow beyond
// the trained length.
enum class RopeWhen : uint8_t { always, needed };

// Instead of what config.json says.
struct RopeOverride {
  bool yarn = false;  // false: plain
  double factor = 4;  // times the trained length
};

struct LlmOptions {
  std::string model;            // a folder, a hub name, or empty for the built-in model
  std::string hub_cache;        // folder of the hub's local cache; may be empty
  std::string device = "auto";  // auto, cpu, cuda or cuda:N
  DTypeChoice dtype = DTypeChoice::automatic;
  int num_threads = 0;         // 0: as many as there are cores
  std::string cpu_path;        // avx2, avx512, avx512-bf16, amx, neon; empty: the best here
  bool cuda_portable = false;  // kernels for any card, also where it is a Hopper
  KvDTypeChoice kv_dtype = KvDTypeChoice::automatic;

  int64_t max_seq_len = 0;    // tokens of prompt and output together; 0: what the configuration allows
  int64_t max_sequences = 1;  // that run at once; more wait; 0: what suits the device: 8 on the CPU, 256 on a card,
                              // 1024 where 48 GB and more may be used
  int64_t max_queued = 4096;  // that wait beside as many as may run; more are refused
  int64_t memory_bytes = 0;   // of the device, for weights, cache and work; 0: what is free
  bool reserve = false;       // a sequence begins only when its longest length has room, so that none begins again
  int64_t chunk_size = 0;     // prompt tokens of one step; 0: what suits the device
  // Of a step in which others decode. Few let tokens flow evenly, many have all done sooner. 0: what suits the device.
  int64_t mixed_chunk_size = 0;

  std::optional<RopeOverride> rope;
  RopeWhen rope_when = RopeWhen::always;
  std::string chat_template;  // name; empty: recognised by its text

  // Bytes of the weights that are in memory so far, of the total. May be empty.
  std::function<void(int64_t done, int64_t total)> progress;
  // Loading stops early when it becomes true; may be null.
  const std::atomic<bool>* cancel = nullptr;
};

}  // namespace qwill
