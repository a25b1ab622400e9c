// cuda.cublaslt.matmul: MatMul in f32, f16 or bf16 with batches, transpositions, strided operands, alpha,
// bias and post on cuBLASLt. Row-major D = A B is computed as column-major D' = B' A'. In its epilogue: [add
// of a tensor like dst] [a bias along the last axis] [relu or gelu_tanh]; the rest by a pointwise kernel.
// Choice: cuBLASLt's algorithm (cublaslt.h).
#if __has_include(<cublasLt.h>)
#include <algorithm>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/posts.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kMaxLoops = 4096;

bool is_half_or_float(DType t) { return t == DType::f32 || is_half(t); }

/// A row-major matrix as cuBLASLt may read it: contiguous along one of its two axes.
struct Matrix {
  bool transposed = false;  ///< contiguous along its first axis
  std::int64_t ld = 0;
};
std::optional<Matrix> matrix_of(const TensorDesc& desc) {
  const std::size_t rank = desc.shape.size();
  const std::int64_t rows = desc.shape[rank - 2], cols = desc.shape[rank - 1];
  const std::int64_t row_stride = desc.strides[rank - 2], col_stride = desc.strides[rank - 1];
  if ((col_stride == 1 || cols == 1) && (row_stride >= cols || rows == 1))
    return Matrix{false, rows == 1 ? std::max<std::int64_t>(cols, 1) : row_stride};
  if ((row_stride == 1 || rows == 1) && (col_stride >= rows || cols == 1))
    return Matrix{true, cols == 1 ? std::max<std::int64_t>(rows, 1) : col_stride};
  return std::nullopt;
}

/// Strides of the batch axes of an operand against dst's; 0 along axes that broadcast.
std::vector<std::int64_t> batch_strides(const TensorDesc& desc, const Shape& dst) {
  const std::size_t axes = dst.size() - 2, own = desc.shape.size() - 2;
  std::vector<std::int64_t> strides(axes, 0);
  for (std::size_t i = 0; i < own; ++i)
    if (desc.shape[i] != 1) strides[axes - own + i] = desc.strides[i];
  return strides;
}

bool is_row(const TensorDesc& bias, const TensorDesc& dst) {
  return bias.shape.size() >= 1 && bias.shape.back() == dst.shape.back() &&
         bias.elements() == dst.shape.back() && (bias.strides.back() == 1 || bias.shape.back() == 1) &&
         bias.dtype == dst.dtype;
}

struct Plan {
  LtProblem problem;
  std::size_t a = 0, b = 1, c = SIZE_MAX,
              bias = SIZE_MAX;  ///< operands; c, bias: SIZE_MAX where there is none
  std::size_t posts = 0;        ///< how many of them are in the epilogue
  std::size_t operands = 0;     ///< how many of their operands
  struct Offsets {
    std::int64_t a, b, c, d;  ///< elements
  };
  std::vector<Offsets> loops;  ///< one launch each
};

std::uint32_t alignment_of(const TensorDesc& desc, std::span<const std::int64_t> offsets) {
  const auto element = static_cast<std::int64_t>(size_bytes(desc.dtype));
  std::int64_t bytes = 16;
  const auto bound = [&](std::int64_t elements) {
    while (bytes > element && elements * element % bytes != 0) bytes /= 2;
  };
  for (std::int64_t o : offsets) bound(o);
  if (!desc.is_dense()) {
    for (std::int64_t s : desc.strides)
      if (s != 1) bound(s);
    bound(desc.shape.back());
  }
  return static_cast<std::uint32_t>(bytes);
}

