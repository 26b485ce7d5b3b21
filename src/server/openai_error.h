// Errors as OpenAI's API tells them.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "http/message.h"
#include "qwill/error.h"

namespace qwill {

// A body that is refused. param names the field, code is the API's word for what is wrong with it; each may be empty.
class RequestError : public Error {
 public:
  RequestError(std::string param, std::string_view code, const std::string& message)
      : Error(ErrorKind::invalid, message), param_(std::move(param)), code_(code) {}
  const std::string& param() const { return param_; }
  const std::string& code() const { return code_; }

 private:
  std::string param_, code_;
};

// An error that a request meets at a server, beside those of what it asks for.
class ApiError : public Error {
 public:
  ApiError(int status, std::string_view code, const std::string& message)
      : Error(ErrorKind::invalid, message), status_(status), code_(code) {}
  int status() const { return status_; }
  const std::string& code() const { return code_; }

 private:
  int status_;
  std::string code_;
};

// The HTTP status of an error, and its body: {"error": {"message", "type", "param", "code"}}.
int api_status(const Error& error);
Json api_error(const Error& error);
// Both, and when to come back.
http::Response error_response(const Error& error);

}  // namespace qwill
