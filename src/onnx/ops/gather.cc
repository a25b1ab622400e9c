// Gather, GatherElements, GatherND, ScatterElements, Scatter, ScatterND, TopK.
#include "onnx/import_node.h"

namespace headrace::onnx {

void import_Gather(ImportNode& n) {
  const ValueId data = n.in(0);
  n.out(0, n.add(Gather{normal_axis(n.attr_int("axis", 0), n.rank(data))}, {data, n.in(1)}));
}

void import_GatherElements(ImportNode& n) {
  const ValueId data = n.in(0);
  n.out(0, n.add(GatherElements{normal_axis(n.attr_int("axis", 0), n.rank(data))}, {data, n.in(1)}));
}

void import_GatherND(ImportNode& n) {
  n.out(0, n.add(GatherNd{n.attr_int("batch_dims", 0)}, {n.in(0), n.in(1)}));
}

namespace {
ScatterReduce read_reduction(ImportNode& n) {
  const std::string r = n.attr_string("reduction", "none");
  if (r == "none") return ScatterReduce::none;
  if (r == "add") return ScatterReduce::add;
  if (r == "mul") return ScatterReduce::mul;
  if (r == "min") return ScatterReduce::min;
  if (r == "max") return ScatterReduce::max;
  invalid("attribute reduction='" + r + "'; expected none, add, mul, min or max");
}
}  // namespace

void import_ScatterElements(ImportNode& n) {
  const ValueId data = n.in(0);
  const std::int64_t axis = normal_axis(n.attr_int("axis", 0), n.rank(data));
  n.out(0, n.add(ScatterElements{axis, read_reduction(n)}, {data, n.in(1), n.in(2)}));
}
void import_Scatter(ImportNode& n) { import_ScatterElements(n); }

void import_ScatterND(ImportNode& n) {
  n.out(0, n.add(ScatterNd{read_reduction(n)}, {n.in(0), n.in(1), n.in(2)}));
}

/// k: attribute before opset 10, input from then on.
void import_TopK(ImportNode& n) {
  const ValueId x = n.in(0);
  TopK op;
  if (n.opset() < 10) {
    op.k = n.attr_int("k");
  } else {
    const Dims k = n.host_dims(1, "k");
    if (k.size() != 1) invalid("k must be one number");
    op.k = k[0];
  }
  op.axis = normal_axis(n.attr_int("axis", -1), n.rank(x));
  op.largest = n.attr_flag("largest", true);
  op.sorted = n.attr_flag("sorted", true);
  const auto out = n.add_all(std::move(op), {x});
  n.out(0, out.at(0));
  n.out(1, out.at(1));
}

}  // namespace headrace::onnx
