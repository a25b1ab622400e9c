#include "onnx/importer.h"

#include <algorithm>
#include <filesystem>

#include "base/file.h"
#include "onnx/node_order.h"

namespace headrace::onnx {
namespace {

constexpr std::int64_t kMinOpset = 1, kMaxOpset = 28, kMinIr = 3, kMaxIr = 14;
constexpr std::size_t kMaxInlinedNodes = 200'000, kMaxReported = 50;

bool is_onnx_domain(std::string_view domain) { return domain.empty() || domain == "ai.onnx"; }

}  // namespace

Slot& ImportState::new_slot(std::string name) {
  slots_.push_back({});
  slots_.back().name = std::move(name);
  return slots_.back();
}

void ImportState::error(const Error& e, const std::string& where) {
  if (e.code() != ErrorCode::unsupported) any_invalid_ = true;
  if (errors_.size() >= kMaxReported) {
    ++more_errors_;
    return;
  }
  errors_.push_back(where.empty() ? std::string(e.what()) : where + ": " + e.what());
}

void ImportState::report() {
  if (errors_.empty() && unsupported_operators_.empty()) return;
  std::string text;
  if (!unsupported_operators_.empty()) {
    text += std::to_string(unsupported_operators_.size()) + " unsupported operator" +
            (unsupported_operators_.size() == 1 ? "" : "s") + ":";
    const char* separator = " ";
    for (const auto& [name, labels] : unsupported_operators_) {
      text += separator + name + " (" + std::to_string(labels.size()) + " node" +
              (labels.size() == 1 ? "" : "s") + ", first " + labels.front() + ")";
      separator = ", ";
    }
  }
  for (const std::string& e : errors_) text += (text.empty() ? "" : "\n") + e;
  if (more_errors_ > 0) text += "\n... and " + std::to_string(more_errors_) + " more errors";
  throw Error(any_invalid_ ? ErrorCode::invalid_model : ErrorCode::unsupported, text);
}

void ImportState::check_versions() {
  if (model_.ir_version < kMinIr || model_.ir_version > kMaxIr) {
    const std::string got = std::to_string(model_.ir_version);
    if (model_.ir_version == 0) invalid("not an ONNX model: it has no IR version");
    unsupported("IR version " + got + " is outside [" + std::to_string(kMinIr) + ", " +
                std::to_string(kMaxIr) + "]");
  }
  if (!model_.graph) invalid("the model has no graph");
  bool found = false;
  for (const auto& [domain, version] : model_.opsets) {
    if (!is_onnx_domain(domain)) continue;
    found = true;
    if (version < kMinOpset || version > kMaxOpset) {
      unsupported("opset " + std::to_string(version) + " is outside [" + std::to_string(kMinOpset) + ", " +
                  std::to_string(kMaxOpset) + "]; convert the model with onnx.version_converter");
    }
  }
  if (!found && model_.opsets.empty()) invalid("the model imports no operator set");
  if (model_.graph->has_sparse_initializers) unsupported("sparse initialisers are not supported");
}

std::optional<int> ImportState::opset_of(const Scope& scope, std::string_view domain) const {
  auto find = [&](const OpsetImports& opsets) -> std::optional<int> {
    for (const auto& [name, version] : opsets) {
      if (name == domain || (is_onnx_domain(name) && is_onnx_domain(domain))) {
        return static_cast<int>(std::clamp<std::int64_t>(version, 0, 1'000'000));
      }
    }
    return std::nullopt;
  };
  const auto own = find(scope.opsets);
  return own || !scope.is_function ? own : find(model_.opsets);
}

void ImportState::add_inputs(Scope& scope) {
  std::map<std::string_view, bool> initialised;
  for (const TensorProto& t : model_.graph->initializers) initialised[t.name] = true;
  for (const ValueInfoProto& info : model_.graph->inputs) {
    if (initialised.contains(info.name)) continue;  // a default value: a constant here
    if (scope.names.contains(info.name)) invalid("input " + in_quotes(info.name) + " is defined twice");
    Slot& slot = new_slot(std::string(info.name));
    scope.names[slot.name] = &slot;
    try {
      if (info.kind != "tensor")
        unsupported("is a " + std::string(info.kind) + "; only tensors are supported");
      if (!info.shape)
        unsupported("has no shape, so its rank is unknown; give it one with symbolic dimensions");
      ValueType type{to_dtype(info.data_type), {}};
      const auto index = static_cast<std::int32_t>(graph.inputs().size());
      for (std::size_t axis = 0; axis < info.shape->size(); ++axis) {
        const DimProto& dim = (*info.shape)[axis];
        if (dim.value && *dim.value >= 0) {
          type.shape.push_back(Dim(*dim.value));
          continue;
        }
        const bool named = !dim.value && !dim.param.empty() && dim.param != "?";
        const std::string name = named ? std::string(dim.param) : slot.name + "." + std::to_string(axis);
        type.shape.push_back(
            graph.shapes().symbol(name, {SymbolSource::dim, index, static_cast<std::int32_t>(axis)}));
      }
      slot.value = graph.add_input(slot.name, std::move(type));
    } catch (const Error& e) {
      slot.poisoned = true;
      error(e, "input " + in_quotes(info.name));
    }
  }
}

void ImportState::add_initializers(Scope& scope) {
  for (const TensorProto& t : model_.graph->initializers) {
    if (scope.names.contains(t.name)) {
      error(Error(ErrorCode::invalid_model, "is defined twice"), "initialiser " + in_quotes(t.name));
      continue;
    }
    Slot& slot = new_slot(std::string(t.name));
    scope.names[slot.name] = &slot;
    try {
      slot.value = graph.add_constant(tensor(t), slot.name);
    } catch (const Error& e) {
      slot.poisoned = true;
      error(e, "");
    }
  }
}

std::string ImportState::describe(const NodeRecord& record) const {
  return "node " + record.label + " (" + std::string(record.proto->op_type) + ", opset " +
         std::to_string(record.opset) + ")";
}

void ImportState::poison(NodeRecord& record) {
  for (Slot* slot : record.outputs) {
    if (slot != nullptr) slot->poisoned = true;
  }
}

void ImportState::add_nodes(const std::vector<NodeProto>& nodes, Scope& scope) {
  const auto defined = [&](std::string_view name) { return scope.names.contains(name); };
  for (std::size_t i : node_order(nodes, defined)) add_node(nodes[i], scope);
}

void ImportState::add_node(const NodeProto& proto, Scope& scope) {
  if (++inlined_nodes_ > kMaxInlinedNodes) {
    unsupported("the model has more than " + std::to_string(kMaxInlinedNodes) +
                " nodes after inlining its functions");
  }
  NodeRecord& record = records_.emplace_back();
  record.proto = &proto;
  const std::string_view makes = proto.outputs.empty() ? std::string_view{} : proto.outputs[0];
  record.label = proto.name.empty() ? "making '" + scope.prefix + std::string(makes) + "'"
                                    : "'" + scope.prefix + std::string(proto.name) + "'";
  const auto opset = opset_of(scope, proto.domain);
  record.opset = opset.value_or(0);
  bool poisoned = false;
  for (std::string_view name : proto.inputs) {
    if (name.empty()) {
      record.inputs.push_back(nullptr);
      continue;
    }
    const auto it = scope.names.find(name);
    if (it == scope.names.end()) {
      error(
          Error(
              ErrorCode::invalid_model,
              "input " + in_quotes(name) +
                  " is defined nowhere: it is no initialiser, no graph input and no output of another node"),
          describe(record));
      poisoned = true;
      continue;
    }
    // A slot without a value, a host array and poison is an absent optional input of a function.
    Slot* slot = it->second;
    poisoned |= slot->poisoned;
    record.inputs.push_back(slot->value == kNoValue && !slot->host && !slot->poisoned ? nullptr : slot);
  }
  while (!record.inputs.empty() && record.inputs.back() == nullptr) record.inputs.pop_back();
  for (std::string_view name : proto.outputs) {
    if (name.empty()) {
      record.outputs.push_back(nullptr);
      continue;
    }
    Slot& slot = new_slot(scope.prefix + std::string(name));
    slot.producer = &record;
    slot.producer_output = record.outputs.size();
    scope.names[std::string(name)] = &slot;
    record.outputs.push_back(&slot);
  }
  for (const AttributeProto& a : proto.attributes) {
    const AttributeProto* value = &a;
    if (!a.ref_name.empty()) {
      const auto it = scope.attributes.find(a.ref_name);
      if (it == scope.attributes.end()) continue;  // the call left it out: the operator's default
      value = it->second;
    }
    for (const BoundAttribute& b : record.attributes) {
      if (b.name == a.name) {
        error(Error(ErrorCode::invalid_model, "attribute " + in_quotes(a.name) + " is given twice"),
              describe(record));
        poisoned = true;
      }
    }
    record.attributes.push_back({a.name, value});
  }
  // Unsupported operators are counted even behind other failures, so that the list is complete.
  const auto function = functions_.find(FunctionKey{proto.domain, proto.op_type, proto.overload});
  if (function != functions_.end()) {
    if (poisoned) return poison(record);
    return inline_function(*function->second, record, scope);
  }
  const auto table = operators();
  const auto entry =
      std::lower_bound(table.begin(), table.end(), proto.op_type,
                       [](const OperatorEntry& e, std::string_view name) { return e.name < name; });
  if (!is_onnx_domain(proto.domain) || entry == table.end() || entry->name != proto.op_type) {
    const std::string domain = is_onnx_domain(proto.domain) ? "" : std::string(proto.domain) + ".";
    unsupported_operators_[domain + std::string(proto.op_type)].push_back(record.label);
    return poison(record);
  }
  if (poisoned) return poison(record);
  if (!opset) {
    error(
        Error(ErrorCode::invalid_model, "the model imports no version of domain " + in_quotes(proto.domain)),
        describe(record));
    return poison(record);
  }
  try {
    import_node(record);
  } catch (const Error& e) {
    error(e, describe(record));
    poison(record);
  }
}

void ImportState::import_node(NodeRecord& record) {
  if (try_host(record, 0, /*eager=*/true)) return;
  const auto table = operators();
  const auto entry =
      std::lower_bound(table.begin(), table.end(), record.proto->op_type,
                       [](const OperatorEntry& e, std::string_view name) { return e.name < name; });
  if (record.opset < entry->since) {
    unsupported("the operator is read since opset " + std::to_string(entry->since) +
                ", and this model is of opset " + std::to_string(record.opset) +
                "; convert it with onnx.version_converter");
  }
  ImportNode node(*this, record);
  entry->import(node);
  node.finish();
}

void ImportState::add_outputs(Scope& scope, const ImportOptions& options) {
  std::vector<std::string> names;
  for (const ValueInfoProto& info : model_.graph->outputs) {
    if (std::find(names.begin(), names.end(), info.name) != names.end()) {
      error(Error(ErrorCode::invalid_model, "is listed twice"), "output " + in_quotes(info.name));
      continue;
    }
    names.push_back(std::string(info.name));
  }
  if (names.empty()) invalid("the graph has no outputs");
  for (const std::string& name : options.extra_outputs) {
    if (!scope.names.contains(name)) {
      throw Error(ErrorCode::invalid_argument,
                  "extra output " + in_quotes(name) + ": the model has no tensor of this name");
    }
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  for (const std::string& name : names) {
    const auto it = scope.names.find(name);
    if (it == scope.names.end()) {
      error(Error(ErrorCode::invalid_model, "is defined nowhere"), "output " + in_quotes(name));
      continue;
    }
    if (it->second->poisoned) continue;
    ValueId value = value_of(*it->second);
    // An output has memory of its own: inputs, constants and values that are outputs already are copied.
    const Value& v = graph.value(value);
    if (v.producer == kNoNode || graph.is_output(value)) {
      Pointwise copy;
      copy.expr.load(0, v.type.dtype);
      value = graph.add1(std::move(copy), {value}, std::vector{"output " + in_quotes(name)});
      graph.value(value).names.push_back(name);
    }
    graph.add_output(name, value);
  }
}

Graph ImportState::run(const ImportOptions& options) {
  check_versions();
  for (const auto& [key, value] : model_.metadata) graph.metadata[std::string(key)] = value;
  if (!model_.producer_name.empty()) graph.metadata["producer"] = model_.producer_name;
  read_functions();
  Scope scope;
  scope.opsets = model_.opsets;
  add_inputs(scope);
  add_initializers(scope);
  add_nodes(model_.graph->nodes, scope);
  if (errors_.empty() && unsupported_operators_.empty()) add_outputs(scope, options);
  report();
  graph.erase_dead();
  return std::move(graph);
}

Graph import_bytes(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                   const std::string& folder, const ImportOptions& options) {
  if (!owner) {  // initialisers alias the bytes: keep a copy when nobody promises to
    auto copy = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
    bytes = *copy;
    owner = copy;
  }
  const ModelProto model = read_model(bytes);
  return ImportState(model, std::move(owner), folder).run(options);
}

Graph import_file(const std::string& path, const ImportOptions& options) {
  auto file = std::make_shared<const MappedFile>(path);
  std::string folder = std::filesystem::path(path).parent_path().string();
  if (folder.empty()) folder = ".";
  try {
    return import_bytes(file->bytes(), file, folder, options);
  } catch (Error& e) {
    throw e.add_context("while importing " + path);
  }
}

std::pair<std::string, HostTensor> read_tensor_proto(std::span<const std::byte> bytes) {
  const TensorProto proto = read_tensor(bytes);
  return {std::string(proto.name), to_host_tensor(proto, nullptr, {})};
}

std::vector<std::pair<std::string, int>> supported_operators() {
  std::vector<std::pair<std::string, int>> names;
  for (const OperatorEntry& e : operators()) names.emplace_back(e.name, e.since);
  return names;
}

}  // namespace headrace::onnx
