// Memory shared where nothing needs a copy: reshapes become aliases, concatenated tensors windows of the
// result, slices windows of their source, element-wise results take the place of their operand.
//
// Each change is tried: it stays when every step that touches a changed tensor still has its tactic's
// consent.
#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <headrace/error.h>

#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

class Viewer {
 public:
  explicit Viewer(Draft& draft) : draft_(draft), tensors_(draft.plan.tensors) {}

  void run() {
    placement_ = place(draft_);
    update_probes();
    index_steps();
    for (std::size_t s = 0; s < draft_.steps.size(); ++s) alias_reshape(s);
    drop_dead_steps();
    for (std::size_t s = 0; s < draft_.steps.size(); ++s) window_slice(s);
    drop_dead_steps();
    window_concats();
    for (std::size_t s = 0; s < draft_.steps.size(); ++s) in_place(s);
  }

 private:
  PlanTensor& tensor(std::int32_t t) { return tensors_[static_cast<std::size_t>(t)]; }

  void index_steps() {
    writer_.assign(tensors_.size(), -1);
    readers_.assign(tensors_.size(), {});
    children_.assign(tensors_.size(), {});
    for (std::size_t s = 0; s < draft_.steps.size(); ++s) {
      for (std::int32_t t : draft_.steps[s].outputs)
        writer_[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(s);
      for (std::int32_t t : draft_.steps[s].inputs) readers_[static_cast<std::size_t>(t)].push_back(s);
    }
    for (std::size_t t = 0; t < tensors_.size(); ++t)
      if (tensors_[t].parent >= 0)
        children_[static_cast<std::size_t>(tensors_[t].parent)].push_back(static_cast<std::int32_t>(t));
  }

  void update_probes() {
    probe_values_.clear();
    for (const auto& symbols : draft_.probes) probe_values_.push_back(values_of(draft_.plan.shapes, symbols));
  }

  void drop_dead_steps() {
    std::erase_if(draft_.steps, [](const DraftStep& s) { return s.outputs.empty(); });
    index_steps();
  }

  /// Makes `t` a view; takes it back and returns false when a placement or a tactic does not allow it.
  bool try_view(std::int32_t t, ViewKind kind, std::int32_t parent, Dims offsets) {
    PlanTensor& child = tensor(t);
    const PlanTensor before = child;
    child.view = kind;
    child.parent = parent;
    child.offsets = std::move(offsets);
    try {
      Placement next = place(draft_);
      for (const auto& values : probe_values_) static_cast<void>(place_tensors(draft_.plan, values));
      std::vector<bool> check(draft_.steps.size());
      for (std::size_t i = 0; i < tensors_.size(); ++i) {
        if (next.descs[i] == placement_.descs[i] && static_cast<std::int32_t>(i) != t) continue;
        for (std::size_t s : readers_[i]) check[s] = true;
        if (writer_[i] >= 0) check[static_cast<std::size_t>(writer_[i])] = true;
      }
      for (std::size_t s = 0; s < check.size(); ++s)
        if (check[s] && !draft_.steps[s].outputs.empty() && !consents(draft_.steps[s], next)) {
          child = before;
          return false;
        }
      placement_ = std::move(next);
    } catch (const Error&) {
      child = before;
      return false;
    }
    children_[static_cast<std::size_t>(parent)].push_back(t);
    return true;
  }

  bool consents(const DraftStep& step, const Placement& placement) const {
    if (step.outputs.size() == 1 && step.outputs[0] == ignored_output_)
      return true;  // the step is about to go
    if (const auto it = copies_.find(step.outputs[0]); it != copies_.end())
      return std::all_of(it->second.begin(), it->second.end(),
                         [&](const DraftStep& c) { return consents(c, placement); });
    const Problem problem = problem_of(draft_, step, placement);
    if (refusal(*step.tactic, problem)) return false;
    const auto choices = step.tactic->candidates(problem);
    return std::find(choices.begin(), choices.end(), step.choice) != choices.end();
  }

  // Reshape(x) -> y, and Transpose that only calls plain NHWC channels_last NCHW: y is x, or x is y where y
  // is what the caller gets.
  void alias_reshape(std::size_t s) {
    DraftStep& step = draft_.steps[s];
    const auto* transpose = std::get_if<Transpose>(&step.op);
    const bool renames = transpose && is_to_channels_first(*transpose) &&
                         tensor(step.inputs[0]).layout == Layout::plain &&
                         tensor(step.outputs[0]).layout == Layout::channels_last;
    if (!renames && !std::holds_alternative<Reshape>(step.op)) return;
    const std::int32_t x = step.inputs[0], y = step.outputs[0];
    ignored_output_ = y;
    bool done = false;
    if (tensor(y).role == TensorRole::activation) {
      done = try_view(y, ViewKind::alias, x, {});
    } else if (tensor(x).role == TensorRole::activation && tensor(x).view == ViewKind::none) {
      done = try_view(x, ViewKind::alias, y, {});
    }
    ignored_output_ = -1;
    if (done) step.outputs.clear();
  }

  // y = x[start : start + size] is a window of x.
  void window_slice(std::size_t s) {
    DraftStep& step = draft_.steps[s];
    const auto* slice = std::get_if<Slice>(&step.op);
    if (!slice ||
        std::any_of(slice->steps.begin(), slice->steps.end(), [](const Dim& d) { return d != Dim(1); }))
      return;
    const std::int32_t x = step.inputs[0], y = step.outputs[0];
    if (tensor(y).role != TensorRole::activation || tensor(y).view != ViewKind::none ||
        tensor(y).layout != tensor(x).layout)
      return;
    ignored_output_ = y;
    if (try_view(y, ViewKind::window, x, slice->starts)) step.outputs.clear();
    ignored_output_ = -1;
  }

  // y = concat(a, b, ...): a, b, ... are windows of y, written where they belong. What cannot be is copied
  // there.
  void window_concats() {
    for (std::size_t s = draft_.steps.size(); s-- > 0;)
      window_concat(s);  // outer ones first: inner ones then nest
    std::vector<DraftStep> steps;
    for (DraftStep& step : draft_.steps) {
      const auto it = copies_.find(step.outputs.empty() ? -1 : step.outputs[0]);
      if (it == copies_.end()) {
        if (!step.outputs.empty()) steps.push_back(std::move(step));
        continue;
      }
      for (DraftStep& copy : it->second) steps.push_back(std::move(copy));
    }
    draft_.steps = std::move(steps);
    index_steps();
  }

  void window_concat(std::size_t s) {
    DraftStep& step = draft_.steps[s];
    const auto* concat = std::get_if<Concat>(&step.op);
    if (!concat || step.inputs.size() < 2) return;
    const std::int32_t y = step.outputs[0];
    const auto axis = static_cast<std::size_t>(concat->axis);
    ShapeProgram& program = draft_.plan.shapes;
    std::vector<Dims> offsets;
    Dim at = 0;
    for (std::int32_t t : step.inputs) {
      Dims start(tensor(y).shape.size(), Dim(0));
      start[axis] = at;
      offsets.push_back(std::move(start));
      at = program.add(at, tensor(t).shape[axis]);
    }
    draft_.values = values_of(program, draft_.symbols);
    update_probes();
    ignored_output_ = y;
    std::vector<std::size_t> left;
    for (std::size_t i = 0; i < step.inputs.size(); ++i)
      if (!may_become_window(step.inputs[i], y, s) ||
          !try_view(step.inputs[i], ViewKind::window, y, offsets[i]))
        left.push_back(i);
    ignored_output_ = -1;
    if (left.size() == step.inputs.size()) return;
    std::vector<DraftStep> copies;
    for (std::size_t i : left) {
      PlanTensor part = tensor(step.inputs[i]);
      part.name.clear();
      part.role = TensorRole::activation;
      part.layout = tensor(y).layout;
      part.format.clear();
      part.weight_offset = part.weight_bytes = 0;
      part.view = ViewKind::window;
      part.parent = y;
      part.offsets = offsets[i];
      tensors_.push_back(part);
      draft_.constants.push_back(nullptr);
      DraftStep copy{.op = Reorder{},
                     .inputs = {step.inputs[i]},
                     .outputs = {static_cast<std::int32_t>(tensors_.size() - 1)},
                     .origins = step.origins,
                     .refused = {},
                     .tried = {},
                     .variants = {}};
      placement_ = place(draft_);
      const Constant none;
      choose_tactic(draft_, copy, problem_of(draft_, copy, placement_), {&none, 1});
      copies.push_back(std::move(copy));
    }
    writer_.resize(tensors_.size(), -1);
    readers_.resize(tensors_.size());
    children_.resize(tensors_.size());
    copies_[y] = std::move(copies);
    if (left.empty()) step.outputs.clear();
  }

  bool may_become_window(std::int32_t t, std::int32_t y, std::size_t s) {
    const PlanTensor& x = tensor(t);
    const auto i = static_cast<std::size_t>(t);
    if (x.role != TensorRole::activation || x.view != ViewKind::none || x.layout != tensor(y).layout)
      return false;
    if (writer_[i] < 0 && !copies_.contains(t)) return false;
    const auto& inputs = draft_.steps[s].inputs;
    if (std::count(inputs.begin(), inputs.end(), t) != 1) return false;
    return placement_.roots[static_cast<std::size_t>(y)] != t;
  }

  // y = f(x, ...) overwrites x when nothing reads x any more.
  void in_place(std::size_t s) {
    const DraftStep& step = draft_.steps[s];
    if (step.outputs.size() != 1 || step.inputs.empty()) return;
    const std::int32_t y = step.outputs[0];
    if (tensor(y).role != TensorRole::activation || tensor(y).view != ViewKind::none) return;
    const std::vector<Life> lives = lives_now();
    const Problem problem = problem_of(draft_, step, placement_);
    for (std::size_t i = 0; i < step.inputs.size(); ++i) {
      const std::int32_t x = step.inputs[i];
      const std::int32_t root = placement_.roots[static_cast<std::size_t>(x)];
      if (tensor(root).role != TensorRole::activation) continue;
      if (tensor(x).dtype != tensor(y).dtype || tensor(x).shape != tensor(y).shape ||
          tensor(x).layout != tensor(y).layout)
        continue;
      if (problem.srcs[i] != problem.dsts[0] || !step.tactic->in_place(problem, i, 0)) continue;
      if (lives[static_cast<std::size_t>(root)].last != static_cast<std::int32_t>(s)) continue;
      bool alone = true;  // other operands must not lie in the same memory, unless they are x itself
      for (std::int32_t other : step.inputs)
        alone = alone && (other == x || placement_.roots[static_cast<std::size_t>(other)] != root);
      if (!alone) continue;
      if (try_view(y, ViewKind::alias, x, {})) return;
    }
  }

  std::vector<Life> lives_now() const {
    std::vector<Life> lives(tensors_.size());
    for (std::size_t s = 0; s < draft_.steps.size(); ++s) {
      const auto touch = [&](std::int32_t t) {
        Life& life = lives[static_cast<std::size_t>(placement_.roots[static_cast<std::size_t>(t)])];
        if (life.first < 0) life.first = static_cast<std::int32_t>(s);
        life.last = static_cast<std::int32_t>(s);
      };
      for (std::int32_t t : draft_.steps[s].inputs) touch(t);
      for (std::int32_t t : draft_.steps[s].outputs) touch(t);
    }
    return lives;
  }

  Draft& draft_;
  std::vector<PlanTensor>& tensors_;
  Placement placement_;
  std::vector<std::vector<std::int64_t>> probe_values_;  ///< of each of the draft's probes
  std::vector<std::int32_t> writer_;
  std::vector<std::vector<std::size_t>> readers_;
  std::vector<std::vector<std::int32_t>> children_;
  std::map<std::int32_t, std::vector<DraftStep>> copies_;  ///< by concat's output: what stands for the step
  std::int32_t ignored_output_ = -1;
};

}  // namespace

void make_views(Draft& draft) {
  const auto can_place = [&](const std::vector<std::int64_t>& symbols) {
    try {
      static_cast<void>(place_tensors(draft.plan, draft.plan.shapes.evaluate(symbols)));
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  // Where guessed extents make no sense, nothing can be tried: all tensors keep their own memory.
  if (!can_place(draft.symbols)) return;
  std::erase_if(draft.probes, [&](const auto& symbols) { return !can_place(symbols); });
  if (draft.probes.empty()) return;
  if (draft.symbols.empty()) draft.probes.clear();  // nothing varies
  Viewer(draft).run();
}

}  // namespace headrace::compiler
