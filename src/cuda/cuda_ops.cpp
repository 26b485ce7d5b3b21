// The backend's memory, its steps, and the ops that only move rows.
#include "cuda/cuda_ops.h"

#include "cuda/backend.h"

namespace qwill {
namespace cuda {
namespace {

// A recorded step reaches 1, 2, 3, 4, 6, 8, 12, … times as many keys as a group of tiles has: another number would be
// another recording, but a group beyond the longest sequence costs a block for every sequence and kv head (256 streams
// at 1k in recordings for 4k: 5 % of the step).
int64_t recorded_context(int64_t needed) {
  constexpr int64_t kGroupKeys = kTileKeys * kGroupTiles;
  for (int64_t context = kGroupKeys;; context *= 2)
    for (const int64_t candidate : {context, context * 3 / 2})
      if (candidate >= needed && candidate % kGroupKeys == 0) return candidate;
}

}  // namespace

CudaOps::CudaOps(const CudaOptions& options) : device_(options) {
  if (!device_.dry()) {
    check(prepare_gemm(device_.hopper), "prepare kernels");
    if (device_.hopper) {
      check(prepare_stream(), "prepare kernels");
      check(prepare_gemm_fp8(), "prepare kernels");
    }
  }
  if (device_.hopper && options.step_kernel) program_.enable(device_);
}

CudaOps::~CudaOps() {
  if (device_.dry()) return;
  cudaSetDevice(device_.index);
  graphs_.abandon(device_);
  cudaDeviceSynchronize();
}

// --- weights, cache, values ---

void CudaOps::expect_weights(int64_t bytes) {
  device_.make_current();
  arena_.reserve(bytes);
}

Weight CudaOps::do_place(std::span<const WeightSource> sources, WeightUse use, Compute compute, const Shard&) {
  device_.make_current();
  if (compute == Compute::fp8 && !device_.hopper)
    fail_unsupported("--dtype fp8: only on cards of the Hopper generation, with --cuda-path hopper; use auto or bf16");
  any_bf16_ |= use != WeightUse::vector && compute != Compute::f32;
  any_fp8_ |= use == WeightUse::matrix && compute == Compute::fp8;
  return loader_.place(sources, use, compute);
}

PagedKv CudaOps::allocate_kv(const KvGeometry& wanted) {
  device_.make_current();
  KvGeometry geometry = wanted;
  geometry.head_alignment = geometry.dtype == DType::f8_e4m3 ? kFp8AtomCols : kAtomCols;
  CHECK(geometry.page_size % 64 == 0 && kTileKeys % geometry.page_size == 0, "page size is 64 or 128");
  CHECK(geometry.dtype == DType::f32 || geometry.dtype == DType::bf16 || geometry.dtype == DType::f8_e4m3,
        "the cache is f32, bf16 or e4m3");
  if (geometry.padded_head_dim() > 128 || geometry.head_dim % 2 != 0)
    fail_unsupported("head_dim is {}: the CUDA kernels take even ones up to 128", geometry.head_dim);
  loader_.finish();  // its memory is needed now
  auto cache = std::make_unique<DeviceBuffer>(MemoryPurpose{device_.memory, "cache"});
  void* data = cache->get<char>(geometry.total_bytes());
  caches_.push_back(std::move(cache));
  page_size_ = geometry.page_size;
  cache_slots_ = geometry.num_pages * geometry.page_size;
  return {geometry, data};
}

void CudaOps::free_kv(PagedKv& kv) {
  device_.make_current();
  try {
    finish_step();          // it may be recorded so far, and read the cache
  } catch (const Error&) {  // the next call will tell
  }
  if (!device_.dry()) cudaStreamSynchronize(device_.stream);
  std::erase_if(caches_, [&](const auto& cache) { return cache->template get<char>(1) == kv.data; });
  kv = {};
}

void CudaOps::copy_pages(const PagedKv& kv, std::span<const PageCopy> copies) {
  finish_step();
  const int64_t page_bytes = kv.geometry.layer_page_bytes();
  for (const PageCopy& copy : copies) {
    char* pages = static_cast<char*>(kv.data);
    check(copy_strided(pages + copy.to * page_bytes, pages + copy.from * page_bytes, page_bytes,
                       page_bytes * kv.geometry.num_pages, kv.geometry.num_layers, device_.stream),
          "copy a page");
  }
  std::vector<PageRest> rests;
  for (const PageCopy& copy : copies) rests.push_back({copy.to, copy.num_entries});
  clear_values(kv, rests);
}

void CudaOps::do_begin_pages(const PagedKv& kv, std::span<const PageRest> begun) {
  page_size_ = kv.geometry.page_size;
  cache_slots_ = kv.geometry.num_pages * page_size_;
  if (kv.data != cache_) {  // recorded steps are of the other one
    finish_step();
    graphs_.clear();
    cache_ = kv.data;
  }
  if (rehearsing_ || begun.empty()) return;
  finish_step();
  clear_values(kv, begun);
}

// Attention copies whole tiles to where it multiplies them. (In f32 it reads what it needs.)
void CudaOps::clear_values(const PagedKv& kv, std::span<const PageRest> rests) {
  const KvGeometry& g = kv.geometry;
  if (g.dtype == DType::f32) return;
  const CacheSlices slices{.data = kv.data,
                           .num_layers = g.num_layers,
                           .layer_bytes = g.layer_page_bytes() * g.num_pages,
                           .num_kv_heads = g.num_kv_heads,
                           .half_bytes = g.vector_bytes() * g.page_size,
                           .page_size = g.page_size};
  for (; !rests.empty(); rests = rests.subspan(std::min(rests.size(), kMaxRests)))
    check(cuda::clear_values(slices, rests.first(std::min(rests.size(), kMaxRests)), device_.stream), "clear a page");
}

Tensor CudaOps::to_device(const Tensor& host) {
  device_.make_current();
  Tensor t = host;
  t.data = uploads_[next_upload_++ % uploads_.size()].get<float>(t.rows * t.cols);
  // In the stream, behind whatever still reads the buffer.
  check(cudaMemcpyAsync(t.data, host.data, static_cast<size_t>(host.size_bytes()), cudaMemcpyHostToDevice,
                        device_.stream),
        "copy a tensor");
  device_.synchronize();
  return t;
}

std::span<const float> CudaOps::to_host(const Tensor& t) {
  finish_step();
  std::vector<float>& values = host_copies_[t.data];
  values.resize(static_cast<size_t>(t.rows * t.cols));
  const auto copy = [&](void* to, int64_t bytes) {
    check(cudaMemcpyAsync(to, t.data, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost, device_.stream),
          "copy a tensor");
    device_.synchronize();
  };
  if (t.dtype == DType::f32) {
    copy(values.data(), t.size_bytes());
    return values;
  }
  const int64_t stride = stride_of(t);
  std::vector<bf16> raw(static_cast<size_t>(t.rows * stride));
  copy(raw.data(), t.rows * stride * 2);
  for (int64_t r = 0; r < t.rows; ++r)
    for (int64_t c = 0; c < t.cols; ++c)
      values[static_cast<size_t>(r * t.cols + c)] = to_float(raw[static_cast<size_t>(r * stride + c)]);
  return values;
}

// --- steps ---

bool CudaOps::rehearse(bool on) {
  if (on) rehearsed_context_ = 0;
  rehearsing_ = on;
  return true;
}

void CudaOps::finish_step() {
  device_.make_current();
  try {
    if (graphs_.mode() == StepGraphs::Mode::record) program_.launch(device_);
  } catch (...) {
    abandon_step();
    throw;
  }
  graphs_.finish(num_ops_, device_, [&] { return program_.upload(device_); });
  num_ops_ = 0;
}

void CudaOps::abandon_step() {
  graphs_.abandon(device_);
  program_.drop();
}

void CudaOps::sample(const Tensor& logits, std::span<const SamplingRow> rows, int64_t num_drawable) {
  finish_step();
  if (rehearsing_) return sampler_.make_room(rows, logits.cols, cache_slots_);
  sampler_.sample(logits.row<const float>(0), logits.cols, rows, num_drawable, cache_slots_);
}

std::vector<Draw> CudaOps::take_draws() {
  finish_step();
  return sampler_.take_draws();
}

void CudaOps::upload(const Batch& batch) {
  next_is_behind_ = false;
  // On Hopper decode rows have a kernel of their own.
  std::vector<QueryTile> tiles;
  if (query_group_ > 0) tiles = list_query_tiles(batch.row_begin, batch.seq_lens, query_group_, device_.hopper ? 2 : 1);
  StepShape shape;
  shape.rows = batch.num_rows();
  shape.sequences = batch.num_sequences();
  shape.pages = batch.max_pages;
  shape.logit_rows = static_cast<int64_t>(batch.logit_rows.size());
  shape.query_tiles = static_cast<int64_t>(tiles.size());
  for (size_t s = 0; s < batch.seq_lens.size(); ++s) {
    if (batch.row_begin[s + 1] - batch.row_begin[s] == 1) ++shape.decodes;
    shape.max_context = std::max<int64_t>(shape.max_context, batch.seq_lens[s]);
  }
  recorded_ =
      batch.is_decode && !rehearsing_ && page_size_ > 0 && shape.rows > 0 && shape.rows <= kRecordedSizes.back();
  if (recorded_) {
    const int64_t rows = *std::ranges::lower_bound(kRecordedSizes, shape.rows);
    const int64_t limit = rehearsed_context_ > 0 ? rehearsed_context_ : cache_slots_;
    const int64_t context = std::max(shape.max_context, std::min(recorded_context(shape.max_context), limit));
    shape = {.rows = rows,
             .sequences = rows,
             .pages = (context + page_size_ - 1) / page_size_,
             .logit_rows = rows,
             .decodes = rows,
             .query_tiles = device_.hopper ? 0 : rows,
             .max_context = context};
  }
  if (rehearsing_) {
    rehearsed_context_ = std::max(rehearsed_context_, shape.max_context);
    shape.query_tiles += shape.sequences;  // rows divided otherwise may leave each sequence a tile that is not full
  }
  padded_rows_ = recorded_ ? shape.rows : 0;
  inputs_ = rehearsing_ ? uploader_.lay_out(shape) : uploader_.upload(batch, shape, page_size_, tiles, device_);
  begin_rows();
}

// What was sent becomes what this step's rows are.
void CudaOps::begin_rows() {
  const int64_t rows = inputs_.shape.rows;
  float* cos = cos_.get<float>(rows * half_dim_);
  float* sin = sin_.get<float>(rows * half_dim_);
  if (rehearsing_) return;
  const float* settings = rope_settings_.get<float>(1);
  check(cuda::begin_rows({.sent = inputs_.sent,
                          .draw_source = inputs_.draw_source,
                          .draws = sampler_.draws_on_device(),
                          .row_begin = inputs_.row_begin,
                          .num_rows = static_cast<int32_t>(rows),
                          .num_sequences = static_cast<int32_t>(inputs_.shape.sequences),
                          .positions = inputs_.positions,
                          .slots = inputs_.slots,
                          .seq_lens = inputs_.seq_lens,
                          .rope_kinds = inputs_.rope_kinds,
                          .inv_freq = settings,
                          .factors = settings + 2 * half_dim_,
                          .half_dim = static_cast<int32_t>(half_dim_),
                          .cos = cos,
                          .sin = sin},
                         device_.stream),
        "begin a step");
}

void CudaOps::do_begin_step(const Batch& batch, const RopeSettings& rope) {
  finish_step();
  host_copies_.clear();
  set_rope(rope);
  upload(batch);
  if (recorded_ && graphs_.begin(inputs_.shape, device_) == StepGraphs::Mode::record) program_.begin(inputs_.shape);
}

void CudaOps::set_rope(const RopeSettings& rope) {
  half_dim_ = static_cast<int64_t>(std::max(rope[0].inv_freq.size(), rope[1].inv_freq.size()));
  std::vector<float> values(static_cast<size_t>(2 * half_dim_ + 2));
  for (size_t kind = 0; kind < 2; ++kind) {
    std::ranges::copy(rope[kind].inv_freq, values.begin() + static_cast<int64_t>(kind) * half_dim_);
    values[static_cast<size_t>(2 * half_dim_) + kind] = rope[kind].attention_factor;
  }
  if (values == rope_values_) return;
  rope_values_ = values;
  void* settings = rope_settings_.get<float>(static_cast<int64_t>(values.size()));
  if (device_.dry()) return;
  check(cudaMemcpyAsync(settings, rope_values_.data(), values.size() * 4, cudaMemcpyHostToDevice, device_.stream),
        "copy the rope settings");
  device_.synchronize();
}

Tensor CudaOps::do_embed(const Batch& batch, const PlacedWeight& table) {
  const Tensor x = result_for({nullptr, batch.num_rows(), 0}, embed_, table.cols, DType::f32);
  const Op op(*this);
  if (op.skip_early() || x.rows == 0) return x;
  check(embed_rows(x.row<float>(0), as_cuda(table).table(), inputs_.tokens, inputs_.draw_source,
                   sampler_.draws_on_device(), rows_of(x), device_.stream),
        "embed");
  return x;
}

Tensor CudaOps::do_take_rows(const Tensor& x, std::span<const int32_t> rows) {
  // Rows 0, 1, 2, …, as a recorded step takes: nothing to do.
  if (recorded_) {
    const Op op(*this);
    return x;
  }
  const auto count = static_cast<int64_t>(rows.size());
  const Tensor y = result_for({nullptr, count, 0}, take_rows_, x.cols, DType::f32);
  const Op op(*this);
  if (op.skip() || count == 0) return y;
  check(copy_rows(y.row<float>(0), x.row<float>(0), inputs_.logit_rows, x.cols, count, device_.stream), "take_rows");
  return y;
}

}  // namespace cuda

std::unique_ptr<Ops> make_cuda_ops(const CudaOptions& options) { return std::make_unique<cuda::CudaOps>(options); }

}  // namespace qwill
