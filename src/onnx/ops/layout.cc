// Concat, Split, Transpose, Expand, Tile, DepthToSpace, SpaceToDepth: the same elements elsewhere.
#include <numeric>

#include "onnx/import_node.h"

namespace headrace::onnx {

void import_Concat(ImportNode& n) {
  std::vector<ValueId> in;
  for (std::size_t i = 0; i < n.input_count(); ++i) in.push_back(n.in(i));
  if (in.empty()) invalid("has no inputs");
  const std::int64_t axis = normal_axis(n.attr_int("axis"), n.rank(in[0]));
  n.out(0, in.size() == 1 ? in[0] : n.add(Concat{axis}, in));
}

/// Sizes: attribute (before 13), input, or equal parts, the last one smaller (num_outputs, since 18).
void import_Split(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  const std::int64_t axis = normal_axis(n.attr_int("axis", 0), n.rank(x));
  const Dim extent = shape[static_cast<std::size_t>(axis)];
  ShapeProgram& s = n.shapes();
  const auto count = static_cast<std::int64_t>(n.output_count());
  if (count < 1) invalid("has no outputs");
  Dims sizes;
  if (n.has_attr("num_outputs") && n.attr_int("num_outputs") != count)
    invalid("num_outputs is not the number of outputs");
  if (auto given = n.attr_ints("split")) {
    sizes = to_dims(*given);
  } else if (n.has(1)) {
    sizes = n.host_dims(1, "split");
  } else {
    const Dim each = s.ceil_div(extent, Dim(count));
    Dim left = extent;
    for (std::int64_t i = 0; i < count; ++i) {
      const bool even = extent.is_constant() && extent.value % count == 0;
      sizes.push_back(even ? each : s.max(Dim(0), s.min(each, left)));
      left = s.sub(left, each);
    }
  }
  if (static_cast<std::int64_t>(sizes.size()) != count) {
    invalid("split has " + std::to_string(sizes.size()) + " sizes for " + std::to_string(count) + " outputs");
  }
  Dim at = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].is_constant() && sizes[i].value < 0) invalid("a split size is negative");
    Slice op{Dims(shape.size(), Dim(0)), Dims(shape.size(), Dim(1)), shape};
    op.starts[static_cast<std::size_t>(axis)] = at;
    op.sizes[static_cast<std::size_t>(axis)] = sizes[i];
    at = s.add(at, sizes[i]);
    if (n.wants(i)) n.out(i, n.add(std::move(op), {x}));
  }
  if (at.is_constant() && extent.is_constant() && at != extent) {
    invalid("the split sizes add up to " + std::to_string(at.value) + ", not to the extent " +
            std::to_string(extent.value));
  }
}

void import_Transpose(ImportNode& n) {
  const ValueId x = n.in(0);
  Ints perm(static_cast<std::size_t>(n.rank(x)));
  std::iota(perm.rbegin(), perm.rend(), 0);
  if (auto given = n.attr_ints("perm"); given && !given->empty()) perm = *given;
  for (auto& p : perm) p = normal_axis(p, n.rank(x), "perm entry");
  n.out(0, n.transpose(x, perm));
}

void import_Expand(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x);
  Dims to = n.host_dims(1, "shape");
  ShapeProgram& s = n.shapes();
  while (to.size() < shape.size()) to.insert(to.begin(), Dim(1));
  for (std::size_t i = 0; i < shape.size(); ++i) {
    Dim& d = to[i + to.size() - shape.size()];
    const Dim own = shape[i];
    if (own == d || own == Dim(1)) continue;
    if (d == Dim(1))
      d = own;
    else if (d.is_constant() && own.is_constant()) {
      invalid("extent " + std::to_string(own.value) + " does not broadcast to " + std::to_string(d.value));
    } else if (own.is_constant()) {
      d = own;  // 1 or the same, or an error at run time
    } else if (!d.is_constant()) {
      d = s.select(s.eq(d, Dim(1)), own, d);
    }
  }
  n.out(0, to == shape ? x : n.add(Broadcast{to}, {x}));
}

/// [a, b] tiled by [r, s] is [1, a, 1, b] broadcast to [r, a, s, b], reshaped.
void import_Tile(ImportNode& n) {
  const ValueId x = n.in(0);
  const Dims shape = n.shape(x), repeats = n.host_dims(1, "repeats");
  if (repeats.size() != shape.size()) invalid("repeats must have one entry for each axis of the input");
  Dims apart, wide, result;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (repeats[i].is_constant() && repeats[i].value < 0) invalid("a repeat is negative");
    result.push_back(n.shapes().mul(shape[i], repeats[i]));
    if (repeats[i] != Dim(1)) {
      apart.push_back(Dim(1));
      wide.push_back(repeats[i]);
    }
    apart.push_back(shape[i]);
    wide.push_back(shape[i]);
  }
  if (wide == shape)
    n.out(0, x);
  else
    n.out(0, n.reshape(n.add(Broadcast{wide}, {n.reshape(x, apart)}), result));
}

namespace {
std::int64_t read_block(ImportNode& n, ValueId x) {
  const std::int64_t block = n.attr_int("blocksize");
  if (n.rank(x) != 4) invalid("the input must have rank 4");
  if (block < 1 || block > (1 << 20)) invalid("blocksize " + std::to_string(block) + " is out of range");
  return block;
}
}  // namespace

void import_DepthToSpace(ImportNode& n) {
  const ValueId x = n.in(0);
  const std::int64_t block = read_block(n, x);
  const std::string mode = n.attr_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") invalid("attribute mode='" + mode + "'; expected DCR or CRD");
  const Dims d = n.shape(x);
  ShapeProgram& s = n.shapes();
  if (d[1].is_constant() && d[1].value % (block * block) != 0)
    invalid("blocksize^2 does not divide the channels");
  const Dim depth = s.floor_div(d[1], Dim(block * block));
  const Dims to{d[0], depth, s.mul(d[2], Dim(block)), s.mul(d[3], Dim(block))};
  const ValueId apart = mode == "DCR" ? n.reshape(x, {d[0], block, block, depth, d[2], d[3]})
                                      : n.reshape(x, {d[0], depth, block, block, d[2], d[3]});
  const Ints perm = mode == "DCR" ? Ints{0, 3, 4, 1, 5, 2} : Ints{0, 1, 4, 2, 5, 3};
  n.out(0, n.reshape(n.transpose(apart, perm), to));
}

void import_SpaceToDepth(ImportNode& n) {
  const ValueId x = n.in(0);
  const std::int64_t block = read_block(n, x);
  const std::string mode = n.attr_string("mode", "DCR");
  if (mode != "DCR" && mode != "CRD") invalid("attribute mode='" + mode + "'; expected DCR or CRD");
  const Dims d = n.shape(x);
  ShapeProgram& s = n.shapes();
  for (std::size_t i = 2; i < 4; ++i) {
    if (d[i].is_constant() && d[i].value % block != 0)
      invalid("blocksize does not divide axis " + std::to_string(i));
  }
  const Dim h = s.floor_div(d[2], Dim(block)), w = s.floor_div(d[3], Dim(block));
  const ValueId apart = n.reshape(x, {d[0], d[1], h, block, w, block});
  const Ints perm = mode == "DCR" ? Ints{0, 3, 5, 1, 2, 4} : Ints{0, 1, 3, 5, 2, 4};
  n.out(0, n.reshape(n.transpose(apart, perm), {d[0], s.mul(d[1], Dim(block * block)), h, w}));
}

}  // namespace headrace::onnx
