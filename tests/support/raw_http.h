// A client that sends bytes and reads what comes.
#pragma once

#include <boost/asio/completion_condition.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <string>
#include <string_view>

namespace qwill::test {

class RawClient {
 public:
  explicit RawClient(int port) : socket_(context_) {
    socket_.connect({boost::asio::ip::address_v4::loopback(), static_cast<unsigned short>(port)});
  }
  void send(std::string_view text) { boost::asio::write(socket_, boost::asio::buffer(text.data(), text.size())); }
  // All up to and with `end`; up to the end of the connection if it does not come.
  std::string read_until(std::string_view end) {
    boost::system::error_code error;
    const size_t size = boost::asio::read_until(socket_, boost::asio::dynamic_buffer(read_), std::string(end), error);
    std::string text = read_.substr(0, error ? read_.size() : size);
    read_.erase(0, text.size());
    return text;
  }
  // So many bytes; fewer at the end of the connection.
  std::string read(size_t size) {
    boost::system::error_code error;
    if (read_.size() < size)
      boost::asio::read(socket_, boost::asio::dynamic_buffer(read_), boost::asio::transfer_exactly(size - read_.size()),
                        error);
    std::string text = read_.substr(0, size);
    read_.erase(0, text.size());
    return text;
  }
  // All until the connection ends.
  std::string read_all() {
    boost::system::error_code error;
    boost::asio::read(socket_, boost::asio::dynamic_buffer(read_), error);
    return std::exchange(read_, {});
  }
  void close() { socket_.close(); }

 private:
  boost::asio::io_context context_;
  boost::asio::ip::tcp::socket socket_;
  std::string read_;
};

// The whole answer, head and body.
inline std::string get(int port, const std::string& path) {
  RawClient client(port);
  client.send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  return client.read_all();
}
inline std::string post(int port, const std::string& path, const std::string& body) {
  RawClient client(port);
  client.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: " +
              std::to_string(body.size()) + "\r\n\r\n" + body);
  return client.read_all();
}
// Of an answer.
inline int status_of(const std::string& answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(answer.substr(9, 3)) : 0;
}
inline std::string body_of(const std::string& answer) {
  const size_t head = answer.find("\r\n\r\n");
  return head == std::string::npos ? "" : answer.substr(head + 4);
}

}  // namespace qwill::test
