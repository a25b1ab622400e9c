#include "onnx/import_node.h"

#include <algorithm>
#include <numeric>

#include "onnx/importer.h"

namespace headrace::onnx {

void invalid(const std::string& message) { throw Error(ErrorCode::invalid_model, message); }
void unsupported(const std::string& message) { throw Error(ErrorCode::unsupported, message); }

Graph& ImportNode::graph() { return state_.graph; }
ShapeProgram& ImportNode::shapes() { return state_.graph.shapes(); }
int ImportNode::opset() const { return record_.opset; }
std::string_view ImportNode::op_type() const { return record_.proto->op_type; }
std::string ImportNode::describe() const {
  return "node " + record_.label + " (" + std::string(op_type()) + ")";
}

// ---- inputs
// -----------------------------------------------------------------------------------------------------------

std::size_t ImportNode::input_count() const { return record_.inputs.size(); }
bool ImportNode::has(std::size_t i) const {
  return i < record_.inputs.size() && record_.inputs[i] != nullptr;
}

ValueId ImportNode::in(std::size_t i) {
  if (!has(i)) invalid("input " + std::to_string(i) + " is missing");
  return state_.value_of(*record_.inputs[i]);
}

DType ImportNode::in_dtype(std::size_t i) {
  if (!has(i)) invalid("input " + std::to_string(i) + " is missing");
  const Slot& slot = *record_.inputs[i];
  return slot.value == kNoValue && slot.host ? slot.host->dtype : dtype(in(i));
}

Dims ImportNode::in_shape(std::size_t i) {
  if (!has(i)) invalid("input " + std::to_string(i) + " is missing");
  const Slot& slot = *record_.inputs[i];
  return slot.value == kNoValue && slot.host ? to_dims(slot.host->shape) : shape(in(i));
}

const HostTensor* ImportNode::constant(std::size_t i) {
  return has(i) ? graph().value(in(i)).constant.get() : nullptr;
}

const HostArray* ImportNode::host(std::size_t i) {
  return has(i) ? state_.host_of(*record_.inputs[i]) : nullptr;
}

void ImportNode::data_dependent(std::size_t i, std::string_view what) const {
  unsupported("input " + std::to_string(i) + " (" + std::string(what) + ", tensor '" +
              record_.inputs[i]->name +
              "') depends on the data of a tensor; only constants, shapes and arithmetic on them, and small "
              "inputs of the model can be used here");
}

Dims ImportNode::host_dims(std::size_t i, std::string_view what) {
  if (!has(i)) invalid("input " + std::to_string(i) + " (" + std::string(what) + ") is missing");
  const HostArray* array = host(i);
  if (array == nullptr || is_float(array->dtype)) data_dependent(i, what);
  return array->values;
}

Reals ImportNode::host_reals(std::size_t i, std::string_view what) {
  if (!has(i)) invalid("input " + std::to_string(i) + " (" + std::string(what) + ") is missing");
  Reals reals;
  if (const HostTensor* t = constant(i)) {
    for (std::int64_t k = 0; k < t->elements(); ++k) reals.push_back(t->at_double(k));
    return reals;
  }
  const HostArray* array = host(i);
  if (array == nullptr) data_dependent(i, what);
  for (const Dim& d : array->values)
    reals.push_back(array->bits ? Real::of_bits(d) : shapes().to_real(d, array->den));
  return reals;
}

Ints ImportNode::host_ints(std::size_t i, std::string_view what) {
  const Dims dims = host_dims(i, what);
  if (!all_constant(dims)) {
    unsupported("input " + std::to_string(i) + " (" + std::string(what) + ", tensor '" +
                record_.inputs[i]->name + "') must be constant");
  }
  return to_shape(dims);
}

// ---- attributes
// -------------------------------------------------------------------------------------------------------

const AttributeProto* ImportNode::find(std::string_view name, AttributeType type) {
  used_.insert(std::string(name));
  for (const BoundAttribute& a : record_.attributes) {
    if (a.name != name) continue;
    if (type != AttributeType::undefined && a.value->type != type) {
      // An empty list carries no type when the writer left `type` out.
      if (a.value->type == AttributeType::undefined) return a.value;
      invalid("attribute '" + std::string(name) + "' is of type " + std::string(to_string(a.value->type)) +
              "; expected " + std::string(to_string(type)));
    }
    return a.value;
  }
  return nullptr;
}

namespace {
[[noreturn]] void missing(std::string_view name) {
  invalid("attribute '" + std::string(name) + "' is missing");
}
}  // namespace

bool ImportNode::has_attr(std::string_view name) { return find(name, AttributeType::undefined) != nullptr; }

std::int64_t ImportNode::attr_int(std::string_view name, std::optional<std::int64_t> fallback) {
  if (const auto* a = find(name, AttributeType::integer)) return a->integer;
  if (!fallback) missing(name);
  return *fallback;
}

double ImportNode::attr_real(std::string_view name, std::optional<double> fallback) {
  if (const auto* a = find(name, AttributeType::real)) return a->real;
  if (!fallback) missing(name);
  return *fallback;
}

std::string ImportNode::attr_string(std::string_view name, std::optional<std::string> fallback) {
  if (const auto* a = find(name, AttributeType::string)) return std::string(a->string);
  if (!fallback) missing(name);
  return *fallback;
}

std::optional<Ints> ImportNode::attr_ints(std::string_view name) {
  if (const auto* a = find(name, AttributeType::integers)) return a->integers;
  return std::nullopt;
}

std::optional<std::vector<double>> ImportNode::attr_reals(std::string_view name) {
  if (const auto* a = find(name, AttributeType::reals))
    return std::vector<double>(a->reals.begin(), a->reals.end());
  return std::nullopt;
}

const TensorProto& ImportNode::attr_tensor(std::string_view name) {
  const auto* a = find(name, AttributeType::tensor);
  if (a == nullptr || !a->tensor) missing(name);
  return *a->tensor;
}

HostTensor ImportNode::tensor(const TensorProto& proto) { return state_.tensor(proto); }

// ---- outputs
// ----------------------------------------------------------------------------------------------------------

std::size_t ImportNode::output_count() const { return record_.outputs.size(); }
bool ImportNode::wants(std::size_t i) const {
  return i < record_.outputs.size() && record_.outputs[i] != nullptr;
}

void ImportNode::out(std::size_t i, ValueId value) {
  if (!wants(i)) return;
  Slot& slot = *record_.outputs[i];
  slot.value = value;
  auto& names = graph().value(value).names;
  if (std::find(names.begin(), names.end(), slot.name) == names.end()) names.push_back(slot.name);
}

void ImportNode::out(std::size_t i, HostArray array) {
  if (wants(i)) record_.outputs[i]->host = std::make_shared<const HostArray>(std::move(array));
}

void ImportNode::finish() {
  for (const BoundAttribute& a : record_.attributes) {
    if (!used_.contains(a.name)) unsupported("unknown attribute '" + std::string(a.name) + "'");
  }
  for (std::size_t i = 0; i < record_.outputs.size(); ++i) {
    const Slot* slot = record_.outputs[i];
    if (slot != nullptr && slot->value == kNoValue && !slot->host) {
      unsupported("output " + std::to_string(i) + " ('" + slot->name + "') is not supported");
    }
  }
}

// ---- building
// ---------------------------------------------------------------------------------------------------------

std::vector<ValueId> ImportNode::add_all(Op op, std::vector<ValueId> inputs) {
  const NodeId id = graph().add(std::move(op), std::move(inputs),
                                {record_.label + " (" + std::string(record_.proto->op_type) + ")"});
  return graph().node(id).outputs;
}
ValueId ImportNode::add(Op op, std::vector<ValueId> inputs) {
  return add_all(std::move(op), std::move(inputs)).at(0);
}

ValueId ImportNode::constant_value(HostTensor tensor) { return graph().add_constant(std::move(tensor)); }

ValueId ImportNode::scalar(double value, DType dtype) {
  HostTensor t(dtype, Shape{});
  t.set_double(0, value);
  return constant_value(std::move(t));
}

ValueId ImportNode::materialise(const HostArray& array) { return state_.materialise(array, {}); }

ValueId ImportNode::pointwise(std::vector<ValueId> inputs,
                              const std::function<void(PwExpr&, const std::vector<std::int32_t>&)>& build) {
  Pointwise op;
  std::vector<std::int32_t> loads;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    loads.push_back(op.expr.load(static_cast<std::int32_t>(i), dtype(inputs[i])));
  }
  build(op.expr, loads);
  return add(std::move(op), std::move(inputs));
}

