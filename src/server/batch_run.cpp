#include "server/batch_run.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <list>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "llm/parts.h"
#include "server/openai_response.h"

namespace qwill {
namespace {

constexpr int64_t kLeastUnderWay = 32;
constexpr auto kPoll = std::chrono::milliseconds(5);

// A line of the input whose requests are being answered.
struct Line {
  BatchRequest request;
  ApiRequest api;
  std::vector<GenerateResult> results;
  size_t num_submitted = 0, num_finished = 0;
};

struct UnderWay {
  std::shared_ptr<Line> line;
  size_t request_idx;
  Llm::Job job;
};

class Run {
 public:
  Run(Llm& llm, const std::string& model, BatchInput& input, BatchOutput& output, const std::atomic<bool>& cancel)
      : llm_(llm), model_(model), input_(input), output_(output), cancel_(cancel) {
    llm.engine().call([&](EngineCore& core) {
      most_under_way_ = std::max(kLeastUnderWay, 2 * core.config().max_sequences);
      tokens_before_ = core.stats().output_tokens;
    });
  }

  // Hands requests to the engine until enough are under way. False if none is left to hand over.
  bool fill();
  // Waits a little, and takes in what has finished.
  void collect();
  // Takes in what has finished by now and gives up the rest.
  void give_up();
  bool idle() const { return under_way_.empty(); }
  BatchCounts counts() const { return {answered_, llm_.engine().stats().output_tokens - tokens_before_}; }
  // Once nothing is under way: the last step's tokens count as well.
  BatchCounts final_counts();

 private:
  void begin(BatchRequest request);
  bool submit_next();
  void take_in(UnderWay& done);

  Llm& llm_;
  const std::string& model_;
  BatchInput& input_;
  BatchOutput& output_;
  const std::atomic<bool>& cancel_;
  int64_t tokens_before_ = 0, most_under_way_ = 0, answered_ = 0;
  std::shared_ptr<Line> handing_over_;  // has requests that are not submitted
  std::list<UnderWay> under_way_;
};

// Makes a line the one to hand over, or answers it at once if it cannot be run.
void Run::begin(BatchRequest request) {
  if (request.flaw) {
    output_.append_flaw(request);
    ++answered_;
    return;
  }
  auto line = std::make_shared<Line>();
  try {
    line->api = read_api_request(llm_, request.endpoint, request.body, request.custom_id_hash);
    if (line->api.stream)
      throw RequestError("stream", "unsupported_value", "stream: a batch has no streams, use false");
  } catch (const Error& e) {
    output_.append(request, api_status(e), api_error(e));
    ++answered_;
    return;
  }
  if (line->api.form.model.empty()) line->api.form.model = model_;
  line->results.resize(line->api.requests.size());
  request.body = {};
  line->request = std::move(request);
  handing_over_ = std::move(line);
}

// False if the engine takes no more for now.
bool Run::submit_next() {
  Line& line = *handing_over_;
  try {
    Llm::Job job = llm_.submit(line.api.requests[line.num_submitted]);
    under_way_.push_back({handing_over_, line.num_submitted, std::move(job)});
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::busy) return false;
    throw;
  }
  line.api.requests[line.num_submitted++] = {};
  if (line.num_submitted == line.api.requests.size()) handing_over_.reset();
  return true;
}

bool Run::fill() {
  while (!cancel_ && static_cast<int64_t>(under_way_.size()) < most_under_way_) {
    if (handing_over_) {
      if (!submit_next()) break;
    } else if (std::optional<BatchRequest> request = input_.next()) {
      begin(std::move(*request));
    } else {
      return false;
    }
  }
  return true;
}

void Run::take_in(UnderWay& done) {
  Line& line = *done.line;
  GenerateResult result = done.job.result.get();
  if (result.finish == FinishReason::cancelled) return;
  line.results[done.request_idx] = std::move(result);
  if (++line.num_finished < line.results.size()) return;
  const auto& tokenizer = llm_.parts().tokenizer;
  output_.append(line.request, 200,
                 api_response(line.api.form, tokenizer ? &*tokenizer : nullptr, line.results, line.request.id(),
                              static_cast<int64_t>(std::time(nullptr))));
  ++answered_;
}

void Run::collect() {
  if (under_way_.empty())
    std::this_thread::sleep_for(kPoll);
  else
    under_way_.front().job.result.wait_for(kPoll);
  for (auto it = under_way_.begin(); it != under_way_.end();) {
    if (it->job.result.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      take_in(*it);
      it = under_way_.erase(it);
    } else {
      ++it;
    }
  }
}

void Run::give_up() {
  for (const UnderWay& one : under_way_) llm_.cancel(one.job.sequence);
  while (!under_way_.empty()) collect();
}

BatchCounts Run::final_counts() {
  int64_t tokens = 0;
  llm_.engine().call([&](EngineCore& core) { tokens = core.stats().output_tokens; });
  return {answered_, tokens - tokens_before_};
}

}  // namespace

BatchCounts run_batch(Llm& llm, const std::string& model, BatchInput& input, BatchOutput& output,
                      const std::atomic<bool>& cancel, const std::function<void(const BatchCounts&)>& on_progress) {
  Run run(llm, model, input, output, cancel);
  while (!cancel && (run.fill() || !run.idle())) {
    run.collect();
    on_progress(run.counts());
  }
  run.give_up();
  output.sync();
  return run.final_counts();
}

}  // namespace qwill
