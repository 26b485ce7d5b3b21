// Brings files of a model into its blobs: several at once, large ones in several pieces at once, each checked against
// its hash.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "hub/hub_api.h"
#include "hub/hub_cache.h"
#include "hub/partial_blob.h"

namespace qwill {

class Fetch {
 public:
  Fetch(HubApi& api, const HubRepository& repository, const std::string& commit);
  ~Fetch();
  Fetch(const Fetch&) = delete;
  Fetch& operator=(const Fetch&) = delete;

  // files: looked up (HubApi::look_up). Throws Error(io) with the numbers if the disk has no room for them.
  void begin(const std::vector<HubFile>& files);
  // Moves on a little; false once all is there. Throws Error for what cannot be had, HttpCancelled.
  bool advance();

  int64_t total_bytes() const;
  int64_t done_bytes() const;
  // What it is about while no bytes come; empty: nothing to tell.
  std::string_view note() const;

 private:
  struct Piece {
    bool under_way = false;
    Retry retry;
  };
  struct Download {
    HubFile file;
    std::string hub_url;  // where the hub itself has it; file.url may be where that led to
    std::unique_ptr<PartialBlob> blob;
    std::vector<Piece> pieces;
    int num_under_way = 0;
    bool sends_no_parts = false;  // its server does not know Range
    int num_bad = 0;              // times that all had come, and its hash was wrong
    std::future<bool> check;
    bool is_done = false;
  };

  void check_room(const std::vector<HubFile>& files) const;
  void start_pieces(Download& download);
  void start_piece(Download& download, int64_t piece_idx);
  static bool take(Download& download, int64_t piece_idx, ByteRange asked, HttpAnswer& answer, std::string_view data);
  void end_piece(Download& download, int64_t piece_idx, ByteRange asked, HttpAnswer answer);
  void check_hash(Download& download);

  HubApi& api_;
  const HubRepository& repository_;
  const std::string commit_;
  std::atomic<bool> stop_{false};  // tells checks to end; outlives them
  std::list<Download> downloads_;  // callbacks hold on to them
};

}  // namespace qwill
