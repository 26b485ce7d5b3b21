// The op set on one card. Each op computes where its result lies and launches what makes it; in a recorded step it only
// does the first.
#pragma once

#include <algorithm>
#include <array>
#include <exception>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "cuda/cuda_weight.h"
#include "cuda/device.h"
#include "cuda/kernels/attention.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/gemm.h"
#include "cuda/kernels/gemm_f32.h"
#include "cuda/kernels/int4.h"
#include "cuda/kernels/moe.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/stream.h"
#include "cuda/sampler.h"
#include "cuda/step_graphs.h"
#include "cuda/step_inputs.h"
#include "cuda/step_program.h"
#include "ops/ops.h"
#include "tensor/panels.h"

namespace qwill::cuda {

// Numbers of rows that recorded decode steps are padded to.
inline constexpr std::array<int64_t, 18> kRecordedSizes = {1,  2,  4,  8,  12,  16,  24,  32,  40,
                                                           48, 64, 80, 96, 128, 160, 192, 224, 256};

inline const CudaWeight& as_cuda(const PlacedWeight& weight) { return static_cast<const CudaWeight&>(weight); }
inline const CudaWeight& as_cuda(const Weight& weight) { return static_cast<const CudaWeight&>(*weight); }

inline int64_t padded(int64_t cols) { return (cols + kAtomCols - 1) / kAtomCols * kAtomCols; }
// Elements from one row to the next: bf16 results are operands of products and padded with zeros.
inline int64_t stride_of(const Tensor& t) { return t.dtype == DType::bf16 ? padded(t.cols) : t.cols; }

// What a product multiplies: the norm of x, or rows as they are.
struct Operand {
  const Tensor* rows;
  const Norm* norm = nullptr;
};

class CudaOps final : public Ops {
 public:
  explicit CudaOps(const CudaOptions& options);
  ~CudaOps() override;

  void expect_weights(int64_t bytes) override;
  DType kv_dtype() const override { return any_bf16_ ? DType::bf16 : DType::f32; }
  PagedKv allocate_kv(const KvGeometry& wanted) override;
  void free_kv(PagedKv& kv) override;
  void copy_pages(const PagedKv& kv, std::span<const PageCopy> copies) override;

  bool rehearse(bool on) override;
  std::span<const int64_t> recorded_sizes() const override { return kRecordedSizes; }
  bool takes(BlockFormat format) const override { return !stored_panels(format); }

  void sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) override;
  std::vector<Draw> take_draws() override;
  bool overlaps_steps() const override { return true; }
  int64_t row_tile() const override { return 128; }

  Tensor to_device(const Tensor& host) override;
  std::span<const float> to_host(const Tensor& t) override;
  int64_t owned_weight_bytes() const override { return arena_.used_bytes(); }
  std::vector<MemoryPool> memory() const override { return device_.memory.pools(); }

