#include "backends/cuda/codegen_window.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace headrace::cuda {

ChannelVector channel_vector(const TensorDesc& src, const TensorDesc& dst, std::int64_t limit) {
  ChannelVector c;
  const auto src_size = static_cast<std::int64_t>(size_bytes(src.dtype)),
             dst_size = static_cast<std::int64_t>(size_bytes(dst.dtype));
  c.src_chunk = src_size;
  c.dst_chunk = dst_size;
  if (src.strides[1] != 1 || dst.strides[1] != 1) return c;
  c.V = std::min<std::int64_t>(limit, 16 / std::max(src_size, dst_size));
  while (c.V > 1 && (dst.shape[1] % c.V != 0 || src.shape[1] % c.V != 0)) c.V /= 2;
  const auto chunk = [&](const TensorDesc& d, std::int64_t size) {
    Strides steps;
    for (std::size_t a = 0; a < d.strides.size(); ++a)
      if (a != 1 && d.shape[a] > 1) steps.push_back(d.strides[a]);
    return c.V > 1 ? access_bytes(c.V, size, steps) : size;
  };
  c.src_chunk = chunk(src, src_size);
  c.dst_chunk = chunk(dst, dst_size);
  return c;
}

std::string positions(const TensorDesc& dst, const std::vector<std::int64_t>& steps,
                      const std::string& flat) {
  std::vector<std::size_t> order(dst.shape.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::abs(dst.strides[a]) > std::abs(dst.strides[b]);
  });
  std::string out = "  uidx r_ = " + flat + ";\n";
  for (std::size_t k = order.size(); k-- > 0;) {
    const std::size_t a = order[k];
    const std::int64_t n = std::max<std::int64_t>(1, divide_up(dst.shape[a], steps[a]));
    out += fmt::format("  const idx i{} = (idx)(r_ % {}u) * {}; r_ /= {}u;\n", a, n, steps[a], n);
  }
  return out;
}

std::int64_t position_count(const TensorDesc& dst, const std::vector<std::int64_t>& steps) {
  std::int64_t n = 1;
  for (std::size_t a = 0; a < dst.shape.size(); ++a) n *= divide_up(dst.shape[a], steps[a]);
  return n;
}

std::string offset_text(const TensorDesc& desc, std::size_t first, std::size_t last) {
  std::string out = "0";
  for (std::size_t a = first; a < last; ++a)
    if (desc.shape[a] != 1) out += fmt::format(" + i{} * (idx){}", a, desc.strides[a]);
  return out;
}

std::string index_text(const std::string& at, std::int64_t extent) {
  return fmt::format(
      "i64 j = (i64)indices[{0}]; j = j < 0 ? j + {1} : j; j = j < 0 ? 0 : j >= {1} ? {1} - 1 : j;", at,
      extent);
}

bool is_wide(std::initializer_list<const TensorDesc*> descs) {
  for (const TensorDesc* d : descs)
    if (is_wide(make_nest(d->shape, {d->strides}))) return true;
  return false;
}

PostCode post_code(const std::vector<Post>& post, const std::vector<TensorDesc>& srcs, std::size_t first,
                   const TensorDesc& dst, std::int64_t V, const std::string& value) {
  PostCode code;
  if (post.empty()) {
    code.call = value;
    return code;
  }
  const char* R = dst.dtype == DType::f64 ? "double" : "float";
  code.call = "post(" + value;
  std::size_t k = 0;
  for (const Post& p : post) {
    if (arity(p.op) != 2) continue;
    TensorDesc b = srcs[first + k];
    const Strides strides = broadcast_strides(b, dst.shape);
    std::string at = "0";
    Strides steps;
    for (std::size_t a = 0; a < strides.size(); ++a) {
      if (strides[a] != 0) at += fmt::format(" + i{} * (idx){}", a, strides[a]);
      if (a != 1) steps.push_back(strides[a]);
    }
    const auto size = static_cast<std::int64_t>(size_bytes(b.dtype));
    const std::string p_name = "q" + std::to_string(k), T = type_name(b.dtype);
    const std::int64_t step = strides.size() > 1 ? strides[1] : 0;
    if (step == 1)
      code.loads += fmt::format(
          "    alignas(16) {0} e{1}[{2}]; load<{2}, {3}>(e{1}, {4} + ({5}), is_aligned({4}, {3}));\n", T, k,
          V, access_bytes(V, size, steps), p_name, at);
    else
      code.loads += fmt::format(
          "    {0} e{1}[{2}];\n#pragma unroll\n    for (int v = 0; v < {2}; ++v) e{1}[v] = {3}[{4} + v "
          "* (idx){5}];\n",
          T, k, V, p_name, at, step);
    code.call += fmt::format(", ({})reg(e{}[v])", R, k);
    ++k;
  }
  code.call += ")";
  return code;
}

}  // namespace headrace::cuda
