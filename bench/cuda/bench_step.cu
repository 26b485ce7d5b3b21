// Tests and times the one-kernel decode step of cuda/kernels/decode_step.h on the device at hand.
//   bench_step                          all of it
//   bench_step test                     the tests alone; exit 1 if one fails
//   bench_step time [MODEL [CONTEXT [WARPS [SLOTS [IN_FLIGHT [QUIET]]]]]]     0: as planned
//   bench_step often [LAUNCHES]         small and large steps launched so often (3000), for what goes wrong rarely
//   bench_step sweep [MODEL [CONTEXT]]  over warps, slots and what is in flight
//   … forever                           waits are without end; else one of half a second stops the kernel and is told
// MODEL: 0.6b, 1.7b, 4b, 8b, 14b, 8b-int4, 8b-fp8, 8b-kv8 (a cache of e4m3).
//
// Tests: the residual stream, all pages and the logits bit for bit as the chain of stream() and attend_decode()
// gives them, for several shapes, formats, contexts and tunings, three launches one after the other.
// Times: that chain in a graph, and the one kernel in a graph.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cuda/kernels/attention.h"
#include "cuda/kernels/decode_step.h"
#include "cuda/kernels/fp8.h"
#include "cuda/kernels/int4.h"
#include "cuda/kernels/rows.h"
#include "cuda/kernels/stream.h"

using namespace qwill::cuda;

namespace {

cudaStream_t stream_of_all;
int num_sms = 132, num_failed = 0;
StepReports* reports = nullptr;
bool forever = false;

void print_reports() {
  if (!reports) return;
  constexpr const char* kWaits[] = {"slot empty", "slot landed", "slot full", "keys",
                                    "values",     "grid",        "words",     "norm"};
  int count = 0;
  for (int i = 0; i < kMaxStepBlocks * kMaxStepWarps; ++i) {
    const StepReport& r = reports->reports[i];
    if (r.what == 0 || count++ == 100) continue;
    if (count == 1) std::printf("waits that did not end:\n");
    std::printf("  block %d warp %d op %d: %s, place %d, seen %d\n", i / kMaxStepWarps, i % kMaxStepWarps, r.op,
                kWaits[r.what - 1], r.place, r.seen);
  }
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  print_reports();
  std::exit(1);
}

// Of either sign, as many of each exponent, up to 2.
__global__ void fill_e4m3(uint8_t* data, int64_t count) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761u + static_cast<uint32_t>(i >> 32);
    x = (x ^ x >> 15) * 2246822519u;
    data[i] = static_cast<uint8_t>((x >> 8) % 65 | (x >> 24 & 0x80));
  }
}

struct Memory {
  char* data = nullptr;
  int64_t bytes = 0;
  explicit Memory(int64_t size) : bytes(std::max<int64_t>(size, 16)) {
    check(cudaMalloc(&data, static_cast<size_t>(bytes)), "cudaMalloc");
    check(cudaMemset(data, 0, static_cast<size_t>(bytes)), "cudaMemset");
  }
  Memory(const Memory&) = delete;
  ~Memory() { cudaFree(data); }
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data);
  }
  void put(const void* from, int64_t size) const {
    check(cudaMemcpy(data, from, static_cast<size_t>(size), cudaMemcpyHostToDevice), "copy");
  }
  void random(uint64_t seed, float centre = 0, float spread = 1) const {
    check(random_f32(as<float>(), bytes / 4, seed, centre, spread, stream_of_all), "random");
  }
  void random_e4m3() const { fill_e4m3<<<1024, 256, 0, stream_of_all>>>(as<uint8_t>(), bytes); }
  // bf16 in whole atoms.
  void random_atoms(uint64_t seed, float spread) const {
    const int64_t atoms = bytes / kAtomBytes;
    check(random_bf16({data, {atoms, 1}, 0, 1}, 0, atoms * 8, 64, seed, 0, spread, stream_of_all), "random");
  }
};

struct Model {
  const char* name;
  int layers, cols, heads, kv_heads, head_dim, ffn, vocab, page_size;
  StreamFormat format = StreamFormat::bf16;  // of the layers; the head is of bf16
  bool fp8_cache = false;
};
int64_t padded(int64_t cols) { return (cols + 63) / 64 * 64; }

