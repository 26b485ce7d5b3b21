#include "hub/fetch.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/error.h"

namespace qwill {
namespace {

constexpr size_t kMostAtOnce = 8;
// An attempt that brought so much is no failure, however it ended.
constexpr int64_t kWorthPatience = int64_t{64} << 10;

}  // namespace

Fetch::Fetch(HubApi& api, const HubRepository& repository, const std::string& commit)
    : api_(api), repository_(repository), commit_(commit) {}

Fetch::~Fetch() { stop_ = true; }

void Fetch::check_room(const std::vector<HubFile>& files) const {
  int64_t missing = 0;
  for (const HubFile& file : files)
    missing += std::max<int64_t>(0, *file.size - PartialBlob::bytes_on_disk(repository_.blob(file.hash)));
  struct statvfs disk{};
  if (::statvfs(repository_.folder().c_str(), &disk) != 0)
    fail(ErrorKind::io, "{}: {}", repository_.folder().string(), std::strerror(errno));
  const double free = static_cast<double>(disk.f_bavail) * static_cast<double>(disk.f_frsize);
  if (static_cast<double>(missing) > free)
    fail(ErrorKind::io,
         "{}: {:.2f} GB are still to be fetched, and {:.2f} GB are free there: make room, or name another place with "
         "HF_HUB_CACHE",
         repository_.folder().string(), static_cast<double>(missing) / 1e9, free / 1e9);
}

void Fetch::begin(const std::vector<HubFile>& files) {
  make_cache_folder(repository_.folder() / "blobs");
  check_room(files);
  for (const HubFile& file : files) {
    Download& download = downloads_.emplace_back();
    download.file = file;
    download.hub_url = api_.url_of(repository_.name(), commit_, file.path);
    download.blob = std::make_unique<PartialBlob>(repository_.blob(file.hash), file.hash, *file.size);
    download.pieces.resize(static_cast<size_t>(download.blob->num_pieces()));
  }
}

bool Fetch::advance() {
  bool is_done = true;
  for (Download& download : downloads_) {
    if (download.is_done) continue;
    if (download.blob->is_whole() && download.num_under_way == 0)
      check_hash(download);
    else
      start_pieces(download);
    is_done = is_done && download.is_done;
  }
  if (!is_done) api_.http().poll();
  return !is_done;
}

int64_t Fetch::total_bytes() const {
  int64_t total = 0;
  for (const Download& download : downloads_) total += download.blob->size();
  return total;
}

int64_t Fetch::done_bytes() const {
  int64_t done = 0;
  for (const Download& download : downloads_) done += download.blob->done_bytes();
  return done;
}

std::string_view Fetch::note() const {
  if (api_.http().num_active() > 0) return "";
  for (const Download& download : downloads_)
    if (!download.is_done && !download.blob->is_whole()) return "the server is busy or away, waiting";
  return "checking";
}

void Fetch::start_pieces(Download& download) {
  if (download.sends_no_parts) {
    // All of it in one, from its beginning, each time.
    if (download.num_under_way > 0) return;
    if (download.blob->num_pieces() != 1 || download.blob->done_bytes() > 0) {
      download.blob->restart(/*one_piece=*/true);
      download.pieces.resize(1);
    }
  }
  for (size_t i = 0; i < download.pieces.size() && api_.http().num_active() < kMostAtOnce; ++i) {
    const auto piece_idx = static_cast<int64_t>(i);
    const ByteRange rest = download.blob->rest(piece_idx);
    if (rest.begin < rest.end && !download.pieces[i].under_way && download.pieces[i].retry.is_due())
      start_piece(download, piece_idx);
  }
}

void Fetch::start_piece(Download& download, int64_t piece_idx) {
  const ByteRange asked = download.blob->rest(piece_idx);
  HttpRequest request;
  request.url = download.file.url;
  if (!download.sends_no_parts) request.range = asked;
  download.pieces[static_cast<size_t>(piece_idx)].under_way = true;
  ++download.num_under_way;
  api_.http().start(
      std::move(request),
      [&download, piece_idx, asked](HttpAnswer& answer, std::string_view data) {
        return take(download, piece_idx, asked, answer, data);
      },
      [this, &download, piece_idx, asked](HttpAnswer answer) {
        end_piece(download, piece_idx, asked, std::move(answer));
      });
}

// Bytes of a piece have come. The answer is believed only as far as it fits what was asked.
bool Fetch::take(Download& download, int64_t piece_idx, ByteRange asked, HttpAnswer& answer, std::string_view data) {
  const int64_t size = download.blob->size();
  if (answer.status == 206) {
    const auto range = ContentRange::parse(answer.headers.find("Content-Range"));
    if (!range || range->first != asked.begin || range->last >= asked.end || range->total.value_or(size) != size) {
      answer.failure = fmt::format("asked for bytes {}-{} of {}, and got \"{}\"", asked.begin, asked.end - 1, size,
                                   printable(answer.headers.find("Content-Range")));
      return false;
    }
  } else if (asked.begin != 0 || asked.end != size) {
    download.sends_no_parts = answer.may_pass = true;
    answer.failure = "the server does not send parts of a file";
    return false;
  }
  const ByteRange rest = download.blob->rest(piece_idx);
  if (static_cast<int64_t>(data.size()) > rest.end - rest.begin) {
    answer.failure = fmt::format("more than the {} bytes that were asked for come", asked.end - asked.begin);
    return false;
  }
  download.blob->append(piece_idx, data);
  return true;
}

void Fetch::end_piece(Download& download, int64_t piece_idx, ByteRange asked, HttpAnswer answer) {
  Piece& piece = download.pieces[static_cast<size_t>(piece_idx)];
  piece.under_way = false;
  --download.num_under_way;
  const ByteRange rest = download.blob->rest(piece_idx);
  const bool ok = answer.failure.empty() && (answer.status == 200 || answer.status == 206);
  if (rest.begin == rest.end) {
    if (ok) download.file.url = answer.url;  // the other pieces need not be redirected again
    return;
  }
  if (rest.begin - asked.begin >= kWorthPatience) piece.retry.forgive();
  if (ok) {
    answer.failure = "the answer ended early";
    answer.may_pass = true;
  }
  const int status = answer.status;
  const bool refused = status == 401 || status == 403 || status == 404 || status == 410;
  if (answer.failure.empty() && refused && !api_.http().is_own_host(answer.url)) {
    // An address that the hub redirects to is good for a while: ask the hub again.
    download.file.url = download.hub_url;
    answer.failure = fmt::format("HTTP status {}", status);
    answer.may_pass = true;
  }
  if (piece.retry.after(answer, api_.http().has_been_answered())) return;
  api_.fail_answer(repository_.name(), printable(download.file.path, 300), answer);
}

void Fetch::check_hash(Download& download) {
  if (!download.check.valid()) {
    download.check = std::async(std::launch::async, [this, &download] { return download.blob->check(stop_); });
    return;
  }
  if (download.check.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return;
  if (download.check.get()) {
    download.blob->finish();
    repository_.link(commit_, download.file.path, download.file.hash);
    download.is_done = true;
    return;
  }
  if (++download.num_bad == 2) {
    download.blob->discard();
    fail(ErrorKind::io,
         "{}: {}: what came has not the hash that the hub tells ({}), twice: the file is damaged there or on its way",
         repository_.name().name, printable(download.file.path, 300), download.file.hash);
  }
  download.blob->restart(download.sends_no_parts);
  download.file.url = download.hub_url;
}

}  // namespace qwill
