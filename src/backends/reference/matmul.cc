// MatMul: rows of b are scaled and added. Reals accumulate in double, integers in 64 bits that wrap.
#include "backends/reference/post.h"
#include "backends/reference/reference.h"

namespace headrace::reference {

namespace {

/// The two matrices of one batch, as strides.
struct Matrices {
  std::int64_t m, k, n;
  std::int64_t a_row, a_col, b_row, b_col;
};

void load(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
          double* to) {
  load_real(dtype, base, offset, stride, n, to);
}
void load(DType dtype, const std::byte* base, std::int64_t offset, std::int64_t stride, std::int64_t n,
          std::uint64_t* to) {
  load_int(dtype, base, offset, stride, n, reinterpret_cast<std::int64_t*>(to));
}

template <class T>
Work make_matmul(const MatMul& op, const Problem& problem) {
  const TensorDesc &a = problem.srcs[0], &b = problem.srcs[1], &dst = problem.dsts[0];
  const std::size_t rank = dst.shape.size(), ra = a.shape.size(), rb = b.shape.size();
  if (ra < 2 || rb < 2 || rank < 2)
    throw Error(ErrorCode::unsupported, "MatMul: operands must have rank 2 or more");
  const std::size_t ak = op.transpose_a ? ra - 2 : ra - 1, am = op.transpose_a ? ra - 1 : ra - 2;
  const std::size_t bk = op.transpose_b ? rb - 1 : rb - 2, bn = op.transpose_b ? rb - 2 : rb - 1;
  const Matrices size{a.shape[am],   a.shape[ak],   b.shape[bn],  a.strides[am],
                      a.strides[ak], b.strides[bk], b.strides[bn]};

  // Batch axes: as the numpy broadcast of the leading axes.
  Nest batch{Shape(dst.shape.begin(), dst.shape.end() - 2), {}};
  const auto leading = [&](const TensorDesc& desc) {
    TensorDesc lead = desc;
    lead.shape.resize(desc.shape.size() - 2);
    lead.strides.resize(desc.shape.size() - 2);
    return broadcast_strides(lead, batch.shape);
  };
  batch.strides = {leading(a), leading(b)};
  for (std::size_t i = 0; i < batch.shape.size(); ++i) {  // and the position in dst
    Strides one(batch.shape.size(), 0);
    one[i] = 1;
    batch.strides.push_back(one);
  }
  const Strides bias = op.has_bias ? broadcast_strides(problem.srcs[2], dst.shape) : Strides{};
  const DType bias_dtype = op.has_bias ? problem.srcs[2].dtype : DType::f32;
  const PostSteps post(op.post, problem, op.has_bias ? 3 : 2);
  constexpr bool kReal = std::is_floating_point_v<T>;
  if (!kReal && (!post.empty() || op.alpha != 1))
    throw Error(ErrorCode::unsupported, "MatMul of integers: alpha and post steps are for reals only");
  const std::size_t operands = problem.srcs.size();
  using Sum = std::conditional_t<kReal, double, std::uint64_t>;
  const auto b_bytes = align64(static_cast<std::size_t>(size.k * size.n) * sizeof(T));
  const auto a_bytes = align64(static_cast<std::size_t>(size.k) * sizeof(double));
  const auto row_bytes = align64(static_cast<std::size_t>(size.n) * sizeof(Sum));
  const double alpha = op.alpha;
  const DType a_dtype = a.dtype, b_dtype = b.dtype;
  const TensorDesc out = dst;

  Work work;
  work.workspace = b_bytes + a_bytes + 2 * row_bytes;
  work.run = [=](Data data, std::byte* workspace) {
    T* right = reinterpret_cast<T*>(workspace);
    Sum* left = reinterpret_cast<Sum*>(workspace + b_bytes);
    Sum* row = reinterpret_cast<Sum*>(workspace + b_bytes + a_bytes);
    Sum* extra = reinterpret_cast<Sum*>(workspace + b_bytes + a_bytes + row_bytes);
    std::int64_t offset[2 + kMaxRank] = {}, previous = -1;
    std::int64_t index[kMaxRank];
    batch.each(offset, [&] {
      if (offset[1] != previous) {  // b as dense [k, n]
        previous = offset[1];
        for (std::int64_t k = 0; k < size.k; ++k) {
          load(b_dtype, data[1], offset[1] + k * size.b_row, size.b_col, size.n, row);
          for (std::int64_t n = 0; n < size.n; ++n) right[k * size.n + n] = static_cast<T>(row[n]);
        }
      }
      for (std::int64_t m = 0; m < size.m; ++m) {
        load(a_dtype, data[0], offset[0] + m * size.a_row, size.a_col, size.k, left);
        std::fill_n(row, size.n, Sum{0});
        for (std::int64_t k = 0; k < size.k; ++k) {
          const T* from = right + k * size.n;
          const Sum factor = left[k];
#pragma GCC ivdep
          for (std::int64_t n = 0; n < size.n; ++n) row[n] += factor * static_cast<Sum>(from[n]);
        }
        std::copy_n(offset + 2, rank - 2, index);
        index[rank - 2] = m;
        index[rank - 1] = 0;
        if constexpr (kReal) {
          if (alpha != 1)
            for (std::int64_t n = 0; n < size.n; ++n) row[n] *= alpha;
        }
        if (!bias.empty()) {
          std::int64_t at = 0;
          for (std::size_t i = 0; i < rank; ++i) at += index[i] * bias[i];
          load(bias_dtype, data[2], at, bias[rank - 1], size.n, extra);
          for (std::int64_t n = 0; n < size.n; ++n) row[n] += extra[n];
        }
        if constexpr (kReal) {
          finish_row(post, out, data, operands, {index, rank}, size.n, row);
        } else {
          std::int64_t at = 0;
          for (std::size_t i = 0; i < rank; ++i) at += index[i] * out.strides[i];
          store_int(out.dtype, data[operands], at, out.strides[rank - 1], size.n,
                    reinterpret_cast<std::int64_t*>(row));
        }
      }
    });
  };
  return work;
}

}  // namespace

Work make(const MatMul& op, const Problem& problem) {
  const DType dtype = problem.srcs[0].dtype;
  if (!is_float(dtype)) return make_matmul<std::uint64_t>(op, problem);
  return dtype == DType::f64 ? make_matmul<double>(op, problem) : make_matmul<float>(op, problem);
}

}  // namespace headrace::reference
