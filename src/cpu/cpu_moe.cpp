// Mixtures of experts.
#include <cstring>

#include "cpu/backend.h"
#include "ops/reference.h"

namespace qwill::cpu {

// Each (row, chosen expert) pair is a slot; slots of one expert are neighbours, experts ascending.
void CpuOps::do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) {
  const CpuWeight &router = as_cpu(moe.router), &gate_up = as_cpu(moe.gate_up), &down = as_cpu(moe.down);
  CHECK(static_cast<int64_t>(gate_up.segments.size()) == 2 * moe.num_experts &&
            static_cast<int64_t>(down.segments.size()) == moe.num_experts,
        "experts are segments");
  const int64_t T = x.rows, C = x.cols, F = down.cols, slots = T * moe.num_experts_per_tok;

  Tensor normed = result(moe_normed_, T, C), logits = result(moe_logits_, T, moe.num_experts);
  Tensor act = result(moe_act_, slots, F), out = result(moe_out_, slots, C);
  const int64_t chunk = rows_per_task(gate_up.segments[0]), chunks = (F + chunk - 1) / chunk;
  const auto operand_for = [&](const CpuWeight& weight) {
    return operand_.get<std::byte>(slots * weight.kernel().operand_row_bytes(weight.cols));
  };
  operand_for(gate_up), operand_for(down);
  // All rows may choose the same expert.
  make_scratch(std::max(kPackRows * std::max(C, F), gated_scratch(T, std::min(chunk, F))));
  if (rehearsing_) return;

  for_rows(T, [&](int64_t t) {
    kernels_.rms_norm(x.row<float>(t), as_cpu(norm.weight).vector.data(), C, norm.eps, normed.row<float>(t));
  });
  linear(normed.data, T, router, logits, false);  // an f32 operand is the rows as they are

  struct Slot {
    int64_t row;
    float share;
  };
  std::vector<std::vector<Slot>> chosen(static_cast<size_t>(moe.num_experts));
  for (int64_t t = 0; t < T; ++t)
    for (const auto& [expert, share] : reference::route({logits.row<float>(t), static_cast<size_t>(moe.num_experts)},
                                                        moe.num_experts_per_tok, moe.norm_topk_prob))
      chosen[static_cast<size_t>(expert)].push_back({t, share});

  struct Expert {
    size_t id;
    int64_t first_slot, num_rows;
  };
  std::vector<Expert> experts;
  std::vector<std::pair<const Expert*, const Slot*>> by_slot(static_cast<size_t>(slots));
  int64_t first_slot = 0;
  for (size_t e = 0; e < chosen.size(); ++e) {
    if (chosen[e].empty()) continue;
    experts.push_back({e, first_slot, static_cast<int64_t>(chosen[e].size())});
    first_slot += experts.back().num_rows;
  }
  for (const Expert& e : experts)
    for (int64_t i = 0; i < e.num_rows; ++i)
      by_slot[static_cast<size_t>(e.first_slot + i)] = {&e, &chosen[e.id][static_cast<size_t>(i)]};

  // gate, up and their product
  std::vector<std::pair<const Expert*, int64_t>> blocks;  // an expert and the first of up to kPackRows of its slots
  for (const Expert& e : experts)
    for (int64_t first = 0; first < e.num_rows; first += kPackRows) blocks.push_back({&e, first});
  // Packs each expert's rows as an operand of its own; source(slot) is a row of weight.cols.
  const auto pack = [&](const CpuWeight& weight, auto source) {
    const int64_t row_bytes = weight.kernel().operand_row_bytes(weight.cols);
    std::byte* operand = operand_for(weight);
    pool_.run(static_cast<int64_t>(blocks.size()), [&](int64_t b) {
      const auto& [e, first] = blocks[static_cast<size_t>(b)];
      const int64_t count = std::min(kPackRows, e->num_rows - first);
      float* rows = scratch();
      for (int64_t i = 0; i < count; ++i)
        std::memcpy(rows + i * weight.cols, source(e->first_slot + first + i), static_cast<size_t>(weight.cols) * 4);
      weight.kernel().pack(rows, weight.cols, first, count, e->num_rows, operand + e->first_slot * row_bytes);
    });
    return operand;
  };
  const std::byte* operand =
      pack(gate_up, [&](int64_t slot) { return normed.row<float>(by_slot[static_cast<size_t>(slot)].second->row); });
  pool_.run(static_cast<int64_t>(experts.size()) * chunks, [&](int64_t task) {
    const Expert& e = experts[static_cast<size_t>(task / chunks)];
    const int64_t first = task % chunks * chunk;
    gated_task(gate_up, 2 * e.id, operand + e.first_slot * gate_up.kernel().operand_row_bytes(C), e.num_rows, first,
               std::min(chunk, F - first), act.row<float>(e.first_slot), F);
  });

  // down, then the sum of each row's experts, ascending
  operand = pack(down, [&](int64_t slot) { return act.row<float>(slot); });
  std::vector<Product> products;
  for (const Expert& e : experts)
    products.push_back({&down, &down.segments[e.id], operand + e.first_slot * down.kernel().operand_row_bytes(F),
                        e.num_rows, out.row<float>(e.first_slot), C, false, rows_per_task(down.segments[e.id])});
  run_products(products);
  std::vector<std::vector<int64_t>> slots_of_row(static_cast<size_t>(T));
  for (int64_t slot = 0; slot < slots; ++slot)
    slots_of_row[static_cast<size_t>(by_slot[static_cast<size_t>(slot)].second->row)].push_back(slot);
  for_rows(T, [&](int64_t t) {
    float* sum = scratch();
    std::fill(sum, sum + C, 0.0f);
    for (const int64_t slot : slots_of_row[static_cast<size_t>(t)])
      kernels_.add_scaled(out.row<float>(slot), by_slot[static_cast<size_t>(slot)].second->share, C, sum);
    kernels_.add_scaled(sum, 1.0f, C, x.row<float>(t));
  });
}

}  // namespace qwill::cpu