// Weights and inputs of a step, and what it writes.
struct Scene {
  Model m;
  int32_t max_pages, num_pages;
  std::vector<MatrixLayout> layouts;  // qkv, o, gate and up, down, head
  int64_t weight_bytes = 0;
  std::vector<int64_t> offsets, scale_offsets;  // of the weights, and of e4m3 in floats
  std::unique_ptr<Memory> weights, scales, norms, cos, sin, indices;
  int64_t pages_bytes;  // of a layer

  Scene(const Model& model, int capacity) : m(model) {
    const int64_t D = m.head_dim;
    max_pages = (capacity + m.page_size - 1) / m.page_size;
    num_pages = max_pages + 1;
    const auto layout = [](int64_t rows, int64_t cols) { return MatrixLayout{(rows + 7) / 8, (cols + 63) / 64}; };
    layouts = {layout((m.heads + 2 * m.kv_heads) * D, m.cols), layout(m.cols, m.heads * D), layout(2 * m.ffn, m.cols),
               layout(m.cols, m.ffn), layout(m.vocab, m.cols)};
    int64_t num_scales = 0;
    for (int i = 0; i <= 4 * m.layers; ++i) {
      offsets.push_back(weight_bytes);
      scale_offsets.push_back(num_scales);
      weight_bytes += bytes_of(i);
      if (format_of(i) == StreamFormat::fp8) num_scales += layout_of(i).row_blocks * 8;
    }
    weights = std::make_unique<Memory>(weight_bytes);
    scales = std::make_unique<Memory>(num_scales * 4);
    for (int i = 0; i <= 4 * m.layers; ++i) fill(i);
    norms = std::make_unique<Memory>((m.cols + 2 * D) * 4);
    norms->random(12, 1, 0.2f);
    cos = std::make_unique<Memory>(D / 2 * 4);
    sin = std::make_unique<Memory>(D / 2 * 4);
    cos->random(13);
    sin->random(14);
    indices = std::make_unique<Memory>(4 * (4 + max_pages) + 64);
    pages_bytes = int64_t{num_pages} * m.kv_heads * 2 * m.page_size * padded_dim() * (m.fp8_cache ? 1 : 2);
  }
  int64_t padded_dim() const { return m.fp8_cache ? kFp8AtomCols : padded(m.head_dim); }
  int64_t cols_of(int i) const { return i == 1 ? m.heads * m.head_dim : i == 3 ? m.ffn : m.cols; }
  bool is_head(int weight) const { return weight == 4 * m.layers; }
  StreamFormat format_of(int weight) const { return is_head(weight) ? StreamFormat::bf16 : m.format; }
  const MatrixLayout& layout_of(int weight) const {
    return layouts[static_cast<size_t>(is_head(weight) ? 4 : weight % 4)];
  }
  int64_t bytes_of(int weight) const {
    const MatrixLayout& l = layout_of(weight);
    const StreamFormat format = format_of(weight);
    return format == StreamFormat::bf16   ? l.bytes()
           : format == StreamFormat::int4 ? Int4Layout::of(l).bytes()
                                          : Fp8Layout::of(l).bytes();
  }
  // Random values; columns beyond the matrix's are zeros.
  void fill(int weight) const {
    const MatrixLayout& l = layout_of(weight);
    char* to = weights->data + offsets[static_cast<size_t>(weight)];
    const int64_t rows = l.row_blocks * 8, cols = cols_of(is_head(weight) ? 4 : weight % 4);
    const auto seed = static_cast<uint64_t>(11 + weight);
    const StreamFormat format = format_of(weight);
    if (format == StreamFormat::fp8) {
      const Fp8Destination there{to, scales->as<float>() + scale_offsets[static_cast<size_t>(weight)], Fp8Layout::of(l),
                                 0, 1};
      return check(random_fp8(there, 0, rows, cols, seed, 0, 0.05f, stream_of_all), "random");
    }
    if (format == StreamFormat::bf16)
      return check(random_bf16({to, l, 0, 1}, 0, rows, cols, seed, 0, 0.05f, stream_of_all), "random");
    const Memory whole(l.bytes());
    check(random_bf16({whole.data, l, 0, 1}, 0, rows, cols, seed, 0, 0.05f, stream_of_all), "random");
    check(round_to_int4(to, whole.data, l, stream_of_all), "round");
    check(cudaStreamSynchronize(stream_of_all), "round");
  }

