// Whether and how the ops of a step run as one kernel.
#include <algorithm>
#include <cmath>

#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/step_items.h"
#include "ops/paged_kv.h"

namespace qwill::cuda {
namespace {

bool plan_product(StepOp& op, int32_t warps, int32_t num_blocks, int64_t& room) {
  const StreamCall& c = op.product;
  if (c.format != StreamFormat::bf16 || c.num_rows != 1 || (c.norm && c.cols > kMaxNormCols)) return false;
  room = std::max(room, c.layout.padded_cols() * 2 + 16);
  op.num_units = static_cast<int32_t>(c.layout.row_blocks) / (c.output == StreamOutput::silu_mul ? 2 : 1);
  // As many warps as divide a block's tiles into equal rounds.
  const int32_t per_block = (op.num_units + num_blocks - 1) / num_blocks;
  const int32_t rounds = std::max(1, (per_block + warps - 1) / warps);
  op.busy_warps = std::max(1, (per_block + rounds - 1) / rounds);
  return true;
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

// All attentions of a step are of one sequence and of one shape.
bool plan_attend(const AttendArgs& a, StepLaunch& launch) {
  if (a.group() > 16 || (a.kv.padded_dim != 64 && a.kv.padded_dim != 128)) return false;
  if (!launch.seq_lens) {
    launch.seq_lens = a.seq_lens;
    launch.slots_of_rows = a.slots;
    launch.page_table = a.page_table;
    launch.max_pages = a.max_pages;
    launch.max_tiles = tiles_of(a);
    launch.qkv_words = part_words(a);
    launch.padded_dim = a.kv.padded_dim;
    launch.page_size = a.kv.page_size;
    launch.num_kv_heads = a.num_kv_heads;
    launch.group = a.group();
    launch.score_scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(a.head_dim)));
  }
  return launch.seq_lens == a.seq_lens && launch.slots_of_rows == a.slots && launch.page_table == a.page_table &&
         launch.max_pages == a.max_pages && launch.padded_dim == a.kv.padded_dim &&
         launch.page_size == a.kv.page_size && launch.num_kv_heads == a.num_kv_heads && launch.group == a.group();
}

}  // namespace

bool plan_step(std::span<StepOp> ops, const StepTuning& tuning, int32_t num_sms, StepLaunch& launch) {
  launch = {};
  launch.num_ops = static_cast<int32_t>(ops.size());
  launch.num_blocks = num_sms;
  launch.warps = tuning.warps;
  launch.in_flight = tuning.in_flight;
  if (ops.size() < 2 || ops.size() > static_cast<size_t>(kMaxStepOps) || tuning.warps < 8 || tuning.warps > 11)
    return false;
  int64_t room = 0;
  for (StepOp& op : ops)
    if (!(op.is_attend ? plan_attend(op.attend, launch) : plan_product(op, tuning.warps, num_sms, room))) return false;
  for (size_t i = 1; i < ops.size(); ++i)
    if (ops[i].is_attend && !ops[i - 1].is_attend && ops[i - 1].product.y == ops[i].attend.qkv &&
        ops[i - 1].product.output == StreamOutput::store)
      ops[i - 1].by_words = ops[i].by_words = true;
  if (launch.seq_lens) room = std::max(room, step_attend_bytes(launch.padded_dim));
  room = (room + 1023) / 1024 * 1024;
  const int64_t fit = (kMaxStepShared - kStepFixedShared - room) / kItemBytes;
  launch.slots = static_cast<int32_t>(std::min<int64_t>(fit, tuning.slots > 0 ? tuning.slots : kMaxSlots));
  launch.slots = std::min(launch.slots, kMaxSlots);
  if (launch.slots < kMinSlots) return false;
  int32_t busy_warps = 1;
  for (const StepOp& op : ops) busy_warps = std::max(busy_warps, op.busy_warps);
  launch.in_flight = std::min(launch.in_flight, max_in_flight(launch.slots, busy_warps));
  launch.quiet_in_flight = std::min(launch.in_flight, tuning.quiet_in_flight);
  if (launch.quiet_in_flight < 1) return false;
  launch.shared_bytes = kStepFixedShared + int64_t{launch.slots} * kItemBytes + room;
  return true;
}

int64_t step_words(const AttendArgs& args) {
  return part_words(args) + (int64_t{args.num_heads} + 2 * args.num_kv_heads) * args.head_dim + kAtomRows;
}

}  // namespace qwill::cuda
