#include "llm/verify.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"

namespace qwill {
namespace {

// The named tensor as a vector of T; an error unless dtype and number of dimensions agree.
template <typename T>
std::vector<T> values(const SafetensorsFile& file, std::string_view name, DType dtype) {
  const StoredTensor* tensor = file.find(name);
  if (!tensor) fail_invalid("{}: no tensor {}: not a reference file", file.file().name(), name);
  if (tensor->dtype != dtype)
    fail_invalid("{}: {}: expected {}, found {}", file.file().name(), name, dtype_name(dtype),
                 dtype_name(tensor->dtype));
  std::vector<T> out(tensor->bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor->bytes.data(), out.size() * sizeof(T));
  return out;
}

// A reference file, checked against the model.
struct Reference {
  std::vector<int32_t> tokens, seq_lens, logit_rows, hidden_rows, greedy_seqs, greedy_ids;
  std::vector<float> logits, greedy_margins;
  std::vector<double> bf16_kl;
  std::vector<std::vector<float>> hidden;
  int64_t vocab_size, hidden_size;

  Reference(const SafetensorsFile& file, const ModelConfig& config)
      : vocab_size(config.vocab_size), hidden_size(config.hidden_size) {
    const std::string& name = file.file().name();
    tokens = values<int32_t>(file, "token_ids", DType::i32);
    seq_lens = values<int32_t>(file, "seq_lens", DType::i32);
    logits = values<float>(file, "logits", DType::f32);
    bf16_kl = values<double>(file, "bf16_kl", DType::f64);
    int64_t total = 0;
    for (const int32_t length : seq_lens) {
      if (length <= 0 || length > static_cast<int64_t>(tokens.size()) - total)
        fail_invalid("{}: seq_lens do not sum to the {} token_ids", name, tokens.size());
      total += length;
    }
    if (total != static_cast<int64_t>(tokens.size()))
      fail_invalid("{}: seq_lens do not sum to the {} token_ids", name, tokens.size());
    logit_rows = rows(file, "logit_rows", true);
    if (logits.size() != logit_rows.size() * static_cast<size_t>(vocab_size) || bf16_kl.size() != logit_rows.size())
      fail_invalid("{}: logits are not {} rows of {} ids: is it of this model?", name, logit_rows.size(), vocab_size);
    if (file.find("hidden_rows")) {
      hidden_rows = rows(file, "hidden_rows", false);
      for (int64_t layer = 0; layer <= config.num_layers; ++layer) {
        hidden.push_back(values<float>(file, fmt::format("hidden.{}", layer), DType::f32));
        if (hidden.back().size() != hidden_rows.size() * static_cast<size_t>(hidden_size))
          fail_invalid("{}: hidden.{} is not {} rows of {}: is it of this model?", name, layer, hidden_rows.size(),
                       hidden_size);
      }
    }
    if (file.find("greedy_seqs")) {
      greedy_seqs = values<int32_t>(file, "greedy_seqs", DType::i32);
      greedy_ids = values<int32_t>(file, "greedy_ids", DType::i32);
      greedy_margins = values<float>(file, "greedy_margins", DType::f32);
      const bool whole = greedy_seqs.empty() ? greedy_ids.empty() : greedy_ids.size() % greedy_seqs.size() == 0;
      if (!whole || greedy_margins.size() != greedy_ids.size())
        fail_invalid("{}: greedy_ids and greedy_margins do not fit greedy_seqs", name);
      for (const int32_t seq : greedy_seqs)
        if (seq < 0 || seq >= static_cast<int64_t>(seq_lens.size()))
          fail_invalid("{}: greedy_seqs names sequence {}", name, seq);
    }
  }

  std::span<const float> logits_row(size_t r) const {
    return std::span(logits).subspan(r * static_cast<size_t>(vocab_size), static_cast<size_t>(vocab_size));
  }