  // Without keys as a row that has ended, which stores nothing.
  void set_context(int num_keys) const {
    std::vector<int32_t> values(static_cast<size_t>(4 + max_pages), 0);
    for (int32_t i = 0; i < max_pages; ++i)
      values[static_cast<size_t>(4 + i)] = num_pages - 1 - i;  // page 0 is nobody's
    const int last = std::max(num_keys, 1) - 1;
    const int32_t slot = values[static_cast<size_t>(4 + last / m.page_size)] * m.page_size + last % m.page_size;
    values[0] = num_keys;
    values[1] = num_keys > 0 ? slot : -1;
    values[2] = 0, values[3] = 1;  // row_begin
    check(cudaDeviceSynchronize(), "synchronize");
    indices->put(values.data(), static_cast<int64_t>(values.size()) * 4);
  }
};

// What one way of running the step reads and writes.
struct Run {
  const Scene& s;
  Memory x, qkv, out, act, logits, pages;
  std::vector<StepOp> ops;

  explicit Run(const Scene& scene)
      : s(scene),
        x(s.m.cols * 4),
        qkv((s.m.heads + 2 * s.m.kv_heads) * s.m.head_dim * 4),
        out(padded(s.m.heads * s.m.head_dim) * 2),
        act(padded(s.m.ffn) * 2),
        logits(int64_t{s.m.vocab} * 4),
        pages(s.pages_bytes * s.m.layers) {
    const Model& m = s.m;
    for (int i = 0; i <= 4 * m.layers; ++i) {
      const int kind = i == 4 * m.layers ? 4 : i % 4;
      StepOp op;
      StreamCall& c = op.product;
      c.weight = s.weights->data + s.offsets[static_cast<size_t>(i)];
      c.layout = s.layouts[static_cast<size_t>(kind)];
      c.format = s.format_of(i);
      if (c.format == StreamFormat::fp8) c.scales = s.scales->as<float>() + s.scale_offsets[static_cast<size_t>(i)];
      c.cols = static_cast<int32_t>(s.cols_of(kind));
      c.num_rows = 1;
      if (kind == 1 || kind == 3) {
        c.a = kind == 1 ? out.data : act.data;
        c.output = StreamOutput::add;
        c.y = x.data;
        c.num_outputs = m.cols;
      } else {
        c.x = x.as<float>();
        c.norm = s.norms->as<float>();
        c.eps = 1e-6f;
        c.output = kind == 2 ? StreamOutput::silu_mul : StreamOutput::store;
        c.y = kind == 0 ? qkv.data : kind == 2 ? act.data : logits.data;
        c.num_outputs = kind == 0 ? (m.heads + 2 * m.kv_heads) * m.head_dim : kind == 2 ? m.ffn : m.vocab;
      }
      c.ldy = kind == 2 ? padded(m.ffn) : c.num_outputs;
      ops.push_back(op);
      if (kind == 0) ops.push_back(attend(i / 4));
    }
  }
  StepOp attend(int layer) const {
    const Model& m = s.m;
    StepOp op;
    op.is_attend = true;
    op.max_tiles = (s.max_pages * m.page_size + 127) / 128;
    AttendArgs& a = op.attend;
    a.num_rows = a.num_sequences = 1;
    a.num_heads = m.heads;
    a.num_kv_heads = m.kv_heads;
    a.head_dim = m.head_dim;
    a.qkv = qkv.as<float>();
    a.ld_qkv = (m.heads + 2 * m.kv_heads) * m.head_dim;
    a.q_norm = s.norms->as<float>() + m.cols;
    a.k_norm = a.q_norm + m.head_dim;
    a.cos = s.cos->as<float>();
    a.sin = s.sin->as<float>();
    const auto* indices = s.indices->as<int32_t>();
    a.seq_lens = indices;
    a.slots = indices + 1;
    a.row_begin = indices + 2;
    a.page_table = indices + 4;
    a.max_pages = s.max_pages;
    a.kv = {pages.data + layer * s.pages_bytes, m.kv_heads, static_cast<int32_t>(s.padded_dim()), m.page_size,
            m.fp8_cache};
    a.out = out.data;
    a.ld_out = padded(m.heads * m.head_dim);
    return op;
  }
  // As the step finds them. With head_dim < padded_dim the pages' padding is zero, as all of them are then.
  void reset() const {
    x.random(21);
    if (s.m.head_dim == s.padded_dim() && s.m.fp8_cache)
      pages.random_e4m3();
    else if (s.m.head_dim == s.padded_dim())
      pages.random_atoms(22, 1);
    else
      check(cudaMemsetAsync(pages.data, 0, static_cast<size_t>(pages.bytes), stream_of_all), "clear");
    for (const Memory* m : {&qkv, &out, &act, &logits})
      check(cudaMemsetAsync(m->data, 0, static_cast<size_t>(m->bytes), stream_of_all), "clear");
  }
};