/// Nothing, and the reason, where cuBLASLt cannot do it.
std::optional<Plan> plan_of(const Problem& p, const MatMul& op, std::string& why) {
  const TensorDesc &a = p.srcs[0], &b = p.srcs[1], &dst = p.dsts[0];
  const auto am = matrix_of(a), bm = matrix_of(b), dm = matrix_of(dst);
  if (!am || !bm) return why = "an operand is not contiguous along a matrix axis", std::nullopt;
  if (!dm || dm->transposed) return why = "dst is not contiguous along its last axis", std::nullopt;
  const std::size_t rank = dst.shape.size();
  std::int64_t m = dst.shape[rank - 2];
  const std::int64_t n = dst.shape[rank - 1];
  const std::int64_t k = op.transpose_a ? a.shape[a.shape.size() - 2] : a.shape.back();
  Plan plan;

  // The epilogue.
  std::size_t operand = op.has_bias ? 3 : 2;
  const std::vector<Post>& posts = op.post;
  const TensorDesc* c = nullptr;
  bool fits = true;
  if (op.has_bias) {
    if (is_row(p.srcs[2], dst))
      plan.bias = 2;
    else
      fits = false;
  }
  if (fits && plan.posts < posts.size() && posts[plan.posts].op == PwOp::add) {
    const TensorDesc& other = p.srcs[operand];
    const auto cm = other.shape.size() == rank ? matrix_of(other) : std::nullopt;
    if (plan.bias == SIZE_MAX && is_row(other, dst)) {
      plan.bias = operand++;
      ++plan.posts;
      ++plan.operands;
    } else if (other.shape == dst.shape && other.dtype == dst.dtype && cm && !cm->transposed) {
      plan.c = operand++;
      c = &p.srcs[plan.c];
      ++plan.posts;
      ++plan.operands;
    }
  }
  int epilogue = plan.bias != SIZE_MAX ? CUBLASLT_EPILOGUE_BIAS : 0;
  if (fits && plan.posts < posts.size()) {
    if (posts[plan.posts].op == PwOp::relu) {
      epilogue |= CUBLASLT_EPILOGUE_RELU;
      ++plan.posts;
    } else if (posts[plan.posts].op == PwOp::gelu_tanh) {
      epilogue |= CUBLASLT_EPILOGUE_GELU;
      ++plan.posts;
    }
  }

  // Batch axes from the inside out: joined while every operand goes through them with one stride.
  std::vector<std::int64_t> as = batch_strides(a, dst.shape), bs = batch_strides(b, dst.shape);
  std::vector<std::int64_t> ds = batch_strides(dst, dst.shape), cs(ds.size(), 0);
  if (c) cs = batch_strides(*c, dst.shape);
  Shape batch(dst.shape.begin(), dst.shape.end() - 2);
  for (std::size_t i = batch.size(); i-- > 0;) {
    if (batch[i] != 1) continue;
    for (auto* list : {&batch, &as, &bs, &ds, &cs})
      list->erase(list->begin() + static_cast<std::ptrdiff_t>(i));
  }
  const bool a_is_rows = !am->transposed && !op.transpose_a;
  // One b for all: the batch becomes more rows of a.
  while (!batch.empty() && bs.back() == 0 && a_is_rows && as.back() == am->ld * m &&
         ds.back() == dm->ld * m && (!c || cs.back() == matrix_of(*c)->ld * m) && m > 0 &&
         plan.problem.batch == 1) {
    m *= batch.back();
    for (auto* list : {&batch, &as, &bs, &ds, &cs}) list->pop_back();
  }
  LtProblem& lt = plan.problem;
  lt.tf32 = op.tf32 && p.dsts[0].dtype == DType::f32;
  std::int64_t count = 1;
  while (!batch.empty()) {
    const auto joins = [&](const std::vector<std::int64_t>& strides, std::int64_t first) {
      return count == 1 || strides.back() == first * count;
    };
    if (!joins(as, lt.b.batch_stride) || !joins(bs, lt.a.batch_stride) || !joins(ds, lt.d.batch_stride) ||
        !joins(cs, lt.c.batch_stride) || count * batch.back() > INT32_MAX)
      break;
    if (count == 1) {
      lt.b.batch_stride = as.back();
      lt.a.batch_stride = bs.back();
      lt.d.batch_stride = ds.back();
      lt.c.batch_stride = cs.back();
    }
    count *= batch.back();
    for (auto* list : {&batch, &as, &bs, &ds, &cs}) list->pop_back();
  }
  lt.batch = static_cast<std::int32_t>(count);
  plan.loops.push_back({0, 0, 0, 0});
  for (std::size_t i = batch.size(); i-- > 0;) {
    if (static_cast<std::int64_t>(plan.loops.size()) * batch[i] > kMaxLoops)
      return why = "batch axes that broadcast in several ways", std::nullopt;
    std::vector<Plan::Offsets> more;
    for (std::int64_t j = 0; j < batch[i]; ++j)
      for (const Plan::Offsets& o : plan.loops)
        more.push_back({o.a + j * as[i], o.b + j * bs[i], o.c + j * cs[i], o.d + j * ds[i]});
    plan.loops = std::move(more);
  }

  // cuBLASLt's a is our b and the other way round; a row-major [r,c] is a column-major [c,r].
  lt.dtype = dst.dtype;
  const auto column_major = [](const Matrix& view, std::int64_t rows, std::int64_t cols, LtMatrix& to) {
    to.rows = view.transposed ? rows : cols;
    to.cols = view.transposed ? cols : rows;
    to.ld = view.ld;
  };
  column_major(*bm, op.transpose_b ? n : k, op.transpose_b ? k : n, lt.a);
  column_major(*am, op.transpose_a ? k : m, op.transpose_a ? m : k, lt.b);
  lt.transpose_a = op.transpose_b != bm->transposed;
  lt.transpose_b = op.transpose_a != am->transposed;
  lt.d.rows = n;
  lt.d.cols = m;
  lt.d.ld = dm->ld;
  const std::int64_t c_stride = lt.c.batch_stride, d_stride = lt.d.batch_stride;
  lt.c = lt.d;
  lt.c.batch_stride = c ? c_stride : d_stride;
  if (c) lt.c.ld = matrix_of(*c)->ld;
  lt.alpha = static_cast<float>(op.alpha);
  lt.beta = c ? 1.0f : 0.0f;
  lt.epilogue = static_cast<cublasLtEpilogue_t>(epilogue ? epilogue : CUBLASLT_EPILOGUE_DEFAULT);
  std::vector<std::int64_t> ao, bo, co, d_o;
  for (const Plan::Offsets& o : plan.loops) {
    ao.push_back(o.a);
    bo.push_back(o.b);
    co.push_back(o.c);
    d_o.push_back(o.d);
  }
  lt.a.alignment = alignment_of(b, bo);
  lt.b.alignment = alignment_of(a, ao);
  lt.d.alignment = alignment_of(dst, d_o);
  lt.c.alignment = c ? alignment_of(*c, co) : lt.d.alignment;
  return plan;
}

