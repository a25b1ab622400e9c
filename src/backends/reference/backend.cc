// The reference backend: every core operator by plain loops on the host. The oracle of all tests, and the
// Evaluator.
#include <cstdlib>
#include <memory>
#include <new>

#include "backends/reference/reference.h"
#include "device/host_device.h"

namespace headrace {

namespace reference {

std::string describe(const Problem& problem) {
  std::string text(name(problem.op));
  text += "(";
  for (std::size_t i = 0; i < problem.srcs.size(); ++i) text += (i ? ", " : "") + to_string(problem.srcs[i]);
  text += ") -> ";
  for (std::size_t i = 0; i < problem.dsts.size(); ++i) text += (i ? ", " : "") + to_string(problem.dsts[i]);
  return text;
}

namespace {

class ReferenceKernel final : public Kernel {
 public:
  ReferenceKernel(std::string_view name, Work work, std::size_t operands)
      : name_(name), work_(std::move(work)), operands_(operands) {}
  std::size_t workspace_bytes() const override { return work_.workspace; }
  void launch(NativeStream, std::span<std::byte* const> data, std::byte* workspace) const override {
    if (data.size() != operands_)
      throw Error(ErrorCode::internal, std::string(name_) + ": launched with " + std::to_string(data.size()) +
                                           " operands instead of " + std::to_string(operands_));
    work_.run(data, workspace);
  }
  std::string_view name() const override { return name_; }

 private:
  std::string_view name_;
  Work work_;
  std::size_t operands_;
};

/// The problem's shapes must be what the operator's own rule says: the loops rely on it, and plans come from
/// strangers.
void check_types(const Problem& problem) {
  ShapeProgram program;
  std::vector<ValueType> inputs;
  for (const TensorDesc& src : problem.srcs) inputs.push_back({src.dtype, to_dims(src.shape)});
  const std::vector<ValueType> outputs = infer_types(problem.op, inputs, program);
  bool fits = problem.dsts.size() <= outputs.size() && !problem.dsts.empty();
  for (std::size_t i = 0; fits && i < problem.dsts.size(); ++i)
    fits = problem.dsts[i].dtype == outputs[i].dtype && to_dims(problem.dsts[i].shape) == outputs[i].shape;
  if (!fits)
    throw Error(ErrorCode::invalid_plan,
                "destinations do not have the operator's shapes: " + describe(problem));
}

template <class OpT>
class ReferenceTactic final : public Tactic {
 public:
  explicit ReferenceTactic(std::string_view id) : id_(id) {}
  std::string_view id() const override { return id_; }
  std::optional<Refusal> refuses(const Problem& problem) const override {
    if (!std::holds_alternative<OpT>(problem.op))
      return Refusal{"another operator: " + std::string(headrace::name(problem.op))};
    for (const auto* tensors : {&problem.srcs, &problem.dsts})
      for (const TensorDesc& t : *tensors) {
        if (t.layout == Layout::packed) return Refusal{"packed operand " + t.format};
        if (t.shape.size() > kMaxRank) return Refusal{"rank above " + std::to_string(kMaxRank)};
      }
    if constexpr (std::is_same_v<OpT, Conv> || std::is_same_v<OpT, ConvTranspose>) {
      if (problem.srcs.size() < 2 || !is_float(problem.srcs[0].dtype))
        return Refusal{"floating-point operands only"};
      if (problem.srcs[0].shape.size() < 3 || problem.srcs[0].shape.size() > 5)
        return Refusal{"one to three spatial axes only"};
    }
    if constexpr (std::is_same_v<OpT, Pool>) {
      if (problem.srcs[0].shape.size() < 3 || problem.srcs[0].shape.size() > 5)
        return Refusal{"one to three spatial axes only"};
    }
    return std::nullopt;
  }
  std::unique_ptr<Kernel> make(const Problem& problem, const Choice& choice) const override {
    if (!choice.empty())
      throw Error(ErrorCode::invalid_plan, std::string(id_) + " has no choice '" + choice + "'");
    if (auto refusal = refuses(problem))
      throw Error(ErrorCode::invalid_plan, std::string(id_) + ": " + refusal->reason);
    try {
      check_types(problem);
      return std::make_unique<ReferenceKernel>(id_, reference::make(std::get<OpT>(problem.op), problem),
                                               problem.srcs.size() + problem.dsts.size());
    } catch (Error& e) {
      throw e.add_context("while preparing " + std::string(id_) + " for " + describe(problem));
    }
  }

 private:
  std::string_view id_;
};

struct FreeAligned {
  void operator()(std::byte* p) const { ::operator delete (p, std::align_val_t{64}); }
};

}  // namespace

}  // namespace reference

Backend make_reference_backend() {
  Backend backend;
  backend.name = "reference";
  backend.make_device = [](std::string_view) { return make_host_device(HostDeviceOptions{}); };
  backend.list_devices = [](std::size_t) {
    return std::vector<DeviceListing>{{.name = "reference",
                                       .model = "plain loops, the oracle of all tests",
                                       .why_not = "",
                                       .notes = {},
                                       .lacks = ""}};
  };
#define REFERENCE_TACTIC(Type, id) \
  backend.tactics.push_back(std::make_unique<reference::ReferenceTactic<Type>>(id));
#include "backends/reference/tactics.inc"
#undef REFERENCE_TACTIC
  return backend;
}

std::vector<HostTensor> evaluate_reference(const Op& op, std::span<const HostTensor* const> inputs) {
  static const Backend backend = make_reference_backend();
  Problem problem{resolve(op, {}), {}, {}, 1};
  std::vector<ValueType> types;
  for (const HostTensor* input : inputs) {
    problem.srcs.push_back(TensorDesc::dense(input->dtype(), input->shape()));
    types.push_back({input->dtype(), to_dims(input->shape())});
  }
  ShapeProgram program;
  std::vector<HostTensor> outputs;
  for (const ValueType& type : infer_types(problem.op, types, program)) {
    outputs.emplace_back(type.dtype, to_shape(type.shape));
    problem.dsts.push_back(TensorDesc::dense(type.dtype, to_shape(type.shape)));
  }
  for (const auto& tactic : backend.tactics) {
    const auto refusal = tactic->refuses(problem);
    if (refusal) {
      if (refusal->reason.starts_with("another operator")) continue;
      throw Error(ErrorCode::unsupported, std::string(tactic->id()) + ": " + refusal->reason);
    }
    const std::unique_ptr<Kernel> kernel = tactic->make(problem, {});
    std::vector<std::byte*> data;  // kernels only read their sources
    for (const HostTensor* input : inputs) data.push_back(const_cast<std::byte*>(input->bytes().data()));
    for (HostTensor& output : outputs) data.push_back(output.mutable_bytes().data());
    std::unique_ptr<std::byte, reference::FreeAligned> workspace(static_cast<std::byte*>(
        ::operator new (std::max<std::size_t>(kernel->workspace_bytes(), 64), std::align_val_t{64})));
    kernel->launch(nullptr, data, workspace.get());
    return outputs;
  }
  throw Error(ErrorCode::unsupported, "the reference backend has no kernel for " + std::string(name(op)));
}

}  // namespace headrace
