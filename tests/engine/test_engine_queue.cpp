// How many requests an engine lets wait.
#include <gtest/gtest.h>

#include <future>
#include <latch>
#include <memory>

#include "base/error.h"
#include "engine/engine_core.h"
#include "qwill/engine.h"

namespace qwill {
namespace {

// Its first launch waits until it is let go.
class SlowRunner final : public Runner {
 public:
  void launch(const Batch&, std::span<const PageCopy>, std::span<const SamplingRow> rows) override {
    num_draws = rows.size();
    if (launched.try_wait()) return;
    launched.count_down();
    go.wait();
  }
  std::vector<Draw> take_draws() override { return std::vector<Draw>(num_draws); }

  size_t num_draws = 0;
  std::latch launched{1}, go{1};
};

TEST(EngineQueue, RequestsThatTheThreadHasTakenStillCount) {
  auto owned = std::make_unique<SlowRunner>();
  SlowRunner& runner = *owned;
  ModelConfig model;
  model.vocab_size = 10;
  Engine engine(std::make_unique<EngineCore>(std::move(owned), model, EngineConfig{.max_seq_len = 64}), 2);
  std::latch calling{1}, submitted{1};
  const auto call = std::async(std::launch::async, [&] {
    engine.call([&](EngineCore&) {
      calling.count_down();
      submitted.wait();
    });
  });
  calling.wait();
  const auto submit = [&] { return engine.submit({{1, 2, 3}, {}}, [](TokenEvent&&) {}); };
  submit();
  submit();
  submitted.count_down();
  runner.launched.wait();  // it has taken both
  try {
    submit();
    ADD_FAILURE() << "two wait already";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::busy);
  }
  runner.go.count_down();
}

}  // namespace
}  // namespace qwill
