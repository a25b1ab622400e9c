// The last stage: constants packed for their tactics, laid out in one blob; unused tensors dropped; steps
// recorded.
#include <algorithm>
#include <cstring>
#include <map>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/hash.h"
#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

class Finisher {
 public:
  explicit Finisher(Draft& draft) : draft_(draft), plan_(draft.plan) {}

  void run() {
    pack_all();
    compact();
    lay_out();
    for (DraftStep& s : draft_.steps) {
      PlanStep& step = plan_.steps.emplace_back();
      step.tactic = s.tactic->id();
      step.choice = std::move(s.choice);
      step.op = to_record(s.op);
      step.inputs = std::move(s.inputs);
      step.outputs = std::move(s.outputs);
      step.origins = std::move(s.origins);
      step.refused = std::move(s.refused);
      step.tried = std::move(s.tried);
      for (std::size_t p = 0; p < s.variants.size(); ++p) add_variant(step, p + 1, std::move(s.variants[p]));
    }
  }

 private:
  /// Only where a profile does it in another way, or was timed apart.
  static void add_variant(PlanStep& step, std::size_t profile, DraftStep s) {
    StepVariant v{static_cast<std::uint32_t>(profile),
                  std::string(s.tactic->id()),
                  std::move(s.choice),
                  std::move(s.inputs),
                  std::move(s.refused),
                  std::move(s.tried)};
    if (v.tactic != step.tactic || v.choice != step.choice || v.inputs != step.inputs ||
        v.refused != step.refused || v.tried != step.tried)
      step.variants.push_back(std::move(v));
  }

  void pack_all() {
    const std::size_t profiles = plan_.profiles.size(), total = profiles * draft_.steps.size();
    std::size_t done = 0;
    for (std::size_t p = 0; p < profiles; ++p) {
      const AtProfile at(draft_, p);
      Placement placement;
      try {
        placement = place(draft_);
      } catch (const Error&) {
        // Guessed extents that make no sense: as the first profile does it.
        for (DraftStep& s : draft_.steps)
          if (p > 0) s.variants[p - 1] = DraftStep(s), s.variants[p - 1].variants.clear();
        continue;
      }
      packed_.resize(plan_.tensors.size());
      for (DraftStep& base : draft_.steps) {
        DraftStep& step = p == 0 ? base : base.variants[p - 1];
        for (std::size_t i = 0; i < step.inputs.size(); ++i) pack(step, i, placement);
        if (draft_.progress)
          draft_.progress("weights", static_cast<double>(++done) / static_cast<double>(total));
      }
    }
  }

  void pack(DraftStep& step, std::size_t i, const Placement& placement) {
    const auto t = static_cast<std::size_t>(step.inputs[i]);
    if (t >= placement.descs.size() || plan_.tensors[t].role != TensorRole::weight) return;
    if (plan_.tensors[t].layout != Layout::plain || !draft_.constants[t]) return;
    Problem problem = problem_of_packed(step, placement);
    auto packed = step.tactic->pack(problem, step.choice, i, *draft_.constants[t]);
    if (!packed) return;
    problem.srcs[i].layout = Layout::packed;
    problem.srcs[i].format = packed->format;
    if (refusal(*step.tactic, problem)) return;  // it stays as it is
    const auto key = std::tuple(static_cast<std::int32_t>(t), packed->format, hash128(packed->bytes));
    auto [it, added] = known_.try_emplace(key, -1);
    if (added) {
      PlanTensor tensor = plan_.tensors[t];
      tensor.layout = Layout::packed;
      tensor.format = packed->format;
      plan_.tensors.push_back(std::move(tensor));
      draft_.constants.push_back(nullptr);
      packed_.resize(plan_.tensors.size());
      packed_.back() = std::make_shared<std::vector<std::byte>>(std::move(packed->bytes));
      it->second = static_cast<std::int32_t>(plan_.tensors.size() - 1);
    }
    step.inputs[i] = it->second;
  }

  /// As the step is now: some of its sources may be packed already.
  Problem problem_of_packed(const DraftStep& step, const Placement& placement) const {
    std::vector<TensorDesc> srcs, dsts;
    for (std::int32_t t : step.inputs) {
      const PlanTensor& tensor = plan_.tensors[static_cast<std::size_t>(t)];
      if (static_cast<std::size_t>(t) < placement.descs.size()) {
        srcs.push_back(placement.descs[static_cast<std::size_t>(t)]);
      } else {
        srcs.push_back(TensorDesc::dense(tensor.dtype, to_shape(tensor.shape)));
        srcs.back().layout = Layout::packed;
        srcs.back().format = tensor.format;
      }
    }
    for (std::int32_t t : step.outputs) dsts.push_back(placement.descs[static_cast<std::size_t>(t)]);
    return make_problem(step.op, std::move(srcs), std::move(dsts), draft_);
  }

