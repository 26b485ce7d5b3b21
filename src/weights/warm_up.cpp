#include "weights/warm_up.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace qwill {
namespace {

constexpr int64_t kChunk = 16 << 20, kReadAhead = 4;  // bytes; chunks

struct Chunk {
  const std::byte* data;
  int64_t size;
  int descriptor;
  int64_t offset;
  bool huge;  // comes in huge pages, where the file system has some
};

// Not part of the program.
bool is_mapped(const TensorFile& file) { return file.file().descriptor() >= 0; }

// The parts of the files that are to be brought in: whole pages of `rare` are not.
std::vector<std::span<const std::byte>> parts_of(const TensorFile& file, std::span<const std::byte> rare) {
  constexpr int64_t kHugePage = 2 << 20;
  const std::span<const std::byte> bytes = file.file().bytes();
  const int64_t size = static_cast<int64_t>(bytes.size()), at = rare.data() - bytes.data();
  if (rare.empty() || std::less()(rare.data(), bytes.data()) || at >= size) return {bytes};
  const int64_t begin = (at + kHugePage - 1) / kHugePage * kHugePage,
                end = (at + static_cast<int64_t>(rare.size())) / kHugePage * kHugePage;
  if (begin >= end) return {bytes};
  return {bytes.first(static_cast<size_t>(begin)), bytes.subspan(static_cast<size_t>(end))};
}

// Of parts that are to be brought in whole: where pages come and go, huge ones would bring too much.
std::vector<Chunk> chunks_of(std::span<const TensorFile> files, std::span<const std::byte> rare) {
  std::vector<Chunk> chunks;
  for (const TensorFile& file : files) {
    if (!is_mapped(file)) continue;
    for (const std::span<const std::byte> part : parts_of(file, rare)) {
      if (part.empty()) continue;
      // Decoding from huge pages is up to a fifth faster, and they are mapped in no time. Readers' faults bring them,
      // reading ahead would bring small ones.
      const bool huge = ::madvise(const_cast<std::byte*>(part.data()), part.size(), MADV_HUGEPAGE) == 0;
      for (int64_t at = 0; at < static_cast<int64_t>(part.size()); at += kChunk)
        chunks.push_back({part.data() + at, std::min(kChunk, static_cast<int64_t>(part.size()) - at),
                          file.file().descriptor(), part.data() + at - file.file().bytes().data(), huge});
    }
  }
  return chunks;
}

// Bytes that can be had without pushing out what is in use; 0 if unknown.
int64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string key, unit; file >> key;) {
    int64_t kib = 0;
    file >> kib;
    std::getline(file, unit);
    if (key == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

void populate(const Chunk& chunk) {
#ifndef MADV_POPULATE_READ
  constexpr int MADV_POPULATE_READ = 22;  // Linux 5.14
#endif
  if (::madvise(const_cast<std::byte*>(chunk.data), static_cast<size_t>(chunk.size), MADV_POPULATE_READ) == 0) return;
  const long page = ::sysconf(_SC_PAGESIZE);
  for (int64_t at = 0; at < chunk.size; at += page) *static_cast<const volatile std::byte*>(chunk.data + at);
}

}  // namespace

void warm_up(std::span<const TensorFile> files, std::span<const std::byte> rare, int num_threads,
             const std::function<void(int64_t done, int64_t total)>& progress, const std::atomic<bool>* cancel) {
  int64_t total = -static_cast<int64_t>(rare.size());
  for (const TensorFile& file : files)
    if (is_mapped(file)) total += static_cast<int64_t>(file.file().bytes().size());
  if (total <= 0 || total > available_memory()) return;
  const std::vector<Chunk> chunks = chunks_of(files, rare);
  total = 0;
  for (const Chunk& chunk : chunks) total += chunk.size;
  std::atomic<size_t> next{0};
  std::atomic<int64_t> done{0};
  const auto cancelled = [&] { return cancel && cancel->load(); };
  std::vector<std::thread> threads;
  for (int i = 0; i < std::max(1, num_threads); ++i) {
    threads.emplace_back([&] {
      for (size_t c; (c = next.fetch_add(1)) < chunks.size() && !cancelled();) {
        if (!chunks[c].huge && c + kReadAhead < chunks.size()) {
          const Chunk& ahead = chunks[c + kReadAhead];
          ::posix_fadvise(ahead.descriptor, ahead.offset, ahead.size, POSIX_FADV_WILLNEED);
        }
        populate(chunks[c]);
        done += chunks[c].size;
      }
    });
  }
  while (progress && done.load() < total && !cancelled()) {
    progress(done.load(), total);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  for (std::thread& thread : threads) thread.join();
  if (progress) progress(done.load(), total);
}

}  // namespace qwill
