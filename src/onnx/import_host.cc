// Slots between the two worlds: host arrays computed from shapes and run-time values, and tensors of the
// graph.
#include "onnx/importer.h"

namespace headrace::onnx {
namespace {
constexpr int kMaxHostDepth = 512;
constexpr std::size_t kMaxValueSymbols = 64;
}  // namespace

/// Computes the node's outputs as host arrays when all its inputs are ones. Eager: during import, for shape
/// arithmetic (no graph inputs' values, and constants of floats are left to constant folding).
bool ImportState::try_host(NodeRecord& record, int depth, bool eager) {
  if (depth > kMaxHostDepth || !is_host_operator(record.proto->op_type)) return false;
  std::vector<const HostArray*> arrays;
  bool symbolic = false, reals = false;
  for (Slot* slot : record.inputs) {
    if (slot == nullptr) {
      arrays.push_back(nullptr);
      continue;
    }
    const bool shape_only = record.proto->op_type == "Shape" || record.proto->op_type == "Size";
    const bool known = slot->host || (slot->value != kNoValue && graph.value(slot->value).constant);
    const HostArray* array = shape_only || (eager && !known) ? nullptr : host_of(*slot, depth + 1);
    if (array == nullptr && !shape_only) return false;
    if (array != nullptr) {
      symbolic |= slot->value == kNoValue;
      reals |= is_float(array->dtype);
    } else {
      symbolic = true;
    }
    arrays.push_back(array);
  }
  if (eager && reals && !symbolic) return false;
  ImportNode node(*this, record);
  auto results = evaluate_host(node, arrays);
  if (!results) return false;
  for (std::size_t i = 0; i < record.outputs.size(); ++i) {
    Slot* slot = record.outputs[i];
    if (slot == nullptr) continue;
    if (i >= results->size()) return false;
    slot->host = std::make_shared<const HostArray>(std::move((*results)[i]));
    slot->host_tried = true;
  }
  if (eager) node.finish();
  return true;
}

const HostArray* ImportState::host_of(Slot& slot, int depth) {
  if (slot.host || slot.host_tried || slot.poisoned) return slot.host.get();
  slot.host_tried = true;
  if (slot.value == kNoValue) return nullptr;
  const Value value = graph.value(slot.value);
  if (value.constant) {
    if (auto array = to_host_array(*value.constant))
      slot.host = std::make_shared<const HostArray>(std::move(*array));
  } else if (value.input_index >= 0) {
    const bool real = is_float(value.type.dtype);
    const bool integer = value.type.dtype == DType::i64 || value.type.dtype == DType::i32 ||
                         value.type.dtype == DType::boolean;
    if ((!integer && !real) || !all_constant(value.type.shape)) return nullptr;
    const SymbolSource::Kind kind = real ? SymbolSource::real : SymbolSource::value;
    HostArray array{value.type.dtype, to_shape(value.type.shape), {}, 1, real};
    const std::int64_t count = element_count(array.shape);
    if (count > static_cast<std::int64_t>(kMaxValueSymbols)) return nullptr;
    for (std::int64_t i = 0; i < count; ++i) {
      array.values.push_back(graph.shapes().symbol(slot.name + "[" + std::to_string(i) + "]",
                                                   {kind, value.input_index, static_cast<std::int32_t>(i)}));
    }
    slot.host = std::make_shared<const HostArray>(std::move(array));
  } else if (slot.producer != nullptr) {
    Slot* made = slot.producer->outputs[slot.producer_output];
    if (made == &slot) {
      try_host(*slot.producer, depth, /*eager=*/false);
    } else {  // a function's output: the slot inside knows
      host_of(*made, depth + 1);
      slot.host = made->host;
    }
  }
  return slot.host.get();
}

ValueId ImportState::materialise(const HostArray& array, const std::string& name) {
  if (array.bits) return materialise(as_fixed(graph.shapes(), array), name);
  if (all_constant(array.values)) return graph.add_constant(to_host_tensor(array), name);
  const bool fraction = is_float(array.dtype) && array.den != 1;
  HostValue op{array.values, array.shape, fraction ? DType::i64 : array.dtype};
  ValueId value =
      graph.add1(std::move(op), {}, name.empty() ? std::vector<std::string>{} : std::vector{name});
  if (fraction) {
    Pointwise divide;
    const auto x = divide.expr.op(PwOp::cast, array.dtype, divide.expr.load(0, DType::i64));
    const auto den = divide.expr.constant(static_cast<double>(array.den), array.dtype);
    divide.expr.op(PwOp::div, array.dtype, x, den);
    value = graph.add1(std::move(divide), {value});
  }
  if (!name.empty()) graph.value(value).names.push_back(name);
  return value;
}

ValueId ImportState::value_of(Slot& slot) {
  if (slot.value == kNoValue) slot.value = materialise(*slot.host, slot.name);
  return slot.value;
}

}  // namespace headrace::onnx
