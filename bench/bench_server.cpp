// What HTTP costs: the same requests straight to the engine and as streams over loopback, on one model, alternating.
//
//     bench_server MODEL --streams 256 --prompt-len 128 --gen-len 256
//
// Prints tokens/s of both, the time to the first token at one stream of both, and the processor time that the server's
// threads (all but the engine's and those that compute) take per streamed token. Clients are a process of their own.
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "llm/bench.h"
#include "server/api_server.h"

namespace qwill {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Options {
  LlmOptions llm;
  int64_t streams = 256, prompt_len = 128, gen_len = 256, rounds = 3;
};

// ------------------------------------------------------------------------------------------------ clients

// What a client process is told to do, and what it answers.
struct Order {
  int32_t port = 0;  // 0: end
  int32_t streams = 0, prompt_len = 0, gen_len = 0, first_stream = 0, vocab_size = 0;
};
struct Report {
  double seconds = 0, ttft_s = 0;  // to the last stream's end; the median to the first event
  int64_t events = 0;
};

class StreamClient {
 public:
  StreamClient(asio::io_context& context, const Order& order, int stream) : socket_(context) {
    const std::vector<int32_t> prompt =
        random_prompt(order.prompt_len, order.vocab_size, static_cast<uint32_t>(order.first_stream + stream));
    const std::string body =
        fmt::format(R"({{"prompt":[{}],"max_tokens":{},"temperature":1,"seed":{},"ignore_eos":true,"stream":true}})",
                    fmt::join(prompt, ","), order.gen_len, stream);
    request_ =
        fmt::format("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{}", body.size(), body);
    socket_.connect({asio::ip::address_v4::loopback(), static_cast<unsigned short>(order.port)});
    socket_.set_option(tcp::no_delay(true));
  }
  void begin() {
    begin_ = Clock::now();
    asio::write(socket_, asio::buffer(request_));
    read();
  }
  int64_t events() const { return events_; }
  double ttft_s() const { return ttft_s_; }

 private:
  void read() {
    socket_.async_read_some(asio::buffer(buffer_), [this](const auto& error, size_t size) {
      if (error) return;
      text_.append(buffer_.data(), size);
      size_t begin = 0;
      for (size_t end; (end = text_.find("\n\n", begin)) != std::string::npos; begin = end + 2) {
        if (events_++ == 0) ttft_s_ = seconds_since(begin_);
        if (std::string_view(text_).substr(begin, end - begin).find("[DONE]") != std::string_view::npos) {
          --events_;
          return;
        }
      }
      text_.erase(0, begin);
      read();
    });
  }