class LtKernel final : public Kernel {
 public:
  LtKernel(LtProduct product, Plan plan, std::size_t dst)
      : product_(std::move(product)), plan_(std::move(plan)), dst_(dst) {}
  std::size_t workspace_bytes() const override { return product_.workspace_bytes(); }
  std::string_view name() const override { return "cublaslt"; }
  void launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const override {
    const auto element = static_cast<std::int64_t>(size_bytes(plan_.problem.dtype));
    const std::byte* bias = plan_.bias == SIZE_MAX ? nullptr : data[plan_.bias];
    for (const Plan::Offsets& o : plan_.loops) {
      std::byte* d = data[dst_] + o.d * element;
      const std::byte* c = plan_.c == SIZE_MAX ? d : data[plan_.c] + o.c * element;
      product_.launch(static_cast<CUstream_st*>(stream), data[plan_.b] + o.b * element,
                      data[plan_.a] + o.a * element, c, d, bias, workspace);
    }
  }

 private:
  LtProduct product_;
  Plan plan_;
  std::size_t dst_;
};

class NoKernel final : public Kernel {
 public:
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override {}
  std::string_view name() const override { return "nothing"; }
};

class CublasLtMatMul final : public Tactic {
 public:
  std::string_view id() const override { return "cuda.cublaslt.matmul"; }

