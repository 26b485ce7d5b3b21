#include "hub/curl.h"

#include <dlfcn.h>

#include "base/error.h"

namespace qwill {
namespace {

// The names under which distributions have it; they differ in the TLS library behind it.
constexpr const char* kNames[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

void* open_library() {
  std::string why;
  for (const char* name : kNames) {
    if (void* library = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return library;
    if (why.empty()) why = ::dlerror();
  }
  fail_unsupported(
      "fetching from the hub needs libcurl, which is not here ({}): install the package libcurl4 (on Ubuntu 24.04 "
      "libcurl4t64)",
      why);
}

template <typename F>
void find(void* library, F& function, const char* name) {
  function = reinterpret_cast<F>(::dlsym(library, name));
  if (!function)
    fail_unsupported("fetching from the hub needs a newer libcurl: this one (before 7.62) has no {}", name);
}

Curl load() {
  void* library = open_library();
  Curl curl{};
  find(library, curl.global_init, "curl_global_init");
  find(library, curl.easy_init, "curl_easy_init");
  find(library, curl.easy_setopt, "curl_easy_setopt");
  find(library, curl.easy_getinfo, "curl_easy_getinfo");
  find(library, curl.easy_cleanup, "curl_easy_cleanup");
  find(library, curl.easy_strerror, "curl_easy_strerror");
  find(library, curl.multi_init, "curl_multi_init");
  find(library, curl.multi_add_handle, "curl_multi_add_handle");
  find(library, curl.multi_remove_handle, "curl_multi_remove_handle");
  find(library, curl.multi_perform, "curl_multi_perform");
  find(library, curl.multi_wait, "curl_multi_wait");
  find(library, curl.multi_info_read, "curl_multi_info_read");
  find(library, curl.multi_strerror, "curl_multi_strerror");
  find(library, curl.multi_cleanup, "curl_multi_cleanup");
  find(library, curl.slist_append, "curl_slist_append");
  find(library, curl.slist_free_all, "curl_slist_free_all");
  find(library, curl.url, "curl_url");
  find(library, curl.url_set, "curl_url_set");
  find(library, curl.url_get, "curl_url_get");
  find(library, curl.url_cleanup, "curl_url_cleanup");
  find(library, curl.free, "curl_free");
  if (curl.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) fail_unsupported("libcurl cannot be initialised");
  return curl;
}

}  // namespace

const Curl& Curl::get() {
  static const Curl curl = load();
  return curl;
}

}  // namespace qwill
