// Mixtures of experts: rows are sorted by expert, multiplied in groups, and gathered back.
#include "cuda/backend.h"

namespace qwill::cuda {
namespace {

constexpr int64_t kLeastTileRows = 16;

// Rows of one expert that share a tile: twice what an expert gets on average, so that most experts have one tile.
int64_t choose_tile_rows(int64_t num_pairs, int64_t num_experts, int64_t most) {
  int64_t rows = kLeastTileRows;
  while (rows < most && rows * num_experts < 2 * num_pairs) rows *= 2;
  return rows;
}

}  // namespace

void CudaOps::do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) {
  const CudaWeight &gate_up = as_cuda(moe.gate_up), &down = as_cuda(moe.down);
  const int64_t T = rows_of(x), C = x.cols, F = moe.down->cols, E = moe.num_experts, k = moe.num_experts_per_tok,
                P = T * k, width = padded(C);
  if (E > kMaxExperts || k > kMaxExpertsPerToken)
    fail_unsupported("{} experts, {} a token: the CUDA kernels take up to {} and {}", E, k, kMaxExperts,
                     kMaxExpertsPerToken);
  const bool bf16_experts = gate_up.takes_bf16(), fp8_experts = gate_up.compute == Compute::fp8;
  const int64_t tile_rows = choose_tile_rows(P, E, device_.hopper ? 256 : 128),
                max_tiles = max_expert_tiles(P, E, tile_rows);
  const int64_t element = bf16_experts ? 2 : 4, in_width = bf16_experts ? width : (C + 3) / 4 * 4,
                act_width = bf16_experts || fp8_experts ? padded(F) : F;

  float* normed = f32_operand_.get<float>(T * in_width);
  float* spaced = in_width != C && !bf16_experts ? spaced_rows_.get<float>(T * in_width) : nullptr;
  void* rounded = bf16_operand_.get<bf16>(T * width);
  float* logits = router_logits_.get<float>(T * E);
  void* gathered = gathered_.get<char>(P * in_width * element);
  void* acts = expert_acts_.get<char>(P * act_width * element);
  if (fp8_experts) fp8_rows(P, C, kGroupedScaleCopies), fp8_rows(P, F, kGroupedScaleCopies);
  float* outs = expert_outs_.get<float>(P * C);
  // The plan's arrays, one after another.
  const int64_t tile_ints = max_tiles * static_cast<int64_t>(sizeof(ExpertTile) / sizeof(int32_t));
  // Fewer rows may have more tiles, of the smallest kind: room for these as well.
  const int64_t most_tile_ints =
      max_expert_tiles(P, E, kLeastTileRows) * static_cast<int64_t>(sizeof(ExpertTile) / sizeof(int32_t));
  auto* next = routes_.get<int32_t>(4 * P + most_tile_ints + 4 + expert_scratch_size(T, E));
  const auto take = [&](int64_t count) { return std::exchange(next, next + count); };
  ExpertPlan plan;
  plan.expert = take(P);
  plan.weight = reinterpret_cast<float*>(take(P));
  plan.permuted = take(P);
  plan.row_token = take(P);
  plan.tiles = reinterpret_cast<ExpertTile*>(take(tile_ints));
  plan.num_tiles = take(4);
  plan.scratch = next;
  const Op op(*this);
  if (op.skip() || x.rows == 0) return;
  program_.launch_apart(device_);

  const cudaStream_t stream = device_.stream;
  check(norm_rows(bf16_experts ? rounded : nullptr, normed, x.row<float>(0), as_cuda(norm.weight).values, norm.eps, C,
                  width, T, stream),
        "norm");
  const CudaWeight& router = as_cuda(moe.router);
  check(gemm_f32({.a = normed,
                  .lda = C,
                  .weight = router.values,
                  .ldw = C,
                  .y = logits,
                  .ldy = E,
                  .num_cols = E,
                  .depth = C,
                  .epilogue = EpilogueF32::store},
                 T, stream),
        "router");
  check(route(plan, logits, T, E, k, moe.norm_topk_prob, tile_rows, stream), "route");
  const void* to_gather = bf16_experts ? rounded : normed;
  if (!bf16_experts && in_width != C) {  // rows are gathered by 16 bytes
    check(cudaMemcpy2DAsync(spaced, static_cast<size_t>(in_width) * 4, normed, static_cast<size_t>(C) * 4,
                            static_cast<size_t>(C) * 4, static_cast<size_t>(T), cudaMemcpyDeviceToDevice, stream),
          "space rows of experts");
    to_gather = spaced;
  }
  check(gather_rows(gathered, in_width * element, to_gather, in_width * element, in_width * element, plan.row_token, P,
                    stream),
        "gather rows of experts");
  if (bf16_experts) {
    const auto grouped = [&](const CudaWeight& weight, const void* a, int64_t lda, Epilogue epilogue, void* y,
                             int64_t ldy) {
      const GroupTiles tiles{.tiles = plan.tiles,
                             .count = plan.num_tiles,
                             .max_count = static_cast<int32_t>(max_tiles),
                             .tile_rows = static_cast<int32_t>(tile_rows),
                             .row_blocks_per_expert = static_cast<int32_t>(weight.gemm.layout.row_blocks / E)};
      const GemmWeight placed =
          weight.compute == Compute::int4 ? widened_weight(weight, weight.gemm.layout, 0, &tiles) : weight.gemm;
      const GemmCall call{.weight = &placed,
                          .a = a,
                          .lda = lda,
                          .num_rows = P,
                          .epilogue = epilogue,
                          .y = y,
                          .ldy = ldy,
                          .grouped = &tiles,
                          .fresh_weight = weight.compute == Compute::int4};
      check(gemm(call, device_.hopper, device_.num_sms, stream), "experts");
    };
    grouped(gate_up, gathered, width, Epilogue::silu_mul, acts, act_width);
    grouped(down, acts, act_width, Epilogue::store, outs, C);
  } else if (fp8_experts) {
    const auto grouped = [&](const CudaWeight& weight, const Fp8Rows& a, Epilogue epilogue, void* y, int64_t ldy) {
      const GroupTiles tiles{.tiles = plan.tiles,
                             .count = plan.num_tiles,
                             .max_count = static_cast<int32_t>(max_tiles),
                             .tile_rows = static_cast<int32_t>(tile_rows),
                             .row_blocks_per_expert = static_cast<int32_t>(weight.fp8.layout.row_blocks / E)};
      const Fp8Call call{
          .weight = &weight.fp8, .a = a, .num_rows = P, .epilogue = epilogue, .y = y, .ldy = ldy, .grouped = &tiles};
      check(gemm_fp8(call, choose_grouped_gemm_tile(tiles.tile_rows), device_.num_sms, stream), "experts");
    };
    // One after the other in the same place.
    const Fp8Rows in = fp8_rows(P, C, kGroupedScaleCopies), act = fp8_rows(P, F, kGroupedScaleCopies);
    check(f32_to_fp8(in, static_cast<const float*>(gathered), C, in_width, P, stream), "round to e4m3");
    grouped(gate_up, in, Epilogue::silu_mul, acts, act_width);
    check(bf16_to_fp8(act, acts, act_width, P, stream), "round to e4m3");
    grouped(down, act, Epilogue::store, outs, C);
  } else {
    const auto grouped = [&](const CudaWeight& weight, const void* a, int64_t lda, int64_t num_cols,
                             EpilogueF32 epilogue, void* y, int64_t ldy) {
      check(gemm_f32_grouped({.a = static_cast<const float*>(a),
                              .lda = lda,
                              .weight = weight.values,
                              .ldw = weight.cols,
                              .y = static_cast<float*>(y),
                              .ldy = ldy,
                              .num_cols = num_cols,
                              .depth = weight.cols,
                              .epilogue = epilogue},
                             plan.tiles, plan.num_tiles, max_tiles, P / E, stream),
            "experts");
    };
    grouped(gate_up, gathered, in_width, 2 * F, EpilogueF32::silu_mul, acts, F);
    grouped(down, acts, F, C, EpilogueF32::store, outs, C);
  }
  check(combine_experts(x.row<float>(0), outs, plan, T, C, k, stream), "combine experts");
}

}  // namespace qwill::cuda
