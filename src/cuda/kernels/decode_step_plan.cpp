// Whether and how the ops of a step run as one kernel.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/stream_fp8.h"
#include "ops/paged_kv.h"

namespace qwill::cuda {
namespace {

// How a weight lies in items (stream_format.cuh, fp8_tile.cuh).
struct ItemFormat {
  int32_t unit_cols;   // columns of a piece that is copied as a whole
  int32_t unit_bytes;  // and its bytes, of 8 rows
  int32_t units;       // of an item
  bool pairs;          // whether an item is always of two tiles
  int32_t threads;     // that consume it
};
constexpr ItemFormat kBf16Items{64, kAtomBytes, kItemAtoms, false, 32};
constexpr ItemFormat kInt4Items{Int4Layout::kBlockCols, Int4Layout::kBlockBytes, kItemInt4Blocks, true, 32};
constexpr ItemFormat kFp8Items{kFp8AtomCols, kAtomBytes, kItemAtoms, true, 128};

const ItemFormat& items_of(StreamFormat format) {
  switch (format) {
    case StreamFormat::bf16: return kBf16Items;
    case StreamFormat::int4: return kInt4Items;
    case StreamFormat::fp8: return kFp8Items;
  }
  return kBf16Items;
}

int32_t item_bytes(StreamFormat format) { return items_of(format).units * items_of(format).unit_bytes; }

// Behind a bf16 operand pass its norm's weights, and then slices.
int64_t operand_bytes(const StreamCall& c) {
  const int64_t row = stream_row_bytes(c.layout.padded_cols()), norm = c.norm ? 4 * int64_t{c.cols} : 0;
  switch (c.format) {
    case StreamFormat::bf16: return row + norm;
    case StreamFormat::int4: return row + std::max(norm, kStepSliceBytes);
    case StreamFormat::fp8: return fp8_operand_bytes(c.layout, 1);
  }
  return 0;
}

bool plan_product(StepOp& op, const StepLaunch& launch, int64_t& room) {
  const StreamCall& c = op.product;
  const bool gated = c.output == StreamOutput::silu_mul;
  if (c.num_rows != 1 || (c.norm && (c.cols > kMaxNormCols || c.cols % 4 != 0))) return false;
  // Beside a quantised weight one of bf16 may be stored: the head.
  if (c.format != launch.format && (c.format != StreamFormat::bf16 || c.output != StreamOutput::store)) return false;
  room = std::max(room, operand_bytes(c));
  const ItemFormat& items = items_of(c.format);
  const bool pair = items.pairs || gated;
  const auto row_blocks = static_cast<int32_t>(c.layout.row_blocks);
  if (pair && row_blocks % 2 != 0) return false;
  if (gated && (c.ldy % 8 != 0 || c.ldy < c.layout.row_blocks * 4)) return false;  // outputs are written by eight
  const int64_t run = (c.layout.padded_cols() + items.unit_cols - 1) / items.unit_cols;
  const Int4Layout int4 = Int4Layout::of(c.layout);
  StepCut& cut = op.cut;
  cut.num_units = row_blocks / (pair ? 2 : 1);
  const bool sliced = c.format == StreamFormat::int4 && !gated;
  cut.slices = sliced ? static_cast<int32_t>(int4.slices()) : 1;
  cut.run_bytes = static_cast<int32_t>(run) * items.unit_bytes;
  cut.slice_bytes = sliced ? static_cast<int32_t>(int4.slice_blocks()) * items.unit_bytes : cut.run_bytes;
  cut.chunk_bytes = items.units * items.unit_bytes / (pair ? 2 : 1);
  cut.second_at = pair ? cut.chunk_bytes : 0;
  cut.num_chunks = (cut.slice_bytes + cut.chunk_bytes - 1) / cut.chunk_bytes;
  if (int64_t{cut.num_units} * launch.num_blocks > std::numeric_limits<int32_t>::max()) return false;
  // Warps that widen keep their scheduler busy: a multiple of four leaves none of the four behind. Others wait for
  // memory.
  const int32_t together = c.format == StreamFormat::int4 && cut.slices == 1 ? 4 : 1;
  return cut.deal(launch.warps * 32 / items.threads, launch.num_blocks, together);
}

// Of the page table.
int32_t tiles_of(const AttendArgs& a) {
  return static_cast<int32_t>((int64_t{a.max_pages} * a.kv.page_size + kTileKeys - 1) / kTileKeys);
}

// Of tiles, and of groups of tiles.
int64_t part_words(const AttendArgs& args) {
  const int64_t parts = tiles_of(args) + (tiles_of(args) + kGroupTiles - 1) / kGroupTiles;
  return args.num_kv_heads * parts * args.group() * part_row_floats(args.kv.padded_dim);
}

int64_t qkv_cols(const AttendArgs& args) { return (int64_t{args.num_heads} + 2 * args.num_kv_heads) * args.head_dim; }

// All attentions of a step are of one sequence and of one shape.
bool plan_attend(const AttendArgs& a, StepLaunch& launch) {
  if (step_words(a) > std::numeric_limits<int32_t>::max()) return false;
  if (a.head_dim % 2 != 0 || a.ld_out % 2 != 0) return false;  // results are written by two
  if (a.num_kv_heads > launch.num_blocks || a.group() > 16 || (a.kv.padded_dim != 64 && a.kv.padded_dim != 128))
    return false;
  if (!launch.seq_lens) {
    launch.seq_lens = a.seq_lens;
    launch.slots_of_rows = a.slots;
    launch.page_table = a.page_table;
    launch.max_pages = a.max_pages;
    launch.max_tiles = tiles_of(a);
    launch.qkv_words = part_words(a);
    launch.padded_dim = a.kv.padded_dim;
    launch.fp8_cache = a.kv.is_fp8;
    launch.page_size = a.kv.page_size;
    launch.num_kv_heads = a.num_kv_heads;
    launch.group = a.group();
    launch.score_scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(a.head_dim)));
  }
  return launch.seq_lens == a.seq_lens && launch.slots_of_rows == a.slots && launch.page_table == a.page_table &&
         launch.max_pages == a.max_pages && launch.padded_dim == a.kv.padded_dim && launch.fp8_cache == a.kv.is_fp8 &&
         launch.page_size == a.kv.page_size && launch.num_kv_heads == a.num_kv_heads && launch.group == a.group();
}