 private:
  // Ascending indices of tokens; all of them if the tensor is absent and may be.
  std::vector<int32_t> rows(const SafetensorsFile& file, std::string_view name, bool optional) const {
    std::vector<int32_t> out;
    if (optional && !file.find(name)) {
      for (size_t t = 0; t < tokens.size(); ++t) out.push_back(static_cast<int32_t>(t));
      return out;
    }
    out = values<int32_t>(file, name, DType::i32);
    int32_t previous = -1;
    for (const int32_t row : out) {
      if (row <= previous || row >= static_cast<int64_t>(tokens.size()))
        fail_invalid("{}: {} are not ascending indices of tokens", file.file().name(), name);
      previous = row;
    }
    return out;
  }
};

double relative_error(std::span<const float> got, std::span<const float> wanted) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double d = static_cast<double>(got[i]) - wanted[i];
    difference += d * d;
    norm += static_cast<double>(wanted[i]) * wanted[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

// Mean, and half the width of its 95 % confidence interval by the normal approximation.
std::pair<double, double> mean_and_interval(const std::vector<double>& samples) {
  if (samples.empty()) return {0, 0};
  double sum = 0, squares = 0;
  for (const double x : samples) sum += x;
  const double n = static_cast<double>(samples.size()), mean = sum / n;
  for (const double x : samples) squares += (x - mean) * (x - mean);
  return {mean, n > 1 ? 1.96 * std::sqrt(squares / (n - 1) / n) : 0};
}

// Accumulates rows of logits as they come.
class RowComparison {
 public:
  void add(std::span<const float> got, std::span<const float> wanted, double reference_kl) {
    const double got_total = log_sum_exp(got), wanted_total = log_sum_exp(wanted);
    double kl = 0;
    size_t got_top = 0, wanted_top = 0;
    for (size_t i = 0; i < wanted.size(); ++i) {
      const double log_p = wanted[i] - wanted_total, log_q = got[i] - got_total;
      kl += std::exp(log_p) * (log_p - log_q);
      if (got[i] > got[got_top]) got_top = i;
      if (wanted[i] > wanted[wanted_top]) wanted_top = i;
      max_logit_error = std::max(max_logit_error, std::abs(static_cast<double>(got[i]) - wanted[i]));
    }
    row_kl.push_back(kl);
    row_reference_kl.push_back(reference_kl);
    row_errors.push_back(relative_error(got, wanted));
    logprob_errors.push_back(std::abs((wanted[wanted_top] - wanted_total) - (got[wanted_top] - got_total)));
    top1_same += got_top == wanted_top;
  }

  void finish(VerifyReport& report) {
    report.num_rows = static_cast<int64_t>(row_kl.size());
    std::tie(report.mean_kl, report.kl_interval) = mean_and_interval(row_kl);
    std::tie(report.reference_kl, report.reference_kl_interval) = mean_and_interval(row_reference_kl);
    report.mean_row_error = mean_and_interval(row_errors).first;
    report.mean_logprob_error = mean_and_interval(logprob_errors).first;
    if (!row_kl.empty()) {
      report.max_kl = *std::ranges::max_element(row_kl);
      report.max_row_error = *std::ranges::max_element(row_errors);
      std::ranges::sort(logprob_errors);
      report.p99_logprob_error = logprob_errors[(logprob_errors.size() - 1) * 99 / 100];
      report.top1_agreement = static_cast<double>(top1_same) / static_cast<double>(row_kl.size());
    }
    report.row_kl = std::move(row_kl);
    report.row_reference_kl = std::move(row_reference_kl);
  }

  double max_logit_error = 0;

 private:
  std::vector<double> row_kl, row_reference_kl, row_errors, logprob_errors;
  int64_t top1_same = 0;
};

void compare_greedy(EngineCore& engine, const Reference& reference, const std::vector<int64_t>& first_token,
                    double max_logit_error, VerifyReport& report) {
  if (reference.greedy_seqs.empty()) return;
  const size_t steps = reference.greedy_ids.size() / reference.greedy_seqs.size();
  for (size_t g = 0; g < reference.greedy_seqs.size(); ++g) {
    const auto seq = static_cast<size_t>(reference.greedy_seqs[g]);
    const auto begin = reference.tokens.begin() + first_token[seq];
    Request request;
    request.prompt.assign(begin, begin + reference.seq_lens[seq]);
    request.sampling.max_tokens = static_cast<int64_t>(steps);
    engine.add(std::move(request));
    bool comparing = true;
    for (size_t step = 0; !engine.idle();) {
      for (const TokenEvent& event : engine.step()) {
        const size_t i = g * steps + step++;
        if (!comparing) continue;
        ++report.greedy_steps;
        if (event.draw->id == reference.greedy_ids[i]) continue;
        comparing = false;
        ++(reference.greedy_margins[i] > 2 * max_logit_error ? report.greedy_mismatches : report.greedy_ties);
      }
    }
  }
}

}  // namespace

VerifyReport verify(EngineCore& engine, const ModelConfig& config, const SafetensorsFile& file,
                    double layer_tolerance) {
  const Reference reference(file, config);
  VerifyReport report;
  report.layer_tolerance = layer_tolerance;
  report.layer_errors.assign(reference.hidden.size(), 0);

  RowComparison rows;
  std::vector<int64_t> first_token;
  int64_t first = 0;
  for (const int32_t length : reference.seq_lens) {
    first_token.push_back(first);
    int64_t done = 0;  // tokens of the sequence before this chunk
    const auto rows_in = [&](const std::vector<int32_t>& indices, int64_t count, auto&& visit) {
      auto i = std::ranges::lower_bound(indices, static_cast<int32_t>(first + done));
      for (; i != indices.end() && *i < first + done + count; ++i)
        visit(static_cast<size_t>(i - indices.begin()), *i - first - done);
    };
    const auto compare_hidden = [&](int64_t layer, const Tensor& x) {
      const auto wanted = std::span(reference.hidden[static_cast<size_t>(layer)]);
      const auto size = static_cast<size_t>(reference.hidden_size);
      rows_in(reference.hidden_rows, x.rows, [&](size_t r, int64_t row) {
        double& error = report.layer_errors[static_cast<size_t>(layer)];
        error = std::max(error, relative_error({x.row<const float>(row), size}, wanted.subspan(r * size, size)));
      });
    };
    const auto compare_logits = [&](int64_t, const Tensor& logits) {
      rows_in(reference.logit_rows, logits.rows, [&](size_t r, int64_t row) {
        rows.add({logits.row<const float>(row), static_cast<size_t>(logits.cols)}, reference.logits_row(r),
                 reference.bf16_kl[r]);
      });
      done += logits.rows;
    };
    engine.score(std::span(reference.tokens).subspan(static_cast<size_t>(first), static_cast<size_t>(length)),
                 compare_logits, reference.hidden.empty() ? Model::Observer() : compare_hidden);
    first += length;
  }
  rows.finish(report);
  const auto divergent = std::ranges::find_if(report.layer_errors, [&](double e) { return !(e <= layer_tolerance); });
  if (divergent != report.layer_errors.end()) report.first_divergent_layer = divergent - report.layer_errors.begin();
  compare_greedy(engine, reference, first_token, rows.max_logit_error, report);
  return report;
}

Json VerifyReport::to_json() const {
  Json layers = Json::array();
  for (const double error : layer_errors) layers.push_back(error);
  Json json = Json::object();
  json.set("rows", num_rows)
      .set("mean_kl", mean_kl)
      .set("kl_interval_95", kl_interval)
      .set("max_kl", max_kl)
      .set("reference_bf16_mean_kl", reference_kl)
      .set("reference_bf16_kl_interval_95", reference_kl_interval)
      .set("mean_logprob_error", mean_logprob_error)
      .set("p99_logprob_error", p99_logprob_error)
      .set("top1_agreement", top1_agreement)
      .set("mean_row_error", mean_row_error)
      .set("max_row_error", max_row_error)
      .set("layer_errors", layers)
      .set("layer_tolerance", layer_tolerance)
      .set("first_divergent_layer", first_divergent_layer < 0 ? Json() : Json(first_divergent_layer))
      .set("greedy_steps", greedy_steps)
      .set("greedy_mismatches", greedy_mismatches)
      .set("greedy_ties", greedy_ties);
  return json;
}

std::string VerifyReport::to_text() const {
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<28}{}\n", name, value);
  };
  line("positions", fmt::format("{}", num_rows));
  line("mean KL", fmt::format("{:.3e} ± {:.1e} nat (95 %), largest {:.3e}", mean_kl, kl_interval, max_kl));
  line("the reference's own in bf16", fmt::format("{:.3e} ± {:.1e} nat", reference_kl, reference_kl_interval));
  line("|Δ log-probability|", fmt::format("mean {:.3e}, p99 {:.3e} nat", mean_logprob_error, p99_logprob_error));
  line("top-1 agreement", fmt::format("{:.3f} %", 100 * top1_agreement));
  line("relative error of a row", fmt::format("mean {:.2e}, largest {:.2e}", mean_row_error, max_row_error));
  if (!layer_errors.empty()) {
    line("residual stream", fmt::format("largest error {:.2e}", *std::ranges::max_element(layer_errors)));
    line("first divergent layer", first_divergent_layer < 0
                                      ? fmt::format("none (tolerance {:.0e})", layer_tolerance)
                                      : fmt::format("{} (tolerance {:.0e})", first_divergent_layer, layer_tolerance));
  }
  if (greedy_steps > 0)
    line("greedy tokens", fmt::format("{} compared, {} differ, {} sequences ended at a tie", greedy_steps,
                                      greedy_mismatches, greedy_ties));
  return text;
}

}  // namespace qwill