struct Chain {
  Run run;
  DecodePlan plan;
  Memory counters, partials;
  Chain(const Scene& s, int max_context)
      : run(s),
        plan(plan_decode(run.ops[1].attend, 1, max_context, num_sms)),
        counters(s.m.kv_heads * 4),
        partials(decode_partial_bytes(run.ops[1].attend, plan)) {
    plan.counters = counters.as<uint32_t>();
    plan.partials = partials.as<float>();
  }
  void launch() const {
    for (const StepOp& op : run.ops)
      if (op.is_attend)
        check(attend_decode(op.attend, plan, stream_of_all), "attend_decode");
      else
        check(stream(op.product, num_sms, stream_of_all), "stream");
  }
  bool fits() const {
    return std::ranges::all_of(run.ops,
                               [](const StepOp& op) { return op.is_attend || stream_fits(op.product, num_sms); });
  }
};

struct OneKernel {
  Run run;
  StepLaunch step;
  bool fits = false;
  std::unique_ptr<Memory> ops, state, words;

  explicit OneKernel(const Scene& s) : run(s) {}
  void tune(const StepTuning& tuning) {
    std::vector<StepOp> planned = run.ops;
    fits = plan_step(planned, tuning, num_sms, step);
    if (!fits) return;
    const auto bytes = static_cast<int64_t>(planned.size() * sizeof(StepOp));
    check(cudaDeviceSynchronize(), "synchronize");
    ops = std::make_unique<Memory>(bytes);
    ops->put(planned.data(), bytes);
    if (!state) state = std::make_unique<Memory>(sizeof(StepState));
    if (!words)
      words = std::make_unique<Memory>(step_words(run.attend(0).attend) * static_cast<int64_t>(sizeof(StepWord)));
    step.ops = ops->as<StepOp>();
    step.state = state->as<StepState>();
    step.words = words->as<StepWord>();
    step.reports = forever ? nullptr : reports;
    check(cudaDeviceSynchronize(), "synchronize");
  }
  void launch() const { check(decode_step(step, stream_of_all), "decode_step"); }
};

// ---- Tests

bool same(const Memory& got, const Memory& wanted, const char* what, const std::string& where, int element) {
  std::vector<char> a(static_cast<size_t>(got.bytes)), b(a.size());
  check(cudaMemcpy(a.data(), got.data, a.size(), cudaMemcpyDeviceToHost), "copy");
  check(cudaMemcpy(b.data(), wanted.data, b.size(), cudaMemcpyDeviceToHost), "copy");
  if (a == b) return true;
  size_t first = 0, count = 0;
  for (size_t i = a.size() - static_cast<size_t>(element) + 1; i-- > 0;)
    if (i % static_cast<size_t>(element) == 0 && std::memcmp(&a[i], &b[i], static_cast<size_t>(element)) != 0)
      first = i, ++count;
  std::printf("FAILED %s: %s, %zu of %zu differ, first at %zu\n", where.c_str(), what, count,
              a.size() / static_cast<size_t>(element), first / static_cast<size_t>(element));
  return false;
}

