// Products of rows with weights: which kernel runs is a matter of speed alone, the bits are the same.
#include "cuda/backend.h"

namespace qwill::cuda {
namespace {

constexpr StreamOutput kStreamOutputs[] = {StreamOutput::store, StreamOutput::add, StreamOutput::silu_mul};

}  // namespace

// The operand as bf16 rows padded to whole atoms.
const void* CudaOps::bf16_operand(const Operand& operand) {
  const Tensor& x = *operand.rows;
  const int64_t width = padded(x.cols);
  if (x.dtype == DType::bf16) return x.data;
  void* rows = bf16_operand_.get<bf16>(rows_of(x) * width);
  if (rehearsing_) return rows;
  if (operand.norm)
    check(norm_rows(rows, nullptr, x.row<float>(0), as_cuda(operand.norm->weight).values, operand.norm->eps, x.cols,
                    width, rows_of(x), device_.stream),
          "norm");
  else
    check(to_bf16_rows(rows, x.row<float>(0), x.cols, width, rows_of(x), device_.stream), "round to bf16");
  return rows;
}

const float* CudaOps::f32_operand(const Operand& operand) {
  const Tensor& x = *operand.rows;
  if (x.dtype == DType::f32 && !operand.norm) return x.row<float>(0);
  float* rows = f32_operand_.get<float>(rows_of(x) * x.cols);
  if (rehearsing_) return rows;
  if (operand.norm)
    check(norm_rows(nullptr, rows, x.row<float>(0), as_cuda(operand.norm->weight).values, operand.norm->eps, x.cols,
                    x.cols, rows_of(x), device_.stream),
          "norm");
  else
    check(to_f32_rows(rows, x.data, x.cols, stride_of(x), rows_of(x), device_.stream), "widen to f32");
  return rows;
}

// Room for rows in e4m3.
Fp8Rows CudaOps::fp8_rows(int64_t rows, int64_t cols, int32_t scale_copies) {
  return fp8_rows(fp8_operand_, fp8_scales_, rows, cols, scale_copies);
}
Fp8Rows CudaOps::fp8_rows(DeviceBuffer& data, DeviceBuffer& scales, int64_t rows, int64_t cols, int32_t scale_copies) {
  Fp8Rows y;
  y.padded_cols = (cols + kFp8AtomCols - 1) / kFp8AtomCols * kFp8AtomCols;
  y.scale_stride = (rows + 3) / 4 * 4;
  y.data = data.get<char>(rows * y.padded_cols);
  y.scale_copies = scale_copies;
  y.scales = scales.get<float>(scale_copies * (y.padded_cols / kFp8AtomCols) * y.scale_stride);
  return y;
}

Fp8Rows CudaOps::fp8_operand(const Operand& operand) {
  const Tensor& x = *operand.rows;
  const int64_t rows = rows_of(x);
  if (!operand.norm) {
    if (rounded_gated_.data && x.data == gated_.get<char>(1)) return rounded_gated_;
    if (rounded_attend_.data && x.data == attend_.get<char>(1)) return rounded_attend_;
  }
  const Fp8Rows y = fp8_rows(rows, x.cols);
  if (rehearsing_) return y;
  if (operand.norm)
    check(norm_to_fp8(y, x.row<float>(0), as_cuda(operand.norm->weight).values, operand.norm->eps, x.cols, rows,
                      device_.stream),
          "norm");
  else if (x.dtype == DType::bf16)
    check(bf16_to_fp8(y, x.data, padded(x.cols), rows, device_.stream), "round to e4m3");
  else
    check(f32_to_fp8(y, x.row<float>(0), x.cols, x.cols, rows, device_.stream), "round to e4m3");
  return y;
}

void CudaOps::product(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y) {
  const Op op(*this);
  if (op.skip()) {
    if (!rehearsing_) return;
    switch (weight.compute) {
      case Compute::bf16:
      case Compute::int4: bf16_operand(operand); break;
      case Compute::fp8:
        fp8_operand(operand);
        if (epilogue == Epilogue::silu_mul) fp8_rows(fp8_gated_, fp8_gated_scales_, rows_of(y), y.cols, 1);
        break;
      case Compute::f32: f32_operand(operand); break;
      case Compute::int8: break;  // never placed
    }
    return;
  }
  if (operand.rows->rows == 0) return;
  next_is_behind_ = false;
  switch (weight.compute) {
    case Compute::bf16:
    case Compute::int4: return product_bf16(operand, weight, epilogue, y);
    case Compute::fp8: return product_fp8(operand, weight, epilogue, y);
    case Compute::f32: return product_f32(operand, weight, epilogue, y);
    case Compute::int8: return;  // never placed
  }
}

void CudaOps::product_f32(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y) {
  program_.launch_apart(device_);
  constexpr EpilogueF32 kEpilogues[] = {EpilogueF32::store, EpilogueF32::add, EpilogueF32::silu_mul};
  check(gemm_f32({.a = f32_operand(operand),
                  .lda = weight.cols,
                  .weight = weight.values,
                  .ldw = weight.cols,
                  .y = y.row<float>(0),
                  .ldy = y.cols,
                  .num_cols = weight.rows,
                  .depth = weight.cols,
                  .epilogue = kEpilogues[static_cast<size_t>(epilogue)]},
                 rows_of(*operand.rows), device_.stream),
        "f32 product");
}

// A weight of four bits as gemm takes it (of experts, those that have tiles), or the columns of `part` from block
// first_block of 128 on: made bf16 in memory that all weights share, so the product has to follow at once.
GemmWeight CudaOps::widened_weight(const CudaWeight& weight, const MatrixLayout& part, int64_t first_block,
                                   const GroupTiles* grouped) {
  CHECK(!grouped || part.col_blocks == weight.gemm.layout.col_blocks, "experts are widened whole");
  GemmWeight widened = weight.gemm;
  void* data = widened_.get<char>(widened.layout.bytes());  // there since it was placed
  check(grouped ? widen_int4_experts(data, weight.int4, widened.layout, *grouped, device_.stream)
                : widen_int4(data, part, weight.int4, widened.layout, first_block, device_.stream),
        "widen a weight");
  widened.data = data;
  widened.layout = part;
  if (device_.hopper) check(make_weight_map(data, part, widened.map), "describe a weight to the copy engine");
  return widened;
}

// A product of a few rows, if streaming the weight is the fastest way.
bool CudaOps::product_streamed(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y) {
  const Tensor& x = *operand.rows;
  const int64_t rows = rows_of(x);
  const bool int4 = weight.compute == Compute::int4, fp8 = weight.compute == Compute::fp8;
  const int32_t most_rows = int4 ? kMaxInt4StreamRows : fp8 ? kMaxFp8StreamRows : kMaxStreamRows;
  if (!device_.hopper || rows > most_rows) return false;
  if (x.dtype != DType::bf16 && !operand.norm) return false;
  // Of more rows not in every block, but once. Of e4m3 always there: it is rounded from f32.
  const bool norm = operand.norm && (fp8 || rows <= kMaxStreamRows);
  StreamCall call{
      .weight = int4  ? weight.int4
                : fp8 ? weight.fp8.data
                      : weight.gemm.data,
      .scales = weight.fp8.scales,
      .layout = fp8 ? MatrixLayout{weight.fp8.layout.row_blocks, padded(x.cols) / kAtomCols} : weight.gemm.layout,
      .format = int4  ? StreamFormat::int4
                : fp8 ? StreamFormat::fp8
                      : StreamFormat::bf16,
      .num_outputs = static_cast<int32_t>(y.cols),
      .x = norm ? x.row<float>(0) : nullptr,
      .norm = norm ? as_cuda(operand.norm->weight).values : nullptr,
      .eps = norm ? operand.norm->eps : 0,
      .cols = static_cast<int32_t>(x.cols),
      .num_rows = static_cast<int32_t>(rows),
      .output = kStreamOutputs[static_cast<size_t>(epilogue)],
      .y = y.data,
      .ldy = stride_of(y)};
  // Weights of four bits are read once for every few rows: less than making bf16 of them moves.
  if (int4)
    for (call.num_rows = static_cast<int32_t>(std::min<int64_t>(rows, kMaxStreamCallRows));
         call.num_rows > 1 && !stream_fits(call, device_.num_sms);)
      --call.num_rows;
  if (!stream_fits(call, device_.num_sms)) return false;
  if (program_.gathers()) {  // its operand is the norm of x or x itself: nothing to launch before it
    if (!norm) call.a = x.data;
    program_.add(call);
    return true;
  }
  program_.launch_apart(device_);
  if (!norm) call.a = bf16_operand(operand);
  for (int64_t first = 0; first < rows; first += call.num_rows) {
    StreamCall pass = call;
    pass.num_rows = static_cast<int32_t>(std::min<int64_t>(call.num_rows, rows - first));
    if (norm) pass.x += first * x.cols;
    if (!norm) pass.a = static_cast<const bf16*>(call.a) + first * padded(x.cols);
    pass.y = y.row<char>(0) + first * call.ldy * dtype_bytes(y.dtype);
    check(stream(pass, device_.num_sms, device_.stream), "product");
  }
  return true;
}

void CudaOps::product_bf16(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y) {
  if (product_streamed(operand, weight, epilogue, y)) return;
  program_.launch_apart(device_);
  const Tensor& x = *operand.rows;
  const int64_t rows = rows_of(x);
  const void* a = bf16_operand(operand);
  GemmCall call{.weight = &weight.gemm,
                .a = a,
                .lda = padded(x.cols),
                .num_rows = rows,
                .epilogue = epilogue,
                .y = y.data,
                .ldy = stride_of(y),
                .fresh_weight = weight.compute == Compute::int4};
  if (weight.compute == Compute::bf16) {
    // Before attention, which then fetches keys and values while queries are still multiplied.
    next_is_behind_ = device_.hopper && epilogue == Epilogue::store;
    if (next_is_behind_) call.next = NextStart::behind;
    return check(gemm(call, device_.hopper, device_.num_sms, device_.stream), "product");
  }
  // Slice after slice, as the stream adds them.
  const MatrixLayout& layout = weight.gemm.layout;
  const Int4Layout packed = Int4Layout::of(layout);
  const int64_t step = epilogue == Epilogue::silu_mul ? packed.col_blocks : packed.slice_blocks();
  for (int64_t first = 0; first < packed.col_blocks; first += step) {
    const MatrixLayout part{layout.row_blocks, std::min(2 * step, layout.col_blocks - 2 * first)};
    const GemmWeight widened = widened_weight(weight, part, first);
    call.weight = &widened;
    call.a = static_cast<const bf16*>(a) + first * Int4Layout::kBlockCols;
    if (first > 0) call.epilogue = Epilogue::add;
    check(gemm(call, device_.hopper, device_.num_sms, device_.stream), "product");
  }
}

void CudaOps::product_fp8(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y) {
  if (product_streamed(operand, weight, epilogue, y)) return;
  program_.launch_apart(device_);
  const int64_t rows = rows_of(*operand.rows);
  const Fp8Weight& fp8 = weight.fp8;
  const GemmTile tile = choose_fp8_tile(fp8.rows, rows, device_.num_sms);
  Fp8Call call{.weight = &fp8,
               .a = fp8_operand(operand),
               .num_rows = rows,
               .epilogue = epilogue,
               .y = y.data,
               .ldy = stride_of(y)};
  if (epilogue == Epilogue::silu_mul && rounds_at_once(tile))
    call.rounded = rounded_gated_ = fp8_rows(fp8_gated_, fp8_gated_scales_, rows, y.cols, 1);
  check(gemm_fp8(call, tile, device_.num_sms, device_.stream), "product");
}

Tensor CudaOps::do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& w) {
  const Tensor y = result_for(x, norm_linear_, w.rows, DType::f32);
  product({&x, &norm}, as_cuda(w), Epilogue::store, y);
  return y;
}

void CudaOps::do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& w) {
  product({&a}, as_cuda(w), Epilogue::add, x);
}

Tensor CudaOps::do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) {
  const CudaWeight& weight = as_cuda(gate_up);
  CHECK(weight.use == WeightUse::gated && weight.num_segments == 2, "gate and up are one pair");
  const Tensor act = result_for(x, gated_, gate_up.rows / 2, weight.compute == Compute::f32 ? DType::f32 : DType::bf16);
  rounded_gated_ = {};
  product({&x, &norm}, weight, Epilogue::silu_mul, act);
  return act;
}

}  // namespace qwill::cuda