// Before the operands.
int64_t attention_words(const AttendArgs* a) { return a ? (part_words(*a) + qkv_cols(*a) + 1) / 2 * 2 : 0; }

const void* operand_of(const StepOp& op) {
  return op.is_attend ? op.attend.qkv : op.product.norm ? op.product.x : op.product.a;
}
const void* result_of(const StepOp& op) { return op.is_attend ? op.attend.out : op.product.y; }

// Whether what op i writes, as far as others read it, is read by the op behind it and no other. An added row is also
// what is added to next: by the block that has written it, if both are cut alike.
bool next_reads_alone(std::span<const StepOp> ops, size_t i) {
  const void* result = result_of(ops[i]);
  if (operand_of(ops[i + 1]) != result || result_of(ops[i + 1]) == result) return false;
  for (size_t j = i + 2; j < ops.size(); ++j) {
    if (operand_of(ops[j]) == result) return false;
    if (result_of(ops[j]) != result) continue;
    return ops[j].is_attend || ops[j].product.output != StreamOutput::add ||
           ops[j].cut.num_units == ops[i].cut.num_units;
  }
  return true;
}

// Whether the product behind op i can read all of its operand as words, since all of it is written.
bool hands_on_words(std::span<const StepOp> ops, size_t i, StreamFormat format) {
  const StepOp& op = ops[i];
  const StreamCall &from = op.product, &to = ops[i + 1].product;
  if (ops[i + 1].is_attend || !next_reads_alone(ops, i)) return false;
  if (!op.is_attend && from.output == StreamOutput::add)
    return to.norm && to.cols == from.num_outputs && to.cols <= max_row_words(format);
  // (A warp that widens four bits has gated outputs in lanes of their own, not by two.)
  if (!op.is_attend && (from.output != StreamOutput::silu_mul || format == StreamFormat::int4)) return false;
  return !to.norm && to.layout.padded_cols() == (op.is_attend ? op.attend.ld_out : from.ldy) &&
         to.layout.padded_cols() <= 2 * kStepPlaceWords;
}

}  // namespace