void test_model(const Model& m, const std::vector<int>& contexts) {
  const Scene scene(m, 2304);
  const Chain chain(scene, 2304);
  OneKernel one(scene);
  if (!chain.fits()) {
    std::printf("%s: the chain does not take it\n", m.name);
    return;
  }
  const StepTuning tunings[] = {{}, {8, 16, 1, 1}, {11, 17, 2, 1}, {9, 0, 16, 3}};
  for (const int context : contexts) {
    scene.set_context(context);
    chain.run.reset();
    chain.launch();
    check(cudaStreamSynchronize(stream_of_all), "chain");
    int before = num_failed;
    for (const StepTuning& tuning : tunings) {
      if (&tuning != tunings && context != 129) continue;
      if (tuning.warps > 8 && m.format == StreamFormat::fp8) continue;
      one.tune(tuning);
      const std::string where = std::string(m.name) + " context " + std::to_string(context) + " warps " +
                                std::to_string(one.step.warps) + " slots " + std::to_string(one.step.slots) +
                                " in flight " + std::to_string(one.step.in_flight);
      if (!one.fits) {
        std::printf("does not fit: %s\n", where.c_str());
        continue;
      }
      for (int launch = 0; launch < 3; ++launch) {
        one.run.reset();
        one.launch();
        check(cudaStreamSynchronize(stream_of_all), where.c_str());
        const std::string which = where + " launch " + std::to_string(launch);
        bool ok = same(one.run.x, chain.run.x, "x", which, 4);
        ok &= same(one.run.pages, chain.run.pages, "pages", which, 2);
        ok &= same(one.run.logits, chain.run.logits, "logits", which, 4);
        if (!ok) {  // of the last layer: where it began to differ, if there is but one
          same(one.run.out, chain.run.out, "attention", which, 2);
          same(one.run.act, chain.run.act, "gated", which, 2);
          ++num_failed;
          break;
        }
      }
    }
    std::printf("%s context %d: %s\n", m.name, context, num_failed == before ? "equal" : "FAILED");
    if (num_failed > 3) std::exit(1);
  }
}

// What is seen too early by one block in a thousand launches.
void test_often(const Model& m, const std::vector<int>& contexts, int launches) {
  const Scene scene(m, 2304);
  const Chain chain(scene, 2304);
  OneKernel one(scene);
  for (const int context : contexts) {
    scene.set_context(context);
    const auto bytes = static_cast<size_t>(chain.run.x.bytes);
    std::vector<char> begin(bytes), wanted(bytes), got(bytes);
    const auto take = [&](std::vector<char>& to, const Run& run) {
      check(cudaStreamSynchronize(stream_of_all), m.name);
      check(cudaMemcpy(to.data(), run.x.data, bytes, cudaMemcpyDeviceToHost), "copy");
    };
    chain.run.reset();
    take(begin, chain.run);
    chain.launch();
    take(wanted, chain.run);
    one.tune({});
    one.run.reset();
    int differ = 0;
    for (int i = 0; i < launches; ++i) {
      check(cudaMemcpyAsync(one.run.x.data, begin.data(), bytes, cudaMemcpyHostToDevice, stream_of_all), "copy");
      one.launch();
      take(got, one.run);
      differ += got != wanted;
    }
    std::printf("%s context %d: %d of %d launches differ\n", m.name, context, differ, launches);
    num_failed += differ > 0;
  }
}

// ---- Times

double time_graph(const std::function<void()>& launches) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  check(cudaStreamBeginCapture(stream_of_all, cudaStreamCaptureModeThreadLocal), "capture");
  launches();
  check(cudaStreamEndCapture(stream_of_all, &graph), "capture");
  check(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "event");
  check(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i < 13; ++i) {
    check(cudaEventRecord(begin, stream_of_all), "event");
    check(cudaGraphLaunch(exec, stream_of_all), "graph");
    check(cudaEventRecord(end, stream_of_all), "event");
    check(cudaStreamSynchronize(stream_of_all), "graph");
    float ms = 0;
    check(cudaEventElapsedTime(&ms, begin, end), "event");
    times.push_back(ms);
  }
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::ranges::sort(times);
  return times[times.size() / 2];
}