  std::optional<Refusal> refuses(const Problem& p) const override {
    const MatMul* op = op_as<MatMul>(p);
    if (!op) return refuse("not a MatMul");
    std::string why;
    if (!try_cublaslt(&why)) return refuse(why);
    const TensorDesc& dst = p.dsts[0];
    for (std::size_t i = 0; i < p.srcs.size(); ++i) {
      if (!is_half_or_float(p.srcs[i].dtype) || (i < 2 && p.srcs[i].dtype != dst.dtype))
        return refuse(fmt::format("operand {} is {} and dst {}: all are f32, all f16 or all bf16", i,
                                  std::string(to_string(p.srcs[i].dtype)),
                                  std::string(to_string(dst.dtype))));
      if (p.srcs[i].layout == Layout::packed) return refuse("packed operand");
    }
    if (!is_half_or_float(dst.dtype)) return refuse("dst is neither f32, f16 nor bf16");
    if (p.srcs[0].shape.size() > dst.shape.size() || p.srcs[1].shape.size() > dst.shape.size())
      return refuse("operand rank above dst's");
    if ((op->transpose_a ? p.srcs[0].shape[p.srcs[0].shape.size() - 2] : p.srcs[0].shape.back()) == 0)
      return refuse("empty inner axis");
    if (p.srcs.size() + 3 > KernelChain::kMaxArgs) return refuse("too many post operands");
    const auto plan = plan_of(p, *op, why);
    if (!plan) return refuse(why);
    const auto rest = finish(p, *op, *plan);
    return rest ? refuse_pointwise(*rest) : std::nullopt;
  }

  std::vector<Choice> candidates(const Problem& p) const override {
    if (p.dsts[0].elements() == 0) return {Choice{}};
    std::string why;
    std::vector<Choice> choices = LtProduct(plan_of(p, *op_as<MatMul>(p), why)->problem).algorithms();
    if (choices.empty()) choices.push_back({});
    return choices;
  }

  std::unique_ptr<Kernel> make(const Problem& p, const Choice& choice) const override {
    if (const auto refusal = refuses(p))
      throw Error(ErrorCode::invalid_plan, fmt::format("{}: {}", id(), refusal->reason));
    if (p.dsts[0].elements() == 0) return std::make_unique<NoKernel>();
    const MatMul& op = *op_as<MatMul>(p);
    std::string why;
    Plan plan = *plan_of(p, op, why);
    LtProduct product(plan.problem);
    product.choose(choice);
    auto chain = std::make_unique<KernelChain>(fmt::format("{} {}", id(), choice));
    const auto rest = finish(p, op, plan);
    const std::size_t first = (op.has_bias ? 3 : 2) + plan.operands, dst = p.srcs.size();
    const bool bias_is_left = op.has_bias && plan.bias == SIZE_MAX;
    std::vector<KernelChain::Arg> all;
    for (std::size_t i = 0; i <= dst; ++i) all.push_back(KernelChain::operand(i));
    chain->add(std::make_unique<LtKernel>(std::move(product), std::move(plan), dst), std::move(all));
    if (rest) {
      std::vector<KernelChain::Arg> args{KernelChain::operand(dst)};
      if (bias_is_left) args.push_back(KernelChain::operand(2));
      for (std::size_t i = first; i < dst; ++i) args.push_back(KernelChain::operand(i));
      args.push_back(KernelChain::operand(dst));
      chain->add(make_pointwise_kernel(*rest), std::move(args));
    }
    return chain;
  }

 private:
  /// What the epilogue leaves, or nothing.
  static std::optional<Problem> finish(const Problem& p, const MatMul& op, const Plan& plan) {
    const bool bias_is_left = op.has_bias && plan.bias == SIZE_MAX;
    if (!bias_is_left && plan.posts == op.post.size()) return std::nullopt;
    return finishing(p.dsts[0], bias_is_left ? std::optional(p.srcs[2]) : std::nullopt,
                     std::span(op.post).subspan(plan.posts),
                     std::span(p.srcs).subspan((op.has_bias ? 3 : 2) + plan.operands));
  }
};

}  // namespace

std::unique_ptr<Tactic> make_cublaslt_matmul() { return std::make_unique<CublasLtMatMul>(); }

}  // namespace headrace::cuda
#endif