ValueId ImportNode::unary(PwOp op, ValueId x, double alpha, double beta) {
  const DType t = dtype(x);
  return pointwise({x}, [&](PwExpr& e, const auto& in) { e.op(op, t, in[0], -1, -1, alpha, beta); });
}

namespace {
void same_dtype(ImportNode& n, ValueId a, ValueId b) {
  if (n.dtype(a) != n.dtype(b)) {
    invalid("inputs of different types " + std::string(to_string(n.dtype(a))) + " and " +
            std::string(to_string(n.dtype(b))));
  }
}
}  // namespace

ValueId ImportNode::binary(PwOp op, ValueId a, ValueId b) {
  same_dtype(*this, a, b);
  const DType t = dtype(a);
  return pointwise({a, b}, [&](PwExpr& e, const auto& in) { e.op(op, t, in[0], in[1]); });
}

ValueId ImportNode::compare(PwOp op, ValueId a, ValueId b) {
  same_dtype(*this, a, b);
  return pointwise({a, b}, [&](PwExpr& e, const auto& in) { e.op(op, DType::boolean, in[0], in[1]); });
}

ValueId ImportNode::cast(ValueId x, DType to) {
  if (dtype(x) == to) return x;
  return pointwise({x}, [&](PwExpr& e, const auto& in) { e.op(PwOp::cast, to, in[0]); });
}