const Model kModels[] = {{"0.6b", 28, 1024, 16, 8, 128, 3072, 151936, 64},
                         {"1.7b", 28, 2048, 16, 8, 128, 6144, 151936, 64},
                         {"4b", 36, 2560, 32, 8, 128, 9728, 151936, 64},
                         {"8b", 36, 4096, 32, 8, 128, 12288, 151936, 64},
                         {"14b", 40, 5120, 40, 8, 128, 17408, 151936, 64},
                         {"8b-int4", 36, 4096, 32, 8, 128, 12288, 151936, 64, StreamFormat::int4},
                         {"8b-fp8", 36, 4096, 32, 8, 128, 12288, 151936, 64, StreamFormat::fp8},
                         {"8b-kv8", 36, 4096, 32, 8, 128, 12288, 151936, 64, StreamFormat::bf16, true}};

void print(const char* what, double ms, double bytes) {
  std::printf("  %-42s %.3f ms  %.0f GB/s\n", what, ms, bytes / ms / 1e6);
}

void time_model(const Model& m, const std::vector<int>& contexts, const std::vector<StepTuning>& tunings) {
  const Scene scene(m, *std::ranges::max_element(contexts) + 64);
  for (const int context : contexts) {
    OneKernel one(scene);
    scene.set_context(context);
    const Chain chain(scene, context);
    const double bytes = static_cast<double>(scene.weight_bytes) +
                         (m.fp8_cache ? 2.0 : 4.0) * m.layers * m.kv_heads * m.head_dim * static_cast<double>(context);
    std::printf("%s, context %d, %.3f GB\n", m.name, context, bytes / 1e9);
    chain.run.reset();
    print("chain", time_graph([&] { chain.launch(); }), bytes);
    one.run.reset();
    for (const bool attends : {true, false}) {
      // Without attention: what it costs (results are meaningless).
      if (!attends && tunings.size() > 1) continue;
      if (!attends) std::erase_if(one.run.ops, [](const StepOp& op) { return op.is_attend; });
      for (StepTuning tuning : tunings) {
        if (!attends) tuning.slots = one.step.slots;
        one.tune(tuning);
        if (!one.fits || (tunings.size() > 1 && one.step.in_flight != tuning.in_flight)) continue;
        const std::string what = std::string(attends ? "one kernel" : "without attention") + ", warps " +
                                 std::to_string(one.step.warps) + " slots " + std::to_string(one.step.slots) +
                                 " in flight " + std::to_string(one.step.in_flight) + ", quiet " +
                                 std::to_string(one.step.quiet_in_flight);
        print(what.c_str(), time_graph([&] { one.launch(); }), bytes);
      }
    }
  }
}

