#include "hub/hub_api.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/json.h"

namespace qwill {
namespace {

constexpr size_t kMaxListingBytes = size_t{32} << 20;
constexpr size_t kMostAtOnce = 8;

// Everything but unreserved characters as %XX.
std::string percent_encode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

// One entry of the listing; nothing for a file of another folder.
std::optional<HubFile> read_sibling(const Json& sibling) {
  HubFile file;
  const Json* path = sibling.find("rfilename");
  if (!path) fail_invalid("rfilename: missing");
  file.path = path->as_string();
  if (!is_plain_file_name(file.path)) return std::nullopt;
  // Size and hash are told by some servers only; what makes no sense counts as not told.
  if (const Json* size = sibling.find("size"); size && size->is_integer())
    file.size = parse_http_size(size->number_text());
  const auto hash = [](const Json* holder, std::string_view key) -> std::string {
    const Json* value = holder ? holder->find(key) : nullptr;
    return value && value->kind() == Json::Kind::string ? parse_etag_hash(value->as_string()).value_or("") : "";
  };
  file.hash = hash(sibling.find_value("lfs"), "sha256");
  if (file.hash.empty()) file.hash = hash(&sibling, "blobId");
  return file;
}

bool is_commit(std::string_view text) {
  return text.size() >= 40 && text.size() <= 64 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

const HubFile* HubListing::find(std::string_view path) const {
  const auto found = std::find_if(files.begin(), files.end(), [&](const HubFile& file) { return file.path == path; });
  return found == files.end() ? nullptr : &*found;
}

HubListing HubListing::parse(std::string_view text) {
  const Json json = Json::parse(text);
  HubListing out;
  const Json* sha = json.find("sha");
  if (!sha) fail_invalid("sha: missing");
  out.commit = with_context("sha", [&] { return sha->as_string(); });
  if (!is_commit(out.commit)) fail_invalid("sha: \"{}\" is no commit", printable(out.commit));
  const Json* siblings = json.find("siblings");
  if (!siblings) fail_invalid("siblings: missing");
  with_context("siblings", [&] {
    for (const Json& sibling : siblings->as_array())
      if (std::optional<HubFile> file = read_sibling(sibling)) out.files.push_back(std::move(*file));
  });
  return out;
}

HubApi::HubApi(std::string endpoint, const std::string& token, const std::atomic<bool>* cancel)
    : endpoint_(std::move(endpoint)), http_(endpoint_, token, cancel) {}

std::string HubApi::url_of(const HubName& name, const std::string& commit, std::string_view path) const {
  return fmt::format("{}/{}/resolve/{}/{}", endpoint_, name.name, commit, percent_encode(path));
}

void HubApi::fail_answer(const HubName& name, std::string_view what, const HttpAnswer& answer) const {
  if (!answer.failure.empty()) fail(ErrorKind::io, "{}: {}: {}", endpoint_, what, printable(answer.failure, 300));
  const std::string_view code = answer.headers.find("X-Error-Code");
  const int status = answer.status;
  if (code == "GatedRepo")
    fail_invalid("{}: access to this model must be asked for: accept its terms at {}/{} and set HF_TOKEN to your token",
                 name.name, endpoint_, name.name);
  if (code == "RevisionNotFound" || (status == 404 && code.empty() && name.revision != "main"))
    fail_invalid("{}: {} has no revision \"{}\" of it", name.name, endpoint_, name.revision);
  if (code == "EntryNotFound")
    fail_invalid("{}: {}: {} does not have it, though it lists it", name.name, what, endpoint_);
  if (status == 401 || status == 404 || code == "RepoNotFound")
    fail_invalid(
        "{}: {} has no such model, or hides it ({}): check the spelling; if it is private or gated, set HF_TOKEN to a "
        "token that may read it",
        name.name, endpoint_, status);
  if (status == 403)
    fail_invalid(
        "{}: {} refuses (403): accept the model's terms at {}/{}, and set HF_TOKEN to a token that may read it",
        name.name, endpoint_, endpoint_, name.name);
  fail(ErrorKind::io, "{}: {}: HTTP status {}, which was not expected", endpoint_, what, status);
}

std::vector<HttpAnswer> HubApi::ask(const HubName& name, const std::vector<HttpRequest>& requests,
                                    const std::vector<std::string>& subjects, std::string* body) {
  enum class State { waiting, under_way, done };
  std::vector<HttpAnswer> answers(requests.size());
  std::vector<Retry> retries(requests.size());
  std::vector<State> states(requests.size(), State::waiting);
  size_t num_done = 0;
  const auto begin = [&](size_t i) {
    states[i] = State::under_way;
    if (body) body->clear();
    const auto on_body = [body](HttpAnswer& answer, std::string_view data) {
      if (!body) return false;  // what was asked for has none
      if (body->size() + data.size() > kMaxListingBytes) {
        answer.failure = fmt::format("an answer of more than {} bytes", kMaxListingBytes);
        return false;
      }
      body->append(data);
      return true;
    };
    http_.start(requests[i], on_body, [&, i](HttpAnswer answer) {
      const bool good = answer.failure.empty() && answer.status >= 200 && answer.status < 400;
      if (!good && retries[i].after(answer, http_.has_been_answered())) {
        states[i] = State::waiting;
        return;
      }
      if (!good) fail_answer(name, subjects[i], answer);
      answers[i] = std::move(answer);
      states[i] = State::done;
      ++num_done;
    });
  };
  while (num_done < requests.size()) {
    for (size_t i = 0; i < requests.size() && http_.num_active() < kMostAtOnce; ++i)
      if (states[i] == State::waiting && retries[i].is_due()) begin(i);
    http_.poll();
  }
  return answers;
}

HubListing HubApi::list(const HubName& name) {
  HttpRequest request;
  request.url =
      fmt::format("{}/api/models/{}/revision/{}?blobs=true", endpoint_, name.name, percent_encode(name.revision));
  std::string body;
  ask(name, {request}, {"the list of files"}, &body);
  return with_context(fmt::format("{}: the list of files of {}", endpoint_, name.name),
                      [&] { return HubListing::parse(body); });
}

std::vector<HubFile> HubApi::look_up(const HubName& name, const std::string& commit, std::vector<HubFile> files) {
  std::vector<HttpRequest> requests;
  std::vector<std::string> paths;
  for (const HubFile& file : files) {
    HttpRequest request;
    request.url = url_of(name, commit, file.path);
    request.head = request.only_own_host = true;
    requests.push_back(std::move(request));
    paths.push_back(printable(file.path, 300));
  }
  const std::vector<HttpAnswer> answers = ask(name, requests, paths, nullptr);
  for (size_t i = 0; i < files.size(); ++i) {
    HubFile& file = files[i];
    const HttpAnswer& answer = answers[i];
    // The hub's own first answer speaks of the file; those it redirects to may speak of how it is stored.
    const auto header = [&](std::string_view key) {
      const std::string_view first = answer.first_headers.find(key);
      return first.empty() ? answer.headers.find(key) : first;
    };
    with_context(fmt::format("{}: {}", endpoint_, paths[i]), [&] {
      const std::string_view told_commit = header("X-Repo-Commit");
      if (!told_commit.empty() && told_commit != commit)
        fail_invalid("asked for commit {}, but this is of {}", commit, printable(told_commit));
      const bool redirected = answer.status >= 300;
      const std::string_view size = !header("X-Linked-Size").empty() ? header("X-Linked-Size")
                                    : redirected                     ? std::string_view()
                                                                     : answer.headers.find("Content-Length");
      if (!size.empty()) {
        file.size = parse_http_size(size);
        if (!file.size) fail_invalid("\"{}\" is no size of a file", printable(size));
      }
      const std::string_view etag =
          !header("X-Linked-Etag").empty() ? header("X-Linked-Etag") : answer.headers.find("ETag");
      if (const auto hash = parse_etag_hash(etag)) file.hash = *hash;
      if (file.hash.empty())
        fail_invalid("the ETag \"{}\" is no hash, so what comes could not be checked", printable(etag));
      if (!file.size) fail_invalid("its size is not told");
    });
    file.url = answer.url;
  }
  return files;
}

}  // namespace qwill
