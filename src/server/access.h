// Who may ask: API keys, and pages of other origins.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/message.h"

namespace qwill {

class Access {
 public:
  // keys: none lets everyone in. origins: of pages that may read answers, "*" for all.
  Access(std::vector<std::string> keys, std::vector<std::string> origins);

  // "Authorization: Bearer KEY" with one of the keys. Takes the same time for every wrong key of one length.
  bool has_key(const http::Headers& headers) const;
  // A browser says from which page a request comes. False for a page that is neither this server's own nor allowed:
  // otherwise any page could make a visitor's browser use a server that only the visitor reaches. Without keys the
  // server's own is only what is named by an address or localhost: another name may have been made to mean this machine
  // by whoever owns it.
  bool allows_origin(const http::Headers& headers) const;
  // What a browser wants to see (https://fetch.spec.whatwg.org/#http-cors-protocol), for the request's origin.
  void add_cors_headers(const http::Headers& request, http::Headers& answer) const;

 private:
  bool is_listed(std::string_view origin) const;

  std::vector<std::string> keys_, origins_;
};

}  // namespace qwill
