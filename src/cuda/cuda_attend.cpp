// Attention: which kernels take which of the step's rows.
#include "cuda/backend.h"

namespace qwill::cuda {

Tensor CudaOps::do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                          const LayerKv& kv) {
  const KvGeometry& g = *kv.geometry;
  const bool f32 = g.dtype == DType::f32;
  AttendArgs args;
  args.num_kv_heads = static_cast<int32_t>(g.num_kv_heads);
  args.num_heads = static_cast<int32_t>(qkv.cols / g.head_dim - 2 * g.num_kv_heads);
  args.head_dim = static_cast<int32_t>(g.head_dim);
  if (args.group() > 16)
    fail_unsupported("{} query heads share one of keys: the CUDA kernels take up to 16", args.group());
  if (query_group_ != args.group()) {  // tiles of queries are cut by it
    query_group_ = args.group();
    CHECK(graphs_.mode() == StepGraphs::Mode::launch, "a recorded step has one grouping of heads");
    upload(batch);
  }
  const StepShape& shape = inputs_.shape;
  const Tensor out = result_for(qkv, attend_, args.num_heads * g.head_dim, f32 ? DType::f32 : DType::bf16);
  args.num_rows = static_cast<int32_t>(shape.rows);
  args.num_sequences = static_cast<int32_t>(shape.sequences);
  args.qkv = qkv.row<float>(0);
  args.ld_qkv = qkv.cols;
  args.q_norm = as_cuda(q_norm.weight).values;
  args.k_norm = as_cuda(k_norm.weight).values;
  args.norm_eps = q_norm.eps;
  args.cos = cos_.get<float>(1);
  args.sin = sin_.get<float>(1);
  args.positions = inputs_.positions;
  args.slots = inputs_.slots;
  args.row_begin = inputs_.row_begin;
  args.seq_lens = inputs_.seq_lens;
  args.page_table = inputs_.page_table;
  args.max_pages = static_cast<int32_t>(shape.pages);
  args.kv = {kv.data, args.num_kv_heads, static_cast<int32_t>(g.padded_head_dim()), static_cast<int32_t>(g.page_size)};
  args.out = out.data;
  args.ld_out = stride_of(out);
  args.q = queries_.get<char>(shape.rows * args.num_heads * g.padded_head_dim() * dtype_bytes(g.dtype));

  // What the next product rounds anyway, if heads are its blocks, and all rows come from one kernel.
  rounded_attend_ = {};
  Fp8Rows rounded;
  if (any_fp8_ && device_.hopper && !f32 && args.head_dim == kFp8AtomCols)
    rounded = fp8_rows(fp8_attend_, fp8_attend_scales_, shape.rows, out.cols, 1);

  DecodePlan plan;
  const bool decodes = device_.hopper && !f32 && shape.decodes > 0;
  if (decodes) {
    plan = plan_decode(args, static_cast<int32_t>(shape.decodes), shape.max_context, device_.num_sms);
    plan.sequences = shape.decodes == shape.sequences ? nullptr : inputs_.decodes;
    plan.counters = counters_.get<uint32_t>(shape.decodes * args.num_kv_heads);
    plan.partials = partials_.get<float>(decode_partial_bytes(args, plan) / 4);
  }
  if (program_.enabled() && !f32) program_.reserve(args);
  const Op op(*this);
  if (op.skip() || shape.rows == 0) return out;
  if (program_.gathers() && decodes) {
    program_.add(args, plan);
    return out;
  }
  program_.launch_apart(device_);
  if (f32) {
    check(rope_and_store_f32(args, device_.stream), "rope");
    check(attend_f32(args, device_.stream), "attend");
    return out;
  }
  if (shape.query_tiles > 0) {
    check(rope_and_store(args, device_.stream), "rope");
    const auto num_tiles = static_cast<int32_t>(shape.query_tiles);
    if (rounded.data && !decodes) {
      rounded_attend_ = rounded;
      check(attend_prefill_to_fp8(args, rounded, inputs_.query_tiles, num_tiles, device_.stream), "attend");
    } else {
      const auto run = device_.hopper ? attend_prefill : attend_portable;
      check(run(args, inputs_.query_tiles, num_tiles, device_.stream), "attend");
    }
  }
  plan.reads_ahead = next_is_behind_ && shape.query_tiles == 0;
  if (decodes) check(attend_decode(args, plan, device_.stream), "attend");
  return out;
}

}  // namespace qwill::cuda
