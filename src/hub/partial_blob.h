// A file of the cache while it is fetched: its bytes come in pieces, in any order, and how far each piece has come is
// kept behind them in the same file. So whatever ends the program, no byte that has arrived is asked for again.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hub/hub_http.h"

namespace qwill {

class PartialBlob {
 public:
  // `blob` is the path it will have; until then it is BLOB.qwill.incomplete. Goes on where an earlier run has stopped.
  // Throws Error(io).
  PartialBlob(std::filesystem::path blob, std::string hash, int64_t size);
  ~PartialBlob();
  PartialBlob(const PartialBlob&) = delete;
  PartialBlob& operator=(const PartialBlob&) = delete;

  const std::filesystem::path& path() const { return incomplete_; }
  int64_t size() const { return size_; }
  int64_t done_bytes() const { return done_bytes_; }
  bool is_whole() const { return done_bytes_ == size_; }

  int64_t num_pieces() const { return static_cast<int64_t>(done_.size()); }
  // What is missing of a piece.
  ByteRange rest(int64_t piece) const;
  // The next bytes of a piece. Throws Error(io).
  void append(int64_t piece, std::string_view data);

  // Forgets all that has come. As one piece if so wanted.
  void restart(bool one_piece);
  // Of a whole one: whether it has the hash that it should have. False too once `stop` is set.
  bool check(const std::atomic<bool>& stop) const;
  // Of a whole one that was checked: gives it its name.
  void finish();
  // Removes what has come.
  void discard();
  // Bytes that an earlier run may have left on disk for `blob`.
  static int64_t bytes_on_disk(const std::filesystem::path& blob);

 private:
  void resume();
  void write_at(const void* data, size_t size, int64_t at);
  int64_t note_at(int64_t piece) const;

  std::filesystem::path blob_, incomplete_;
  std::string hash_;
  int64_t size_, piece_bytes_ = 0, done_bytes_ = 0;
  int descriptor_ = -1;
  std::vector<int64_t> done_;  // bytes of each piece
};

}  // namespace qwill