int to_int(const std::vector<std::string>& args, size_t i, int otherwise) {
  return i < args.size() && std::atoi(args[i].c_str()) > 0 ? std::atoi(args[i].c_str()) : otherwise;
}

}  // namespace

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IONBF, 0);
  std::vector<std::string> args(argv + 1, argv + argc);
  forever = std::erase(args, "forever") > 0;
  const std::string mode = args.empty() ? "all" : args[0];
  check(cudaDeviceGetAttribute(&num_sms, cudaDevAttrMultiProcessorCount, 0), "device");
  check(cudaHostAlloc(&reports, sizeof(StepReports), cudaHostAllocMapped | cudaHostAllocPortable), "cudaHostAlloc");
  std::memset(reports, 0, sizeof *reports);
  check(cudaStreamCreateWithFlags(&stream_of_all, cudaStreamNonBlocking), "stream");
  check(prepare_stream(), "prepare");
  check(prepare_decode_step(), "prepare");
  if (mode == "all" || mode == "test") {
    const std::vector<int> contexts = {0, 1, 5, 127, 128, 129, 700, 1100, 2200};
    test_model({"one tiny layer", 1, 256, 4, 2, 64, 512, 1000, 64}, contexts);
    test_model({"tiny, head_dim 128", 3, 512, 4, 4, 128, 512, 1000, 128}, contexts);
    test_model({"ragged", 2, 1000, 5, 1, 96, 1208, 5000, 64}, contexts);
    test_model({"group 16", 2, 512, 32, 2, 128, 1024, 1000, 64}, contexts);
    test_model({"short, but for its norms", 2, 2560, 8, 2, 128, 4096, 1000, 128}, contexts);
    test_model({"0.6b, 4 layers", 4, 1024, 16, 8, 128, 3072, 151936, 64}, contexts);
    test_model({"8b, 2 layers", 2, 4096, 32, 8, 128, 12288, 20000, 64}, contexts);
    test_model({"14b, 2 layers", 2, 5120, 40, 8, 128, 17408, 20000, 128}, contexts);
    test_model({"32b, 1 layer", 1, 5120, 64, 8, 128, 25600, 20000, 64}, contexts);
    for (const StreamFormat format : {StreamFormat::int4, StreamFormat::fp8}) {
      const bool int4 = format == StreamFormat::int4;
      test_model({int4 ? "int4, tiny" : "fp8, tiny", 2, 512, 4, 2, 64, 640, 1000, 64, format}, contexts);
      test_model({int4 ? "int4, ragged" : "fp8, ragged", 2, 1008, 6, 2, 96, 1216, 5000, 64, format}, contexts);
      test_model({int4 ? "int4, 4b" : "fp8, 4b", 2, 2560, 32, 8, 128, 9728, 20000, 64, format}, contexts);
      test_model({int4 ? "int4, 8b" : "fp8, 8b", 2, 4096, 32, 8, 128, 12288, 20000, 64, format}, contexts);
      test_model({int4 ? "int4, 32b" : "fp8, 32b", 1, 5120, 64, 8, 128, 25600, 20000, 64, format}, contexts);
    }
    for (const StreamFormat format : {StreamFormat::bf16, StreamFormat::int4, StreamFormat::fp8}) {
      const char* const names[] = {"cache of e4m3", "cache of e4m3, int4", "cache of e4m3, fp8"};
      test_model({names[static_cast<int>(format)], 2, 512, 4, 2, 128, 640, 1000, 64, format, true}, contexts);
      test_model({"with ragged heads", 2, 1008, 6, 2, 96, 1216, 5000, 128, format, true}, contexts);
      test_model({"of 8b", 2, 4096, 32, 8, 128, 12288, 20000, 64, format, true}, contexts);
    }
    std::printf("%d failed\n", num_failed);
    if (mode == "test") return num_failed > 0;
  }
  if (mode == "often") {
    test_often({"0.6b, 8 layers", 8, 1024, 16, 8, 128, 3072, 1000, 64}, {0, 1, 129, 512}, to_int(args, 1, 3000));
    for (const StreamFormat format : {StreamFormat::bf16, StreamFormat::int4, StreamFormat::fp8})
      test_often({"8b, 3 layers", 3, 4096, 32, 8, 128, 12288, 1000, 64, format}, {0, 1, 129}, to_int(args, 1, 3000));
    return num_failed > 0;
  }
  const bool sweeps = mode == "sweep";
  std::vector<StepTuning> tunings = {{to_int(args, 3, 0), to_int(args, 4, 0), to_int(args, 5, 0), to_int(args, 6, 0)}};
  if (sweeps) {
    tunings.clear();
    for (const int warps : {8, 11})
      for (const int in_flight : {5, 7, 9, 11})
        for (const int quiet : {1, 2, 3, 4, in_flight}) tunings.push_back({warps, 0, in_flight, quiet});
  }
  for (const Model& m : kModels) {
    if (args.size() > 1 && args[1] != m.name) continue;
    std::vector<int> contexts = {512, 4096};
    if (const int context = to_int(args, 2, 0)) contexts = {context};
    if (sweeps && args.size() <= 2) contexts = {512};
    time_model(m, contexts, tunings);
  }
  return num_failed > 0;
}
