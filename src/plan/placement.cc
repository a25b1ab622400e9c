#include "plan/placement.h"

#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/checked.h"

namespace headrace {
namespace {

[[noreturn]] void bad(const Plan& plan, std::int32_t tensor, const std::string& why) {
  throw Error(ErrorCode::invalid_plan, fmt::format("tensor {} ('{}') {}", tensor,
                                                   plan.tensors[static_cast<std::size_t>(tensor)].name, why));
}

/// True when the elements lie densely in row-major order, whatever the layout is called ([N,C,1,1]
/// channels_last does).
bool row_major(const TensorDesc& desc) {
  const std::vector<std::int64_t> plain = dense_strides(desc.shape, Layout::plain);
  for (std::size_t a = 0; a < desc.shape.size(); ++a)
    if (desc.shape[a] == 0) return true;
  for (std::size_t a = 0; a < desc.shape.size(); ++a)
    if (desc.shape[a] != 1 && desc.strides[a] != plain[a]) return false;
  return true;
}

/// True when plain [N,H,W,C] and channels_last [N,C,H,W], dense, hold the same elements in the same order.
bool channels_moved(const TensorDesc& a, const TensorDesc& b) {
  if (a.layout != Layout::plain) return b.layout == Layout::plain && channels_moved(b, a);
  Shape shape = b.shape;
  if (b.layout != Layout::channels_last || shape.size() < 3) return false;
  std::rotate(shape.begin() + 1, shape.begin() + 2, shape.end());
  return shape == a.shape && a.is_dense() && b.is_dense();
}

class Placer {
 public:
  Placer(const Plan& plan, std::span<const std::int64_t> values) : plan_(plan), values_(values) {
    const std::size_t n = plan.tensors.size();
    out_.descs.resize(n);
    out_.roots.assign(n, -1);
    out_.offsets.resize(n);
    out_.span_bytes.resize(n);
    out_.starts.resize(n);
    out_.boxed.assign(n, true);
  }

  Placement run() {
    std::vector<std::int32_t> path;
    for (std::size_t i = 0; i < plan_.tensors.size(); ++i) {
      path.clear();
      for (auto at = static_cast<std::int32_t>(i); at >= 0 && out_.roots[static_cast<std::size_t>(at)] < 0;
           at = plan_.tensors[static_cast<std::size_t>(at)].parent) {
        path.push_back(at);
        if (path.size() > plan_.tensors.size()) bad(plan_, at, "is a view in a circle of views");
      }
      for (std::size_t k = path.size(); k-- > 0;) place(path[k]);
    }
    return std::move(out_);
  }

 private:
  void place(std::int32_t index) {
    const auto i = static_cast<std::size_t>(index);
    const PlanTensor& t = plan_.tensors[i];
    TensorDesc& desc = out_.descs[i];
    desc.dtype = t.dtype;
    desc.layout = t.layout;
    desc.format = t.format;
    desc.shape = resolve(t.shape, values_);
    for (std::int64_t extent : desc.shape)
      if (extent < 0)
        bad(plan_, index, "would have the shape " + to_string(desc.shape) + " for these inputs");
    out_.starts[i].assign(desc.shape.size(), 0);
    if (t.view == ViewKind::none) {
      out_.roots[i] = index;
      desc.strides = dense_strides(desc.shape, t.layout);
    } else {
      const auto p = static_cast<std::size_t>(t.parent);
      out_.roots[i] = out_.roots[p];
      out_.offsets[i] = out_.offsets[p];
      t.view == ViewKind::alias ? place_alias(index, p) : place_window(index, p);
    }
    try {
      out_.span_bytes[i] = t.role == TensorRole::weight ? t.weight_bytes : desc.span_bytes();
      static_cast<void>(desc.elements());
    } catch (const Error& e) {
      bad(plan_, index, e.what());
    }
  }

  void place_alias(std::int32_t index, std::size_t p) {
    const auto i = static_cast<std::size_t>(index);
    TensorDesc& desc = out_.descs[i];
    const TensorDesc& parent = out_.descs[p];
    if (desc.shape == parent.shape && desc.layout == parent.layout) {
      desc.strides = parent.strides;
      out_.starts[i] = out_.starts[p];
      out_.boxed[i] = out_.boxed[p];
      return;
    }
    desc.strides = dense_strides(desc.shape, desc.layout);
    const bool same_order =
        row_major(desc) && row_major(parent) && element_count(desc.shape) == element_count(parent.shape);
    if (!same_order && !channels_moved(desc, parent))
      bad(plan_, index, "is an alias of a tensor that does not hold the same elements in the same order");
    out_.boxed[i] = false;
  }

  void place_window(std::int32_t index, std::size_t p) {
    const auto i = static_cast<std::size_t>(index);
    TensorDesc& desc = out_.descs[i];
    const TensorDesc& parent = out_.descs[p];
    desc.strides = parent.strides;
    out_.boxed[i] = out_.boxed[p];
    const Shape offsets = resolve(plan_.tensors[i].offsets, values_);
    std::int64_t at = 0;
    for (std::size_t a = 0; a < desc.shape.size(); ++a) {
      if (offsets[a] < 0 || desc.shape[a] > parent.shape[a] || offsets[a] > parent.shape[a] - desc.shape[a])
        bad(plan_, index,
            fmt::format("would reach outside the tensor it is a window of: axis {}, {} + {} of {}", a,
                        offsets[a], desc.shape[a], parent.shape[a]));
      at = checked_add(at, checked_mul(offsets[a], parent.strides[a], "window"), "window");
      out_.starts[i][a] = checked_add(out_.starts[p][a], offsets[a], "window");
    }
    if (std::find(desc.shape.begin(), desc.shape.end(), 0) != desc.shape.end())
      return;  // no element, no address
    out_.offsets[i] += static_cast<std::uint64_t>(
        checked_mul(at, static_cast<std::int64_t>(size_bytes(desc.dtype)), "window"));
  }

