#include <cmath>
#include <set>

#include <fmt/format.h>

#include <headrace/error.h>

#include "core/op_fields.h"
#include "plan/plan.h"

namespace headrace {
namespace {

constexpr std::size_t kMaxRank = 32;

template <class... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::invalid_plan,
              "bad plan content: " + fmt::format(format, std::forward<Args>(args)...));
}

class Verifier {
 public:
  explicit Verifier(const Plan& plan)
      : plan_(plan), exprs_(static_cast<std::int32_t>(plan.shapes.exprs().size())) {}

  void run() {
    if (plan_.device.empty()) bad("it names no device");
    if (plan_.threads < 0 || plan_.threads > 1 << 16) bad("it was tuned for {} threads", plan_.threads);
    if (plan_.tensors.size() > std::size_t{1} << 28 || plan_.steps.size() > std::size_t{1} << 28)
      bad("it is too large");
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) check_tensor(i);
    check_io();
    check_roots();
    check_program();
    check_conditions();
    check_steps();
    check_profiles();
  }

 private:
  const PlanTensor& tensor(std::int32_t index, std::string_view where) const {
    if (index < 0 || static_cast<std::size_t>(index) >= plan_.tensors.size())
      bad("{} refers to tensor {} of {}", where, index, plan_.tensors.size());
    return plan_.tensors[static_cast<std::size_t>(index)];
  }

  void check(const Dim& d, std::string_view where) const {
    if (d.expr < -1 || d.expr >= exprs_) bad("{} refers to shape expression {} of {}", where, d.expr, exprs_);
  }
  void check(const Dims& dims, std::string_view where) const {
    for (const Dim& d : dims) check(d, where);
  }
  void check(const Reals& reals, std::string_view where) const {
    for (const Real& r : reals)
      if (!r.is_constant()) check(Dim::of_expr(r.expr), where);
  }
  template <class T>
  void check(const T&, std::string_view) const {}  // fields without dims

  void check_tensor(std::size_t i) const {
    const PlanTensor& t = plan_.tensors[i];
    const std::string where = fmt::format("tensor {} ('{}')", i, t.name);
    if (t.shape.size() > kMaxRank)
      bad("{} has rank {}; at most {} is allowed", where, t.shape.size(), kMaxRank);
    check(t.shape, where);
    check(t.offsets, where);
    for (const Dim& d : t.shape)
      if (d.is_constant() && d.value < 0) bad("{} has the extent {}", where, d.value);
    if (t.layout == Layout::channels_last && t.shape.size() < 3)
      bad("{} is channels_last with rank {}", where, t.shape.size());
    if (t.layout == Layout::packed && t.role != TensorRole::weight) bad("{} is packed but no weight", where);
    if ((t.layout == Layout::packed) == t.format.empty())
      bad("{}: packed weights, and only these, name a format", where);
    if (t.role == TensorRole::weight) {
      check_weight(t, where);
    } else if (t.weight_offset != 0 || t.weight_bytes != 0) {
      bad("{} is no weight but has weight bytes", where);
    }
    const bool view = t.view != ViewKind::none;
    if (view != (t.parent >= 0) || t.parent < -1) bad("{}: views, and only these, have a parent", where);
    if (view) {
      const PlanTensor& parent = tensor(t.parent, where);
      if (t.role != TensorRole::activation) bad("{} is a view but an input, output or weight", where);
      if (t.dtype != parent.dtype || parent.layout == Layout::packed)
        bad("{} does not fit the tensor it is a view of", where);
      if (t.view == ViewKind::window && (t.shape.size() != parent.shape.size() || t.layout != parent.layout))
        bad("{} is a window of a tensor with another rank or layout", where);
    }
    if (t.offsets.size() != (t.view == ViewKind::window ? t.shape.size() : 0))
      bad("{} has {} window offsets", where, t.offsets.size());
  }

  void check_weight(const PlanTensor& t, const std::string& where) const {
    if (!all_constant(t.shape)) bad("{} is a weight with a dynamic shape", where);
    if (t.weight_offset > plan_.weights.size() || t.weight_bytes > plan_.weights.size() - t.weight_offset)
      bad("{} lies outside the plan's {} weight bytes", where, plan_.weights.size());
    if (t.weight_offset % 64 != 0) bad("{} is not aligned", where);
    std::uint64_t bytes = size_bytes(t.dtype);
    for (const Dim& d : t.shape)
      if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(d.value), &bytes))
        bad("{} is too large", where);
    if (t.layout != Layout::packed && bytes != t.weight_bytes)
      bad("{} has {} weight bytes, but its shape needs {}", where, t.weight_bytes, bytes);
  }

  void check_io() const {
    std::set<std::int32_t> seen;
    std::set<std::string_view> names;
    for (std::int32_t i : plan_.inputs) {
      const PlanTensor& t = tensor(i, "the list of inputs");
      if (t.role != TensorRole::input || t.layout != Layout::plain || !seen.insert(i).second)
        bad("tensor {} is no input", i);
      if (!names.insert(t.name).second) bad("two inputs have the name '{}'", t.name);
    }
    names.clear();
    for (std::int32_t i : plan_.outputs) {
      const PlanTensor& t = tensor(i, "the list of outputs");
      if (t.role != TensorRole::output || t.layout != Layout::plain || !seen.insert(i).second)
        bad("tensor {} is no output", i);
      if (!names.insert(t.name).second) bad("two outputs have the name '{}'", t.name);
    }
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      const TensorRole role = plan_.tensors[i].role;
      if ((role == TensorRole::input || role == TensorRole::output) &&
          !seen.contains(static_cast<std::int32_t>(i)))
        bad("tensor {} is an input or output that no list names", i);
    }
  }

  void check_roots() {
    roots_.assign(plan_.tensors.size(), -1);
    std::vector<std::int32_t> path;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      path.clear();
      auto at = static_cast<std::int32_t>(i);
      while (roots_[static_cast<std::size_t>(at)] < 0 &&
             plan_.tensors[static_cast<std::size_t>(at)].view != ViewKind::none) {
        if (path.size() > plan_.tensors.size()) bad("the views of tensor {} run in a circle", i);
        path.push_back(at);
        at = plan_.tensors[static_cast<std::size_t>(at)].parent;
      }
      const std::int32_t known = roots_[static_cast<std::size_t>(at)];
      const std::int32_t root = known >= 0 ? known : at;
      roots_[static_cast<std::size_t>(at)] = root;
      for (std::int32_t p : path) roots_[static_cast<std::size_t>(p)] = root;
    }
  }

  void check_program() const {
    for (const Symbol& s : plan_.shapes.symbols()) {
      if (s.sources.empty()) bad("the symbol '{}' has no source", s.name);
      for (const SymbolSource& source : s.sources) {
        if (source.input < 0 || static_cast<std::size_t>(source.input) >= plan_.inputs.size())
          bad("the symbol '{}' refers to input {}", s.name, source.input);
        const PlanTensor& t =
            plan_.tensors[static_cast<std::size_t>(plan_.inputs[static_cast<std::size_t>(source.input)])];
        if (source.index < 0) bad("the symbol '{}' has the index {}", s.name, source.index);
        if (source.kind == SymbolSource::dim && static_cast<std::size_t>(source.index) >= t.shape.size())
          bad("the symbol '{}' refers to axis {} of input '{}'", s.name, source.index, t.name);
        if (source.kind == SymbolSource::value && !is_int(t.dtype) && t.dtype != DType::boolean)
          bad("the symbol '{}' reads values of input '{}', which are no integers", s.name, t.name);
        if (source.kind == SymbolSource::real && !is_float(t.dtype))
          bad("the symbol '{}' reads reals of input '{}', which has none", s.name, t.name);
      }
    }
  }

  void check_conditions() const {
    for (const Condition& c : plan_.shapes.conditions()) check(c.holds, "a condition");
  }

  void check_steps() const {
    std::vector<bool> written(plan_.tensors.size()), root_written(plan_.tensors.size());
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
      const PlanStep& step = plan_.steps[i];
      const std::string where = fmt::format("step {} ({})", i, step.op.id);
      if (step.tactic.empty()) bad("{} names no tactic", where);
      try {
        const Op op = from_record(step.op);
        std::visit([&](const auto& o) { fields(o, [&](const char*, const auto& f) { check(f, where); }); },
                   op);
      } catch (const Error& e) {
        if (e.code() == ErrorCode::invalid_plan) throw;
        bad("{}: {}", where, e.what());
      }
      for (std::int32_t t : step.inputs) {
        const TensorRole role = tensor(t, where).role;
        const auto root = static_cast<std::size_t>(roots_[static_cast<std::size_t>(t)]);
        const TensorRole root_role = plan_.tensors[root].role;
        if (role == TensorRole::activation || role == TensorRole::output)
          if (!root_written[root] && root_role != TensorRole::input && root_role != TensorRole::weight)
            bad("{} reads tensor {} before anything wrote it", where, t);
      }
      if (step.outputs.empty()) bad("{} has no output", where);
      for (std::int32_t t : step.outputs) {
        const PlanTensor& out = tensor(t, where);
        const auto root = static_cast<std::size_t>(roots_[static_cast<std::size_t>(t)]);
        const TensorRole role = plan_.tensors[root].role;
        if (out.role == TensorRole::input || role == TensorRole::input || role == TensorRole::weight)
          bad("{} writes into tensor {}, which is an input or a weight", where, t);
        if (written[static_cast<std::size_t>(t)]) bad("{} writes tensor {} a second time", where, t);
        written[static_cast<std::size_t>(t)] = root_written[root] = true;
      }
      check_times(step.tried, where);
      check_variants(step, where);
    }
    for (std::int32_t o : plan_.outputs)
      if (!root_written[static_cast<std::size_t>(o)]) bad("nothing writes output {}", o);
  }

  void check_times(const std::vector<TimingRecord>& tried, const std::string& where) const {
    for (const TimingRecord& t : tried)
      if (!std::isfinite(t.us)) bad("{} has a time that is no number", where);
  }

  void check_variants(const PlanStep& step, const std::string& where) const {
    std::uint32_t last = 0;
    for (const StepVariant& v : step.variants) {
      if (v.profile <= last || v.profile >= plan_.profiles.size())
        bad("{} has a variant for profile {} of {}", where, v.profile, plan_.profiles.size());
      last = v.profile;
      if (v.tactic.empty()) bad("{} names no tactic for profile {}", where, v.profile);
      if (v.inputs.size() != step.inputs.size())
        bad("{} has {} inputs for profile {}, not {}", where, v.inputs.size(), v.profile, step.inputs.size());
      for (std::size_t i = 0; i < v.inputs.size(); ++i) {
        const PlanTensor &own = tensor(step.inputs[i], where), &other = tensor(v.inputs[i], where);
        if (v.inputs[i] != step.inputs[i] &&
            (own.role != TensorRole::weight || other.role != TensorRole::weight || own.dtype != other.dtype ||
             own.shape != other.shape))
          bad("{} reads another tensor for profile {}", where, v.profile);
      }
      check_times(v.tried, where);
    }
  }

  void check_profiles() const {
    if (plan_.profiles.empty()) bad("it has no profile");
    for (const Profile& profile : plan_.profiles) {
      if (profile.size() != plan_.inputs.size())
        bad("a profile has {} ranges for {} inputs", profile.size(), plan_.inputs.size());
      for (std::size_t i = 0; i < profile.size(); ++i) {
        const ProfileRange& r = profile[i];
        const PlanTensor& t = plan_.tensors[static_cast<std::size_t>(plan_.inputs[i])];
        const std::size_t rank = t.shape.size();
        if (r.input != t.name || r.min.size() != rank || r.opt.size() != rank || r.max.size() != rank)
          bad("a profile does not fit input '{}'", t.name);
        for (std::size_t a = 0; a < rank; ++a)
          if (r.min[a] < 0 || r.min[a] > r.opt[a] || r.opt[a] > r.max[a])
            bad("the profile range of input '{}', axis {}, is not ordered", t.name, a);
      }
    }
  }

  const Plan& plan_;
  std::int32_t exprs_;
  std::vector<std::int32_t> roots_;
};

}  // namespace

void verify_plan(const Plan& plan) { Verifier(plan).run(); }

}  // namespace headrace