  void compact() {
    packed_.resize(plan_.tensors.size());
    std::vector<bool> used(plan_.tensors.size());
    const auto mark = [&](std::int32_t t) {
      for (; t >= 0 && !used[static_cast<std::size_t>(t)];
           t = plan_.tensors[static_cast<std::size_t>(t)].parent)
        used[static_cast<std::size_t>(t)] = true;
    };
    for (const DraftStep& s : draft_.steps) {
      for (std::int32_t t : s.inputs) mark(t);
      for (std::int32_t t : s.outputs) mark(t);
      for (const DraftStep& v : s.variants)
        for (std::int32_t t : v.inputs) mark(t);
    }
    for (std::int32_t t : plan_.inputs) mark(t);
    for (std::int32_t t : plan_.outputs) mark(t);
    std::vector<std::int32_t> renamed(used.size(), -1);
    std::size_t n = 0;
    for (std::size_t t = 0; t < used.size(); ++t) {
      if (!used[t]) continue;
      renamed[t] = static_cast<std::int32_t>(n);
      if (t != n) {
        plan_.tensors[n] = std::move(plan_.tensors[t]);
        draft_.constants[n] = std::move(draft_.constants[t]);
        packed_[n] = std::move(packed_[t]);
      }
      ++n;
    }
    plan_.tensors.resize(n);
    draft_.constants.resize(n);
    packed_.resize(n);
    const auto rename = [&](std::int32_t& t) {
      if (t >= 0) t = renamed[static_cast<std::size_t>(t)];
    };
    for (PlanTensor& t : plan_.tensors) rename(t.parent);
    for (DraftStep& s : draft_.steps) {
      for (std::int32_t& t : s.inputs) rename(t);
      for (std::int32_t& t : s.outputs) rename(t);
      for (DraftStep& v : s.variants)
        for (std::int32_t& t : v.inputs) rename(t);
    }
    for (std::int32_t& t : plan_.inputs) rename(t);
    for (std::int32_t& t : plan_.outputs) rename(t);
  }

  std::span<const std::byte> bytes_of(std::size_t t) const {
    if (packed_[t]) return *packed_[t];
    return draft_.constants[t]->bytes();
  }

  void lay_out() {
    std::map<Hash128, std::pair<std::uint64_t, std::uint64_t>> placed;  // equal bytes are stored once
    std::uint64_t end = 0;
    std::vector<std::size_t> fresh;
    for (std::size_t t = 0; t < plan_.tensors.size(); ++t) {
      PlanTensor& tensor = plan_.tensors[t];
      if (tensor.role != TensorRole::weight) continue;
      const auto bytes = bytes_of(t);
      tensor.weight_bytes = bytes.size();
      const auto [it, added] = placed.try_emplace(hash128(bytes), end, bytes.size());
      tensor.weight_offset = it->second.first;
      if (!added && it->second.second == bytes.size()) continue;
      fresh.push_back(t);
      tensor.weight_offset = end;
      end = (end + bytes.size() + 63) / 64 * 64;
    }
    auto* memory =
        static_cast<std::byte*>(::operator new (std::max<std::uint64_t>(end, 1), std::align_val_t{64}));
    std::shared_ptr<std::byte> blob(memory,
                                    [](std::byte* p) { ::operator delete (p, std::align_val_t{64}); });
    std::memset(memory, 0, end);
    for (std::size_t t : fresh)
      if (const auto bytes = bytes_of(t); !bytes.empty())
        std::memcpy(memory + plan_.tensors[t].weight_offset, bytes.data(), bytes.size());
    plan_.weights = {memory, end};
    plan_.weights_owner = std::move(blob);
  }

  Draft& draft_;
  Plan& plan_;
  std::vector<std::shared_ptr<std::vector<std::byte>>> packed_;  ///< by tensor
  std::map<std::tuple<std::int32_t, std::string, Hash128>, std::int32_t> known_;
};

}  // namespace

void finish(Draft& draft) { Finisher(draft).run(); }

}  // namespace headrace::compiler