  const Plan& plan_;
  std::span<const std::int64_t> values_;
  Placement out_;
};

/// The step after which each tensor holds its value; -1: from the start.
std::vector<std::int32_t> defining_steps(const Plan& plan) {
  const std::size_t n = plan.tensors.size();
  std::vector<std::int32_t> writer(n, -1);
  for (std::size_t s = 0; s < plan.steps.size(); ++s)
    for (std::int32_t t : plan.steps[s].outputs)
      writer[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(s);
  std::vector<std::int32_t> defined = writer;
  // Values travel up from windows to what they are parts of, and down from tensors to their views.
  for (bool changed = true; changed;) {
    changed = false;
    for (std::size_t t = 0; t < n; ++t) {
      if (plan.tensors[t].view == ViewKind::none) continue;
      const auto p = static_cast<std::size_t>(plan.tensors[t].parent);
      const bool up = writer[p] < 0 && plan.tensors[t].view == ViewKind::window;
      if (up && defined[t] > defined[p]) {
        defined[p] = defined[t];
        changed = true;
      }
      const TensorRole role = plan.tensors[p].role;
      const bool up_alias = writer[p] < 0 && plan.tensors[t].view == ViewKind::alias && defined[p] < 0 &&
                            defined[t] >= 0 && role != TensorRole::input && role != TensorRole::weight;
      if (up_alias) {
        defined[p] = defined[t];
        changed = true;
      }
      if (writer[t] < 0 && defined[t] < defined[p]) {
        defined[t] = defined[p];
        changed = true;
      }
    }
  }
  return defined;
}

}  // namespace

Placement place_tensors(const Plan& plan, std::span<const std::int64_t> values) {
  return Placer(plan, values).run();
}

bool overlap(const Placement& placement, std::int32_t a, std::int32_t b) {
  const auto i = static_cast<std::size_t>(a), j = static_cast<std::size_t>(b);
  if (placement.roots[i] != placement.roots[j]) return false;
  if (placement.span_bytes[i] == 0 || placement.span_bytes[j] == 0) return false;
  if (placement.boxed[i] && placement.boxed[j]) {
    for (std::size_t k = 0; k < placement.starts[i].size(); ++k) {
      const std::int64_t x = placement.starts[i][k], y = placement.starts[j][k];
      if (x >= y + placement.descs[j].shape[k] || y >= x + placement.descs[i].shape[k]) return false;
    }
    return true;
  }
  return placement.offsets[i] < placement.offsets[j] + placement.span_bytes[j] &&
         placement.offsets[j] < placement.offsets[i] + placement.span_bytes[i];
}

std::vector<Life> root_lives(const Plan& plan, const Placement& placement) {
  std::vector<Life> lives(plan.tensors.size());
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const auto touch = [&](std::int32_t t) {
      Life& life = lives[static_cast<std::size_t>(placement.roots[static_cast<std::size_t>(t)])];
      if (life.first < 0) life.first = static_cast<std::int32_t>(s);
      life.last = static_cast<std::int32_t>(s);
    };
    for (std::int32_t t : plan.steps[s].inputs) touch(t);
    for (std::int32_t t : plan.steps[s].outputs) touch(t);
  }
  return lives;
}

std::vector<std::string> find_clobbering(const Plan& plan, const Placement& placement) {
  constexpr std::int32_t kForever = INT32_MAX;
  const std::vector<std::int32_t> defined = defining_steps(plan);
  std::vector<std::int32_t> last_read(plan.tensors.size(), -1);
  for (std::size_t s = 0; s < plan.steps.size(); ++s)
    for (std::int32_t t : plan.steps[s].inputs)
      last_read[static_cast<std::size_t>(t)] = static_cast<std::int32_t>(s);
  for (std::int32_t t : plan.outputs) last_read[static_cast<std::size_t>(t)] = kForever;
  std::vector<std::string> found;
  for (std::size_t s = 0; s < plan.steps.size(); ++s) {
    const auto step = static_cast<std::int32_t>(s);
    for (std::int32_t w : plan.steps[s].outputs)
      for (std::size_t v = 0; v < plan.tensors.size(); ++v) {
        const auto other = static_cast<std::int32_t>(v);
        if (other == w || defined[v] >= step || last_read[v] < step || !overlap(placement, w, other))
          continue;
        const auto i = static_cast<std::size_t>(w);
        const bool in_place = last_read[v] == step && placement.offsets[v] == placement.offsets[i] &&
                              placement.descs[v] == placement.descs[i];
        if (!in_place)
          found.push_back(fmt::format("step {} ({}) writes tensor {} over tensor {}, which is still needed",
                                      s, plan.steps[s].op.id, w, other));
      }
  }
  return found;
}

}  // namespace headrace
