#include "cuda/step_inputs.h"

#include <algorithm>
#include <array>

namespace qwill::cuda {
namespace {

// The block's arrays one after another, and behind them what the card makes; `base` is where it lies (device) or where
// it is written (host).
struct Layout {
  explicit Layout(const StepShape& shape) : s(shape) {}

  StepInputs at(char* base) const {
    StepInputs in{};
    in.shape = s;
    int64_t offset = 0;
    const auto take = [&](int64_t count, int64_t size = 4) {
      char* data = base + offset;
      offset += (count * size + 15) / 16 * 16;
      return data;
    };
    const auto ints = [&](int64_t count) { return reinterpret_cast<int32_t*>(take(count)); };
    in.tokens = ints(s.rows);
    in.draw_source = ints(s.rows);
    in.sent.positions = ints(s.rows);
    in.sent.slots = ints(s.rows);
    in.rope_kinds = ints(s.rows);
    in.row_begin = ints(s.sequences + 1);
    in.sent.seq_lens = ints(s.sequences);
    in.decodes = ints(s.decodes);
    in.logit_rows = ints(s.logit_rows);
    in.query_tiles = reinterpret_cast<QueryTile*>(take(s.query_tiles, sizeof(QueryTile)));
    in.page_table = ints(s.sequences * s.pages);
    in.positions = ints(s.rows);
    in.slots = ints(s.rows);
    in.seq_lens = ints(s.sequences);
    return in;
  }
  // Of what is sent, and of what the card makes.
  int64_t bytes() const { return reinterpret_cast<intptr_t>(at(nullptr).positions); }
  int64_t bytes_behind() const { return 2 * ((s.rows * 4 + 15) / 16 * 16) + s.sequences * 4; }

  const StepShape& s;
};

// Copies `from` and pads to `count`.
void fill(int32_t* to, std::span<const int32_t> from, int64_t count, int32_t padding) {
  std::ranges::copy(from, to);
  std::fill(to + from.size(), to + count, padding);
}

}  // namespace

StepInputs StepUploader::lay_out(const StepShape& shape) {
  const Layout layout(shape);
  return layout.at(words_.make_room(layout.bytes(), layout.bytes_behind()));
}

StepInputs StepUploader::upload(const Batch& batch, const StepShape& shape, int64_t page_size,
                                const std::vector<QueryTile>& tiles, const Device& device) {
  const Layout layout(shape);
  StepInputs inputs = lay_out(shape);
  char* host = words_.next(layout.bytes());
  const StepInputs h = layout.at(host);
  const int64_t sequences = batch.num_sequences();

  fill(h.tokens, batch.tokens, shape.rows, 0);
  fill(h.draw_source, batch.draw_source, shape.rows, Batch::kFromHost);
  fill(h.sent.positions, batch.positions, shape.rows, 0);
  fill(h.sent.slots, batch.slots, shape.rows, -1);
  fill(h.rope_kinds, {}, shape.rows, 0);
  std::vector<int32_t> decodes;
  for (int64_t s = 0; s < sequences; ++s) {
    const auto i = static_cast<size_t>(s);
    std::fill(h.rope_kinds + batch.row_begin[i], h.rope_kinds + batch.row_begin[i + 1],
              static_cast<int32_t>(batch.rope[i]));
    if (batch.row_begin[i + 1] - batch.row_begin[i] == 1) decodes.push_back(static_cast<int32_t>(s));
  }
  // A padding sequence of a recorded step has one padding row.
  auto* row_begin = h.row_begin;
  std::ranges::copy(batch.row_begin, row_begin);
  for (int64_t s = sequences; s < shape.sequences; ++s)
    row_begin[s + 1] = std::min(row_begin[s] + 1, static_cast<int32_t>(shape.rows));
  fill(h.sent.seq_lens, batch.seq_lens, shape.sequences, 0);
  for (int64_t s = sequences; s < shape.decodes; ++s) decodes.push_back(static_cast<int32_t>(s));
  fill(h.decodes, decodes, shape.decodes, -1);
  std::vector<int32_t> logit_rows = batch.logit_rows;
  for (auto r = static_cast<int64_t>(logit_rows.size()); r < shape.logit_rows; ++r)
    logit_rows.push_back(static_cast<int32_t>(r));
  fill(h.logit_rows, logit_rows, shape.logit_rows, 0);
  std::ranges::copy(tiles, h.query_tiles);
  std::fill(h.query_tiles + tiles.size(), h.query_tiles + shape.query_tiles, QueryTile{});
  auto* table = h.page_table;
  for (int64_t s = 0; s < shape.sequences; ++s) {
    // Attention may read beyond a sequence's end, though to no effect: what it finds there is of the sequence too.
    std::span<const int32_t> pages;
    if (s < sequences && page_size > 0) {
      const int64_t count = (batch.seq_lens[static_cast<size_t>(s)] + page_size - 1) / page_size;
      pages = {batch.pages(s), static_cast<size_t>(std::min({count, batch.max_pages, shape.pages}))};
    }
    fill(table + s * shape.pages, pages, shape.pages, pages.empty() ? 0 : pages.back());
  }

  const auto counters = [&](const int32_t* words, int64_t count) {
    return Counters{.first = words - reinterpret_cast<int32_t*>(host), .count = count};
  };
  // While sequences decode, their pages permitting, the rest stays as it is.
  inputs.sent.steps =
      words_.send(std::array{counters(h.sent.positions, batch.num_rows()), counters(h.sent.slots, batch.num_rows()),
                             counters(h.sent.seq_lens, sequences)},
                  device);
  inputs.sent.num_rows = static_cast<int32_t>(batch.num_rows());
  inputs.sent.num_sequences = static_cast<int32_t>(sequences);
  return inputs;
}

}  // namespace qwill::cuda
