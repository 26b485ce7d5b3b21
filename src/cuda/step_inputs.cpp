#include "cuda/step_inputs.h"

#include <algorithm>
#include <cstring>

#include "cuda/kernels/rows.h"

namespace qwill::cuda {
namespace {

// The block's arrays one after another; `base` is where it lies (device) or will be read from (host).
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
    in.positions = ints(s.rows);
    in.slots = ints(s.rows);
    in.rope_kinds = ints(s.rows);
    in.row_begin = ints(s.sequences + 1);
    in.seq_lens = ints(s.sequences);
    in.decodes = ints(s.decodes);
    in.logit_rows = ints(s.logit_rows);
    in.query_tiles = reinterpret_cast<QueryTile*>(take(s.query_tiles, sizeof(QueryTile)));
    in.page_table = ints(s.sequences * s.pages);
    return in;
  }
  int64_t bytes() const {
    const StepInputs end = at(nullptr);
    return reinterpret_cast<intptr_t>(end.page_table) + (s.sequences * s.pages * 4 + 15) / 16 * 16;
  }

  const StepShape& s;
};

// Copies `from` and pads to `count`.
void fill(int32_t* to, std::span<const int32_t> from, int64_t count, int32_t padding) {
  std::ranges::copy(from, to);
  std::fill(to + from.size(), to + count, padding);
}

}  // namespace

StepUploader::~StepUploader() {
  for (const Slot& slot : slots_)
    if (slot.copied) cudaEventDestroy(slot.copied);
}

StepInputs StepUploader::lay_out(const StepShape& shape) {
  const Layout layout(shape);
  for (Slot& slot : slots_) slot.pinned.get<char>(layout.bytes());
  return layout.at(device_.get<char>(layout.bytes()));
}

StepInputs StepUploader::upload(const Batch& batch, const StepShape& shape, const std::vector<QueryTile>& tiles,
                                const Device& device) {
  const Layout layout(shape);
  if (const Slot& before = slots_[(next_ + kSlots - 1) % kSlots]; before.copied)
    check(cudaEventRecord(before.copied, device.stream), "copy a step's inputs");
  Slot& slot = slots_[next_++ % kSlots];
  if (!slot.copied) check(cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming), "create an event");
  check(cudaEventSynchronize(slot.copied), "copy a step's inputs");
  char* host = slot.pinned.get<char>(layout.bytes());
  const StepInputs h = layout.at(host);
  const int64_t sequences = batch.num_sequences();

  fill(h.tokens, batch.tokens, shape.rows, 0);
  fill(h.draw_source, batch.draw_source, shape.rows, Batch::kFromHost);
  fill(h.positions, batch.positions, shape.rows, 0);
  fill(h.slots, batch.slots, shape.rows, -1);
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
  fill(h.seq_lens, batch.seq_lens, shape.sequences, 0);
  for (int64_t s = sequences; s < shape.decodes; ++s) decodes.push_back(static_cast<int32_t>(s));
  fill(h.decodes, decodes, shape.decodes, -1);
  std::vector<int32_t> logit_rows = batch.logit_rows;
  for (auto r = static_cast<int64_t>(logit_rows.size()); r < shape.logit_rows; ++r)
    logit_rows.push_back(static_cast<int32_t>(r));
  fill(h.logit_rows, logit_rows, shape.logit_rows, 0);
  std::ranges::copy(tiles, h.query_tiles);
  std::fill(h.query_tiles + tiles.size(), h.query_tiles + shape.query_tiles, QueryTile{});
  auto* table = h.page_table;
  const auto columns = static_cast<size_t>(std::min(batch.max_pages, shape.pages));
  for (int64_t s = 0; s < shape.sequences; ++s) {
    std::span<const int32_t> pages;
    if (s < sequences) pages = {batch.pages(s), columns};
    fill(table + s * shape.pages, pages, shape.pages, 0);
  }

  StepInputs inputs = layout.at(device_.get<char>(layout.bytes()));
  check(copy_words(device_.get<char>(layout.bytes()), host, layout.bytes(), device.stream), "copy a step's inputs");
  return inputs;
}

}  // namespace qwill::cuda
