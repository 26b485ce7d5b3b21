#include "cuda/step_program.h"

#include <mutex>
#include <set>

namespace qwill::cuda {
namespace {

std::mutex mutex;
std::set<int> devices;  // with a program that is enabled

}  // namespace

StepProgram::~StepProgram() {
  const std::lock_guard lock(mutex);
  if (enabled_ && !dry_) devices.erase(device_);
}

void StepProgram::enable(const Device& device) {
  dry_ = device.dry();
  if (dry_) {
    enabled_ = true;
  } else {
    // Nor where the kernels of several processes may run beside each other ("MPS").
    int shared = 0;
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMpsEnabled, device.index), "read the card's properties");
    const std::lock_guard lock(mutex);
    if (shared != 0 || !devices.insert(device.index).second) return;
    enabled_ = true;
    device_ = device.index;
    check(prepare_decode_step(), "prepare kernels");
  }
  programs_.get<StepOp>(kMaxPrograms * kMaxStepOps);
  state_.get<StepState>(1);
  words_.get<StepWord>(1);
}

void StepProgram::reserve(const AttendArgs& args) { words_.get<StepWord>(step_words(args)); }

void StepProgram::begin(const StepShape& shape) {
  drop();
  if (!enabled_ || shape.rows != 1 || shape.decodes != 1 || shape.query_tiles != 0) return;
  const auto found = places_.find(shape);
  if (found == places_.end() && places_.size() == static_cast<size_t>(kMaxPrograms)) return;
  place_ = found != places_.end() ? found->second : static_cast<int64_t>(places_.size());
  places_[shape] = place_;
  gathers_ = true;
}

void StepProgram::add(const StreamCall& call) { ops_.emplace_back().product = call; }

void StepProgram::add(const AttendArgs& args, const DecodePlan& plan) {
  StepOp& op = ops_.emplace_back();
  op.is_attend = true;
  op.attend = args;
  op.max_tiles = plan.max_tiles;
  plans_.push_back(plan);
}

void StepProgram::launch_apart(const Device& device) {
  gathers_ = false;
  auto plan = plans_.begin();
  for (const StepOp& op : ops_)
    if (op.is_attend)
      check(attend_decode(op.attend, *plan++, device.stream), "attend");
    else
      check(stream(op.product, device.num_sms, device.stream), "product");
  ops_.clear();
  plans_.clear();
}

void StepProgram::launch(const Device& device) {
  if (!gathers_) return;
  planned_ = ops_;
  if (!plan_step(planned_, {}, device.num_sms, step_)) {
    planned_.clear();
    launch_apart(device);
    return;
  }
  step_.ops = programs_.get<StepOp>(1) + place_ * kMaxStepOps;
  step_.state = state_.get<StepState>(1);
  step_.words = words_.get<StepWord>(1);
  check(decode_step(step_, device.stream), "decode step");
  gathers_ = false;
  ops_.clear();
  plans_.clear();
}

StepGraphs::Launch StepProgram::upload(const Device& device) {
  if (planned_.empty()) return {};
  check(cudaMemcpyAsync(programs_.get<StepOp>(1) + place_ * kMaxStepOps, planned_.data(),
                        planned_.size() * sizeof(StepOp), cudaMemcpyHostToDevice, device.stream),
        "copy a step's ops");
  device.synchronize();
  planned_.clear();
  return [step = step_, &device] { check(decode_step(step, device.stream), "decode step"); };
}

void StepProgram::drop() {
  gathers_ = false;
  ops_.clear();
  plans_.clear();
  planned_.clear();
}

}  // namespace qwill::cuda