 protected:
  Weight do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard& shard) override;
  void do_begin_pages(const PagedKv& kv, std::span<const PageRest> begun) override;
  void do_begin_step(const Batch& batch, const RopeSettings& rope) override;
  Tensor do_embed(const Batch& batch, const PlacedWeight& table) override;
  Tensor do_norm_linear(const Tensor& x, const Norm& norm, const PlacedWeight& w) override;
  void do_linear_add(Tensor& x, const Tensor& a, const PlacedWeight& w) override;
  Tensor do_norm_gated_mlp(const Tensor& x, const Norm& norm, const PlacedWeight& gate_up) override;
  Tensor do_attend(const Tensor& qkv, const Norm& q_norm, const Norm& k_norm, const Batch& batch,
                   const LayerKv& kv) override;
  void do_moe_add(Tensor& x, const Norm& norm, const MoeWeights& moe) override;
  Tensor do_take_rows(const Tensor& x, std::span<const int32_t> rows) override;

 private:
  // One op of the step. Where it fails while the step is recorded, the recording is given up.
  class Op {
   public:
    explicit Op(CudaOps& ops) : ops_(ops) { ++ops.num_ops_; }
    ~Op() {
      if (std::uncaught_exceptions() > exceptions_) ops_.abandon_step();
    }
    // Whether it has nothing to launch.
    bool skip() const { return ops_.rehearsing_ || ops_.graphs_.mode() == StepGraphs::Mode::replay; }
    // The same of an op that comes before what StepProgram gathers.
    bool skip_early() const { return skip() && !ops_.graphs_.replays_by_launch(); }

   private:
    CudaOps& ops_;
    int exceptions_ = std::uncaught_exceptions();
  };
  void finish_step();
  void abandon_step();
  void clear_values(const PagedKv& kv, std::span<const PageRest> rests);
  // Rows that ops on x launch: a recorded step's shape may be larger than its batch.
  int64_t rows_of(const Tensor& x) const { return padded_rows_ > 0 ? padded_rows_ : x.rows; }
  void upload(const Batch& batch);
  void begin_rows();
  void set_rope(const RopeSettings& rope);
  // A result with one row for each of x.
  Tensor result_for(const Tensor& x, DeviceBuffer& buffer, int64_t cols, DType dtype) {
    const int64_t stride = dtype == DType::bf16 ? padded(cols) : cols;
    return {buffer.get<char>(rows_of(x) * stride * dtype_bytes(dtype)), x.rows, cols, dtype};
  }

  const void* bf16_operand(const Operand& operand);
  const float* f32_operand(const Operand& operand);
  Fp8Rows fp8_rows(int64_t rows, int64_t cols, int32_t scale_copies = 1);
  Fp8Rows fp8_rows(DeviceBuffer& data, DeviceBuffer& scales, int64_t rows, int64_t cols, int32_t scale_copies);
  Fp8Rows fp8_operand(const Operand& operand);
  void product(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y);
  void product_f32(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y);
  GemmWeight widened_weight(const CudaWeight& weight, const MatrixLayout& part, int64_t first_block,
                            const GroupTiles* grouped = nullptr);
  bool product_streamed(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y);
  void product_bf16(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y);
  void product_fp8(const Operand& operand, const CudaWeight& weight, Epilogue epilogue, const Tensor& y);

  Device device_;
  Arena arena_{{device_.memory, "weights"}};
  DeviceBuffer widened_{{device_.memory, "widened"}};  // a weight of four bits as bf16, for the product to come
  Loader loader_{device_, arena_, widened_};
  std::vector<std::unique_ptr<DeviceBuffer>> caches_;
  bool any_bf16_ = false, any_fp8_ = false;
  const void* cache_ = nullptr;              // of the last step
  int64_t page_size_ = 0, cache_slots_ = 0;  // of the cache in use
  int64_t rehearsed_context_ = 0;            // the longest
  int32_t query_group_ = 0;                  // heads of a group in the last attend
  bool next_is_behind_ = false;              // NextStart of the last product

  // The step.
  bool rehearsing_ = false;
  int64_t num_ops_ = 0;
  int64_t padded_rows_ = 0;  // of a recorded step, else 0
  bool recorded_ = false;
  StepUploader uploader_{{device_.memory, "inputs"}};
  StepInputs inputs_{};
  StepGraphs graphs_;
  StepProgram program_{{device_.memory, "step_program"}};  // of a step that is being recorded
  Sampler sampler_{device_};
  std::vector<float> rope_values_;  // what rope_settings_ holds
  int64_t half_dim_ = 0;

  const MemoryPurpose activations_{device_.memory, "activations"}, attention_{device_.memory, "attention"},
      experts_{device_.memory, "experts"}, for_uploads_{device_.memory, "uploads"};
  DeviceBuffer rope_settings_{activations_}, cos_{activations_}, sin_{activations_};
  DeviceBuffer norm_linear_{{device_.memory, "logits"}};  // and queries, keys and values before attention
  DeviceBuffer embed_{activations_}, gated_{activations_}, attend_{activations_}, take_rows_{activations_};  // results
  DeviceBuffer fp8_gated_{activations_}, fp8_gated_scales_{activations_}, fp8_attend_{activations_},
      fp8_attend_scales_{activations_};
  Fp8Rows rounded_gated_, rounded_attend_;  // what gated_ and attend_ hold, if what wrote it rounded it as well
  DeviceBuffer bf16_operand_{activations_}, f32_operand_{activations_}, fp8_operand_{activations_},
      fp8_scales_{activations_}, queries_{activations_};  // within an op
  DeviceBuffer partials_{attention_}, counters_{attention_};
  DeviceBuffer router_logits_{experts_}, routes_{experts_}, spaced_rows_{experts_}, gathered_{experts_},
      expert_acts_{experts_}, expert_outs_{experts_};
  std::array<DeviceBuffer, 4> uploads_{DeviceBuffer(for_uploads_), DeviceBuffer(for_uploads_),
                                       DeviceBuffer(for_uploads_), DeviceBuffer(for_uploads_)};
  size_t next_upload_ = 0;
  std::unordered_map<const void*, std::vector<float>> host_copies_;
};

}  // namespace qwill::cuda
