#include "runtime/nan_guard.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>
#include <utility>

#include <headrace/error.h>

#include "base/log.h"
#include "base/sched.h"
#include "core/post.h"

namespace headrace::runtime {
namespace {

class NanScan final : public Kernel {
 public:
  NanScan(std::vector<std::size_t> elements, NanFlag flag)
      : elements_(std::move(elements)), flag_(std::move(flag)) {}
  std::string_view name() const override { return "nan scan"; }
  void launch(NativeStream, std::span<std::byte* const> data, std::byte*) const override {
    bool found = false;
    for (std::size_t i = 0; i < elements_.size() && !found; ++i) found = any(data[i], elements_[i]);
    if (found && !flag_->load(std::memory_order_relaxed))
      log(LogSeverity::info, "an input holds NaN or infinity: this inference runs unfused, slower kernels");
    flag_->store(found, std::memory_order_relaxed);
  }

 private:
  static bool any(const std::byte* data, std::size_t elements) {
    constexpr std::size_t kBlock = 4096;
    const auto* values = reinterpret_cast<const float*>(data);
    for (std::size_t begin = 0; begin < elements; begin += kBlock) {
      const std::size_t end = std::min(begin + kBlock, elements);
      std::uint32_t found = 0;  // the sign bit: exponent all ones
      for (std::size_t i = begin; i < end; ++i)
        found |= (std::bit_cast<std::uint32_t>(values[i]) & 0x7f800000u) + 0x00800000u;
      if (found >> 31) return true;
    }
    return false;
  }
  std::vector<std::size_t> elements_;
  NanFlag flag_;
};

/// The problem's operator without post steps, and these as an expression of its result and their operands.
struct Split {
  Problem bare, posts;
};

Split split(const Problem& problem) {
  Split result{problem, problem};
  const std::vector<Post> posts = std::exchange(*posts_of(result.bare.op), {});
  const auto own = static_cast<std::ptrdiff_t>(problem.srcs.size() - post_operands(posts));
  const TensorDesc& dst = problem.dsts[0];
  result.bare.srcs.resize(static_cast<std::size_t>(own));
  result.bare.dsts[0] = TensorDesc::dense(dst.dtype, dst.shape, dst.layout);
  result.posts.srcs.assign(problem.srcs.begin() + own, problem.srcs.end());
  result.posts.srcs.insert(result.posts.srcs.begin(), result.bare.dsts[0]);
  std::vector<DType> loads;
  for (const TensorDesc& d : result.posts.srcs) loads.push_back(d.dtype);
  result.posts.op = Pointwise{post_expr(posts, loads)};
  return result;
}

class Memory {
 public:
  explicit Memory(std::size_t size)
      : data_(static_cast<std::byte*>(::operator new(std::max<std::size_t>(size, 1), kAlignment))) {}
  ~Memory() { ::operator delete(data_, kAlignment); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  std::byte* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  std::byte* data_;
};

class NanGuarded final : public Kernel {
 public:
  NanGuarded(const Engine::State& engine, const ResolvedStep& step, NanFlag flag)
      : engine_(engine),
        fast_(step.kernel),
        tactic_(step.tactic),
        problem_(*step.problem),
        flag_(std::move(flag)) {}
  std::size_t workspace_bytes() const override { return fast_->workspace_bytes(); }
  std::string_view name() const override { return fast_->name(); }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    if (!flag_->load(std::memory_order_relaxed)) return fast_->launch(stream, data, workspace);
    const Exact& exact = this->exact();
    const Memory between(exact.bare_bytes);
    const Memory scratch(std::max(exact.bare->workspace_bytes(), exact.posts->workspace_bytes()));
    const std::size_t own = exact.bare_srcs;
    std::vector<std::byte*> operands(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(own));
    operands.push_back(between.data());
    exact.bare->launch(stream, operands, scratch.data());
    operands.assign(1, between.data());
    operands.insert(operands.end(), data.begin() + static_cast<std::ptrdiff_t>(own), data.end());
    exact.posts->launch(stream, operands, scratch.data());
  }

 private:
  struct Exact {
    std::unique_ptr<Kernel> bare, posts;
    std::size_t bare_srcs = 0, bare_bytes = 0;
  };
  std::unique_ptr<Kernel> make(const Problem& problem) const {
    if (!tactic_->refuses(problem)) return tactic_->make(problem, tactic_->by_rule(problem));
    for (const Backend* backend : {engine_.backend, engine_.reference})
      for (const auto& tactic : backend->tactics)
        if (!tactic->refuses(problem)) return tactic->make(problem, tactic->by_rule(problem));
    throw Error(ErrorCode::unsupported,
                "an input holds NaN or infinity, and no kernel can take them through this step unfused");
  }
  const Exact& exact() const {
    sched::LockGuard lock(mutex_);
    if (!exact_) {
      const Split two = split(problem_);
      exact_ = std::make_unique<Exact>(
          Exact{make(two.bare), make(two.posts), two.bare.srcs.size(), two.bare.dsts[0].span_bytes()});
    }
    return *exact_;
  }

  const Engine::State& engine_;
  std::shared_ptr<const Kernel> fast_;
  const Tactic* tactic_;
  Problem problem_;
  NanFlag flag_;
  mutable sched::Mutex mutex_{"nan_guard"};
  mutable std::unique_ptr<Exact> exact_;
};

}  // namespace

std::shared_ptr<const Kernel> make_nan_scan(std::vector<std::size_t> elements, NanFlag flag) {
  return std::make_shared<NanScan>(std::move(elements), std::move(flag));
}

std::shared_ptr<const Kernel> make_nan_guarded(const Engine::State& engine, const ResolvedStep& step,
                                               NanFlag flag) {
  return std::make_shared<NanGuarded>(engine, step, std::move(flag));
}

}  // namespace headrace::runtime
