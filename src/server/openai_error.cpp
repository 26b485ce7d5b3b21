#include "server/openai_error.h"

namespace qwill {
namespace {

Json string_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

std::string_view error_type(int status) {
  switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status < 500 ? "invalid_request_error" : "server_error";
  }
}

}  // namespace

int api_status(const Error& error) {
  if (const auto* api = dynamic_cast<const ApiError*>(&error)) return api->status();
  switch (error.kind()) {
    case ErrorKind::invalid:
    case ErrorKind::unsupported:
    case ErrorKind::usage: return 400;
    case ErrorKind::busy: return 503;
    case ErrorKind::io:
    case ErrorKind::device: break;
  }
  return 500;
}

Json api_error(const Error& error) {
  std::string param, code;
  if (const auto* refused = dynamic_cast<const RequestError*>(&error)) {
    param = refused->param();
    code = refused->code();
  } else if (const auto* api = dynamic_cast<const ApiError*>(&error)) {
    code = api->code();
  }
  Json inner = Json::object();
  inner.set("message", error.what())
      .set("type", error_type(api_status(error)))
      .set("param", string_or_null(param))
      .set("code", string_or_null(code));
  Json body = Json::object();
  return body.set("error", std::move(inner));
}

http::Response error_response(const Error& error) {
  http::Response response{.status = api_status(error), .body = api_error(error).dump()};
  if (response.status == 429 || response.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

}  // namespace qwill