  tcp::socket socket_;
  std::string request_, text_;
  std::array<char, 16384> buffer_;
  Clock::time_point begin_;
  int64_t events_ = 0;
  double ttft_s_ = 0;
};

Report run_streams(const Order& order) {
  asio::io_context context;
  std::vector<std::unique_ptr<StreamClient>> clients;
  for (int i = 0; i < order.streams; ++i) clients.push_back(std::make_unique<StreamClient>(context, order, i));
  const auto begin = Clock::now();
  for (const auto& client : clients) client->begin();
  context.run();
  Report report{.seconds = seconds_since(begin)};
  std::vector<double> ttfts;
  for (const auto& client : clients) {
    report.events += client->events();
    ttfts.push_back(client->ttft_s());
  }
  report.ttft_s = median(ttfts);
  return report;
}

// A process that runs orders; made before there are threads and a card.
class Clients {
 public:
  Clients() {
    if (::pipe(to_) != 0 || ::pipe(from_) != 0) fail(ErrorKind::io, "no pipes");
    child_ = ::fork();
    if (child_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Order order;
    while (::read(to_[0], &order, sizeof order) == sizeof order && order.port != 0) {
      const Report report = run_streams(order);
      if (::write(from_[1], &report, sizeof report) != sizeof report) break;
    }
    ::_exit(0);
  }
  ~Clients() {
    run({});
    ::waitpid(child_, nullptr, 0);
  }
  Report run(const Order& order) {
    Report report;
    if (::write(to_[1], &order, sizeof order) != sizeof order) fail(ErrorKind::io, "the clients are gone");
    if (order.port != 0 && ::read(from_[0], &report, sizeof report) != sizeof report)
      fail(ErrorKind::io, "the clients are gone");
    return report;
  }

 private:
  int to_[2], from_[2];
  pid_t child_;
};

// ------------------------------------------------------------------------------------------------ server

// Processor seconds of this process's threads, by name.
std::map<std::string, double> thread_seconds() {
  std::map<std::string, double> seconds;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::string name, schedule;
    std::getline(std::ifstream(task.path() / "comm"), name);
    int64_t ns = 0;
    std::ifstream(task.path() / "schedstat") >> ns;
    seconds[name] += static_cast<double>(ns) * 1e-9;
  }
  return seconds;
}

struct Direct {
  double seconds = 0, ttft_s = 0;
  int64_t tokens = 0;
};

Direct run_direct(Llm& llm, const Order& order) {
  struct Stream {
    std::atomic<double> ttft_s = 0;
  };
  std::vector<Stream> streams(static_cast<size_t>(order.streams));
  std::latch left(order.streams);
  std::atomic<int64_t> tokens = 0;
  std::vector<GenerateRequest> requests;
  for (int i = 0; i < order.streams; ++i) {
    GenerateRequest request;
    request.prompt = random_prompt(order.prompt_len, order.vocab_size, static_cast<uint32_t>(order.first_stream + i));
    request.sampling = llm.default_sampling();
    request.sampling.temperature = 1;
    request.sampling.seed = static_cast<uint64_t>(i);
    request.sampling.max_tokens = order.gen_len;
    request.ignore_eos = true;
    requests.push_back(std::move(request));
  }
  const auto begin = Clock::now();
  for (size_t i = 0; i < requests.size(); ++i)
    llm.submit(std::move(requests[i]), [&, i, start = Clock::now()](const AnswerPart& part) {
      if (!part.draws.empty() && streams[i].ttft_s == 0) streams[i].ttft_s = seconds_since(start);
      tokens += std::ssize(part.draws);
      if (part.result || part.error) left.count_down();
    });
  left.wait();
  Direct direct{.seconds = seconds_since(begin), .tokens = tokens};
  std::vector<double> ttfts;
  for (const Stream& stream : streams) ttfts.push_back(stream.ttft_s);
  direct.ttft_s = median(ttfts);
  return direct;
}

int main_of(const Options& o) {
  Clients clients;
  ServerOptions options;
  options.log_requests = true;  // as a server in use; its lines go to stderr
  ApiServer server(options);
  const int port = server.listen("127.0.0.1", 0);
  auto model = std::make_unique<ServedModel>();
  model->name = "model";
  model->llm = Llm::open(o.llm);
  Llm& llm = *model->llm;
  fmt::print("{} on {}: {} streams, prompts of {}, answers of {}\n", o.llm.model, llm.device_name(), o.streams,
             o.prompt_len, o.gen_len);
  std::vector<std::unique_ptr<ServedModel>> models;
  models.push_back(std::move(model));
  server.serve(std::move(models));

  Order order{.port = port,
              .streams = static_cast<int32_t>(o.streams),
              .prompt_len = static_cast<int32_t>(o.prompt_len),
              .gen_len = static_cast<int32_t>(o.gen_len),
              .vocab_size = static_cast<int32_t>(llm.parts().config().vocab_size)};
  const auto next = [&] { order.first_stream += 4096; };  // prompts that no prefix cache knows
  run_direct(llm, order);
  std::vector<double> direct_rates, http_rates;
  for (int64_t round = 0; round < o.rounds; ++round) {
    next();
    const Direct direct = run_direct(llm, order);
    direct_rates.push_back(static_cast<double>(direct.tokens) / direct.seconds);
    next();
    const auto before = thread_seconds();
    const Report http = clients.run(order);
    auto spent = thread_seconds();
    const auto tokens = static_cast<double>(o.streams * o.gen_len);
    http_rates.push_back(tokens / http.seconds);
    double total = 0;
    std::string parts;
    for (auto& [name, seconds] : spent) {
      const auto old = before.find(name);
      if (old != before.end()) seconds -= old->second;
      if (name == "qwill-engine" || name == "qwill-compute" || seconds * 1e6 / tokens < 0.05) continue;
      total += seconds;
      parts += fmt::format(", {} {:.1f}", name, seconds * 1e6 / tokens);
    }
    fmt::print(
        "engine {:.0f} tok/s, HTTP {:.0f} tok/s ({} events, {} tokens); processor us per streamed token: {:.1f}{}\n",
        direct_rates.back(), http_rates.back(), http.events, o.streams * o.gen_len, total * 1e6 / tokens, parts);
  }
  fmt::print("medians: engine {:.0f} tok/s, HTTP {:.0f} tok/s, {:+.1f} %\n", median(direct_rates), median(http_rates),
             100 * (median(http_rates) / median(direct_rates) - 1));

  order.streams = 1;
  order.gen_len = 4;
  std::vector<double> direct_ttfts, http_ttfts;
  for (int i = 0; i < 40; ++i) {
    next();
    direct_ttfts.push_back(run_direct(llm, order).ttft_s);
    next();
    http_ttfts.push_back(clients.run(order).ttft_s);
  }
  fmt::print("first token at one stream, medians of 40: engine {:.3f} ms, HTTP {:.3f} ms, {:+.3f} ms\n",
             median(direct_ttfts) * 1e3, median(http_ttfts) * 1e3, (median(http_ttfts) - median(direct_ttfts)) * 1e3);
  return 0;
}

}  // namespace
}  // namespace qwill

int main(int argc, char** argv) {
  CLI::App app("What HTTP costs.");
  qwill::Options o;
  app.add_option("MODEL", o.llm.model, "folder (default: the built-in model)");
  app.add_option("--device", o.llm.device);
  app.add_option("--max-seqs", o.llm.max_sequences)->default_val(0);
  app.add_option("--streams", o.streams);
  app.add_option("--prompt-len", o.prompt_len);
  app.add_option("--gen-len", o.gen_len);
  app.add_option("--rounds", o.rounds);
  CLI11_PARSE(app, argc, argv);
  try {
    return qwill::main_of(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "bench_server: {}\n", e.what());
    return 1;
  }
}