bool plan_step(std::span<StepOp> ops, const StepTuning& tuning, int32_t num_sms, StepLaunch& launch) {
  launch = {};
  launch.num_ops = static_cast<int32_t>(ops.size());
  launch.num_blocks = num_sms;
  if (ops.size() < 2 || ops.size() > static_cast<size_t>(kMaxStepOps) || num_sms > kMaxStepBlocks) return false;
  if (num_sms % 2 != 0) return false;      // epochs may not be 0 (StepBlock::epoch)
  if (ops.back().is_attend) return false;  // the last op moves the barrier's base, and attention does not wait there
  for (const StepOp& op : ops)
    if (!op.is_attend && op.product.format != StreamFormat::bf16) launch.format = op.product.format;
  // The best of what was measured: four bits are widened by the warps that multiply them.
  launch.warps = tuning.warps > 0 ? tuning.warps : launch.format == StreamFormat::int4 ? 11 : kLeastStepWarps;
  if (launch.warps < kLeastStepWarps || launch.warps > max_step_warps(launch.format)) return false;
  int64_t room = 0;
  int32_t max_tiles = 0, consumers = 1, longest = 0, attentions = 0, norms = 0;
  for (StepOp& op : ops) {
    if (!(op.is_attend ? plan_attend(op.attend, launch) : plan_product(op, launch, room))) return false;
    op.stores = StepStores::plain, op.to = 0, op.from = -1;
    op.turn = op.is_attend ? attentions++ : op.product.norm && op.product.format != StreamFormat::fp8 ? norms++ : 0;
    max_tiles = std::max(max_tiles, op.max_tiles);
    consumers = std::max(consumers, op.cut.consumers());
    longest = std::max(longest, op.product.cols);
  }
  for (size_t i = 0; i < ops.size(); ++i) {
    if (!ops[i].is_attend) continue;
    const AttendArgs& a = ops[i].attend;
    if (i == 0 || ops[i - 1].is_attend || ops[i - 1].product.y != a.qkv ||
        ops[i - 1].product.output != StreamOutput::store || ops[i - 1].product.num_outputs != qkv_cols(a))
      return false;
    ops[i - 1].stores = StepStores::words;
    ops[i - 1].to = static_cast<int32_t>(launch.qkv_words);
  }
  const auto attention = std::ranges::find_if(ops, [](const StepOp& op) { return op.is_attend; });
  const int64_t places = attention_words(attention == ops.end() ? nullptr : &attention->attend);
  if (launch.format == StreamFormat::int4 || (launch.format == StreamFormat::bf16 && longest <= kShortCols))
    for (size_t i = 0; i + 1 < ops.size(); ++i) {
      if (!hands_on_words(ops, i, launch.format)) continue;
      ops[i].stores = StepStores::words;
      ops[i].to = ops[i + 1].from =
          static_cast<int32_t>(places + static_cast<int64_t>(i) % kStepPlaces * kStepPlaceWords);
    }
  // Where a block has several tiles, the values of one are copied while its keys are scored; and where the ring is long
  // enough without that room.
  launch.values_apart = max_tiles * launch.num_kv_heads > launch.num_blocks || longest <= kShortCols;
  if (launch.seq_lens) {
    const int64_t element_bytes = launch.fp8_cache ? 1 : 2;
    const int64_t parts = launch.fp8_cache ? (launch.values_apart ? 3 : 1) : launch.values_apart;
    room = std::max(room, step_attend_bytes(launch.padded_dim, element_bytes) +
                              parts * step_values_bytes(launch.padded_dim, element_bytes));
  }
  room = (room + 1023) / 1024 * 1024;
  launch.item_bytes = item_bytes(launch.format);
  const int64_t fit = (kMaxStepShared - kStepFixedShared - room) / launch.item_bytes;
  launch.slots = static_cast<int32_t>(std::min<int64_t>(fit, tuning.slots > 0 ? tuning.slots : kMaxSlots));
  launch.slots = std::min(launch.slots, kMaxSlots);
  if (launch.slots < kMinSlots) return false;
  launch.in_flight = std::min(tuning.in_flight > 0 ? tuning.in_flight : 9, max_in_flight(launch.slots, consumers));
  // Measured too: where an op is soon over, less should be in front of what the next waits for.
  const int32_t quiet = launch.format == StreamFormat::int4 ? 2 : longest <= kShortCols ? 1 : 3;
  launch.quiet_in_flight = std::min(launch.in_flight, tuning.quiet > 0 ? tuning.quiet : quiet);
  if (launch.quiet_in_flight < 1) return false;
  launch.room_at = kStepFixedShared + launch.slots * launch.item_bytes;
  launch.shared_bytes = launch.room_at + room;
  return true;
}

int64_t step_words(const AttendArgs& args) { return attention_words(&args) + kStepPlaces * kStepPlaceWords; }

}  // namespace qwill::cuda
