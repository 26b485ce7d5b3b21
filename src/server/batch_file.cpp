#include "server/batch_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/fnv1a.h"

namespace qwill {
namespace {

constexpr std::string_view kIdPrefix = "batch_req_";
constexpr std::string_view kResultBeginning = R"({"id":"batch_req_)";
constexpr auto kSyncInterval = std::chrono::seconds(5);

std::string_view trimmed(std::string_view line) {
  const size_t first = line.find_first_not_of(" \t\r"), last = line.find_last_not_of(" \t\r");
  return first == std::string_view::npos ? "" : line.substr(first, last - first + 1);
}

bool read_hex(std::string_view digits, uint64_t& value) {
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  return digits.size() == 16 && error == std::errc() && end == digits.data() + digits.size();
}

// Whether a line of results may have begun like this.
bool may_begin_result(std::string_view text) {
  return text.starts_with(kResultBeginning) || kResultBeginning.starts_with(text);
}

// What a line of results says: which request, and whether it has status 200. Nothing for any other line.
struct Found {
  uint64_t custom_id_hash, line_hash;
  bool good;
};
std::optional<Found> read_result(std::string_view line) {
  try {
    const Json json = Json::parse(line);
    const std::string id = json.string_or("id", "");
    Found found{};
    if (!id.starts_with(kIdPrefix) || id.size() != kIdPrefix.size() + 32) return std::nullopt;
    if (!read_hex(std::string_view(id).substr(kIdPrefix.size(), 16), found.custom_id_hash)) return std::nullopt;
    if (!read_hex(std::string_view(id).substr(kIdPrefix.size() + 16), found.line_hash)) return std::nullopt;
    const Json* response = json.find_value("response");
    found.good = response && response->integer_or("status_code", 0) == 200;
    return found;
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace

// ------------------------------------------------------------------------------------------------ requests

std::string BatchRequest::id() const { return fmt::format("{:016x}{:016x}", custom_id_hash, line_hash); }

BatchRequest parse_batch_request(std::string_view line, int64_t line_number) {
  line = trimmed(line);
  BatchRequest request;
  request.line_hash = fnv1a(line);
  request.custom_id_hash = fnv1a(fmt::format("\n{}", line_number));  // no custom_id has been read yet
  const auto flawed = [&](std::string_view code, const std::string& message) {
    request.flaw = {code, message};
    return request;
  };
  Json json;
  try {
    json = Json::parse(line);
  } catch (const Error& e) {
    return flawed("invalid_json_line", e.what());
  }
  if (!json.is_object())
    return flawed("invalid_json_line", fmt::format("expected an object, found {}", json.kind_name()));
  const Json* custom_id = json.find_value("custom_id");
  if (!custom_id) return flawed("missing_required_parameter", "custom_id: missing");
  if (!custom_id->is_string())
    return flawed("invalid_custom_id", fmt::format("custom_id: expected a string, found {}", custom_id->kind_name()));
  request.custom_id = custom_id->as_string();
  request.custom_id_hash = fnv1a(*request.custom_id);

  const auto text = [&](std::string_view name) {
    const Json* value = json.find_value(name);
    return value && value->is_string() ? value->as_string() : "";
  };
  if (text("method") != "POST") return flawed("invalid_method", "method: only \"POST\" is supported");
  const std::optional<Endpoint> endpoint = endpoint_of(text("url"));
  if (!endpoint) return flawed("invalid_url", "url: only /v1/chat/completions and /v1/completions are supported");
  request.endpoint = *endpoint;
  const Json* body = json.find_value("body");
  if (!body) return flawed("missing_required_parameter", "body: missing");
  request.body = *body;
  return request;
}

// ------------------------------------------------------------------------------------------------ input

BatchInput::BatchInput(const std::string& path) : file_(path, O_RDONLY), lines_(file_) {
  done_.push_back(true);  // lines count from 1
  for (LineReader lines(file_); lines.next();) {
    done_.push_back(trimmed(lines.line()).empty());
    if (done_.back()) continue;
    const BatchRequest request = parse_batch_request(lines.line(), lines.number());
    entries_.push_back({request.custom_id_hash, request.line_hash, lines.number()});
  }
  num_requests_ = static_cast<int64_t>(entries_.size());
  std::ranges::sort(entries_, {}, [](const Entry& e) { return std::pair(e.custom_id_hash, e.line); });
  const auto twin = std::ranges::adjacent_find(entries_, {}, &Entry::custom_id_hash);
  if (twin != entries_.end())
    fail_invalid("{}: lines {} and {} have the same custom_id", path, twin->line, (twin + 1)->line);
}

bool BatchInput::mark_done(uint64_t custom_id_hash, uint64_t line_hash) {
  const auto entry = std::ranges::lower_bound(entries_, custom_id_hash, {}, &Entry::custom_id_hash);
  if (entry == entries_.end() || entry->custom_id_hash != custom_id_hash || entry->line_hash != line_hash) return false;
  if (done_[static_cast<size_t>(entry->line)]) return false;
  return done_[static_cast<size_t>(entry->line)] = true;
}

void BatchInput::start() { entries_ = {}; }

std::optional<BatchRequest> BatchInput::next() {
  while (lines_.next()) {
    const auto line = static_cast<size_t>(lines_.number());
    if (line >= done_.size()) break;  // the file has grown since
    if (!done_[line]) return parse_batch_request(lines_.line(), lines_.number());
  }
  return std::nullopt;
}

// ------------------------------------------------------------------------------------------------ output

BatchOutput::BatchOutput(const std::string& path, BatchInput& input) : file_(path, O_RDWR | O_CREAT | O_APPEND) {
  if (file_.is_same_as(input.file())) fail_invalid("{}: input and output are the same file", path);
  lock();
  take_in(input);
  // The file's name is to survive a power loss as well. Some file systems cannot: then it may be lost with what it
  // holds.
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const int descriptor = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return;
  (void)::fsync(descriptor);
  ::close(descriptor);
}

void BatchOutput::lock() {
  if (::flock(file_.descriptor(), LOCK_EX | LOCK_NB) == 0) return;
  if (errno == EWOULDBLOCK) fail(ErrorKind::io, "{}: another process is writing it", file_.path());
  fail(ErrorKind::io, "{}: cannot lock it: {}", file_.path(), std::strerror(errno));
}

void BatchOutput::take_in(BatchInput& input) {
  const auto refuse = [&](const LineReader& lines) {
    fail_invalid("{}: line {} is no result of a request of {} that is not answered yet: give another output file",
                 file_.path(), lines.number(), input.file().path());
  };
  int64_t good_bytes = 0;
  for (LineReader lines(file_); lines.next();) {
    // A write was cut short, or the disk never got it and the file system filled in zeros: this and what follows is
    // asked for again.
    const size_t zero = lines.line().find('\0');
    if (!lines.ended() || zero != std::string_view::npos) {
      if (!may_begin_result(lines.line().substr(0, zero))) refuse(lines);
      break;
    }
    good_bytes = lines.offset() + static_cast<int64_t>(lines.line().size()) + 1;
    if (trimmed(lines.line()).empty()) continue;
    const std::optional<Found> found = read_result(lines.line());
    if (!found || !input.mark_done(found->custom_id_hash, found->line_hash)) refuse(lines);
    ++num_found_;
    if (!found->good) ++num_failed_;
  }
  if (::ftruncate(file_.descriptor(), good_bytes) != 0)
    fail(ErrorKind::io, "{}: cannot cut off its torn end: {}", file_.path(), std::strerror(errno));
}

void BatchOutput::append(const BatchRequest& request, int status, Json body) {
  if (status != 200) ++num_failed_;
  Json response = Json::object();
  response.set("status_code", status).set("request_id", "req_" + request.id()).set("body", std::move(body));
  append(request, std::move(response), Json());
}

void BatchOutput::append_flaw(const BatchRequest& request) {
  ++num_failed_;
  Json error = Json::object();
  error.set("code", request.flaw->code).set("message", request.flaw->message);
  append(request, Json(), std::move(error));
}

void BatchOutput::append(const BatchRequest& request, Json response, Json error) {
  Json json = Json::object();
  json.set("id", std::string(kIdPrefix) + request.id())
      .set("custom_id", request.custom_id ? Json(*request.custom_id) : Json())
      .set("response", std::move(response))
      .set("error", std::move(error));
  const std::string line = json.dump() + "\n";
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(file_.descriptor(), rest.data(), rest.size());
    if (written < 0 && errno != EINTR) fail(ErrorKind::io, "{}: {}", file_.path(), std::strerror(errno));
    if (written > 0) rest.remove_prefix(static_cast<size_t>(written));
  }
  if (std::chrono::steady_clock::now() - synced_ >= kSyncInterval) sync();
}

void BatchOutput::sync() {
  if (::fdatasync(file_.descriptor()) != 0) fail(ErrorKind::io, "{}: {}", file_.path(), std::strerror(errno));
  synced_ = std::chrono::steady_clock::now();
}

}  // namespace qwill