ValueId ImportNode::reshape(ValueId x, Dims to) {
  return shape(x) == to ? x : add(Reshape{std::move(to)}, {x});
}

ValueId ImportNode::transpose(ValueId x, Ints perm) { return add(Transpose{std::move(perm)}, {x}); }

// ---- helpers
// ----------------------------------------------------------------------------------------------------------

std::int64_t normal_axis(std::int64_t axis, std::int64_t rank, std::string_view what) {
  if (axis < -rank || axis >= rank) {
    invalid(std::string(what) + " " + std::to_string(axis) + " is outside [-" + std::to_string(rank) + ", " +
            std::to_string(rank) + ")");
  }
  return axis < 0 ? axis + rank : axis;
}

Ints normal_axes(Ints axes, std::int64_t rank) {
  for (auto& a : axes) a = normal_axis(a, rank);
  std::sort(axes.begin(), axes.end());
  const auto twice = std::adjacent_find(axes.begin(), axes.end());
  if (twice != axes.end()) invalid("axis " + std::to_string(*twice) + " is named twice");
  return axes;
}

bool depends_on_input_value(const ShapeProgram& shapes, Dim d) {
  if (d.is_constant()) return false;
  std::vector<bool> seen(shapes.exprs().size());
  std::vector<std::int32_t> todo{d.expr};
  while (!todo.empty()) {
    const std::int32_t i = todo.back();
    todo.pop_back();
    if (seen[static_cast<std::size_t>(i)]) continue;
    seen[static_cast<std::size_t>(i)] = true;
    const DimExpr& e = shapes.exprs()[static_cast<std::size_t>(i)];
    if (e.op == DimOp::symbol) {
      const Symbol& s = shapes.symbols()[static_cast<std::size_t>(e.a.value)];
      if (s.sources.at(0).reads_data()) return true;
      continue;
    }
    for (const Dim& operand : {e.a, e.b, e.c}) {
      if (!operand.is_constant()) todo.push_back(operand.expr);
    }
  }
  return false;
}

namespace {
bool non_negative(const ShapeProgram& shapes, Dim d, int depth) {
  if (d.is_constant()) return d.value >= 0;
  if (depth > 32) return false;
  const DimExpr& e = shapes.exprs()[static_cast<std::size_t>(d.expr)];
  auto a = [&](Dim x) { return non_negative(shapes, x, depth + 1); };
  switch (e.op) {
    case DimOp::symbol:
      return shapes.symbols()[static_cast<std::size_t>(e.a.value)].sources.at(0).kind == SymbolSource::dim;
    case DimOp::add:
    case DimOp::mul:
    case DimOp::floor_div:
    case DimOp::ceil_div:
    case DimOp::trunc_div:
    case DimOp::min: return a(e.a) && a(e.b);
    case DimOp::max: return a(e.a) || a(e.b);
    case DimOp::mod: return a(e.b);
    case DimOp::eq:
    case DimOp::lt: return true;
    case DimOp::select: return a(e.b) && a(e.c);
    case DimOp::scale: return a(e.a);
    case DimOp::range_count: return true;
    case DimOp::sub:
    case DimOp::to_fixed:
    case DimOp::to_real: return false;
  }
  return false;
}
}  // namespace

bool is_non_negative(const ShapeProgram& shapes, Dim d) { return non_negative(shapes, d, 0); }

Dim ratio(ShapeProgram& shapes, Dims a, Dims b) {
  std::int64_t ca = 1, cb = 1;
  Dims ra, rb;
  auto split = [](const Dims& dims, std::int64_t& number, Dims& rest) {
    for (const Dim& d : dims) {
      if (!d.is_constant())
        rest.push_back(d);
      else if (__builtin_mul_overflow(number, d.value, &number))
        invalid("the number of elements does not fit into 64 bits");
    }
  };
  split(a, ca, ra);
  split(b, cb, rb);
  for (auto it = rb.begin(); it != rb.end();) {
    const auto same = std::find(ra.begin(), ra.end(), *it);
    if (same == ra.end()) {
      ++it;
    } else {
      ra.erase(same);
      it = rb.erase(it);
    }
  }
  if (cb == 0) return Dim(0);
  const std::int64_t g = std::max<std::int64_t>(1, std::gcd(ca, cb));
  ra.push_back(Dim(ca / g));
  rb.push_back(Dim(cb / g));
  const Dim den = shapes.product(rb);
  return den == Dim(1) ? shapes.product(ra) : shapes.floor_div(shapes.product(ra), den);
}

}  // namespace headrace::onnx
