// Local functions of a model: found by name, inlined where they are called.
#include <algorithm>

#include "onnx/importer.h"

namespace headrace::onnx {
namespace {
constexpr int kMaxCallDepth = 64;
}

void ImportState::read_functions() {
  for (const FunctionProto& f : model_.functions) {
    if (!functions_.emplace(FunctionKey{f.domain, f.name, f.overload}, &f).second) {
      invalid("function " + in_quotes(f.name) + " of domain " + in_quotes(f.domain) + " is defined twice");
    }
  }
}

void ImportState::inline_function(const FunctionProto& function, const NodeRecord& call, Scope& caller) {
  const std::string name = in_quotes(function.name);
  if (std::find(call_stack_.begin(), call_stack_.end(), &function) != call_stack_.end()) {
    invalid(describe(call) + ": function " + name + " calls itself" +
            (call_stack_.size() > 1 ? ", through " + in_quotes(call_stack_.back()->name) : ""));
  }
  if (call_stack_.size() >= kMaxCallDepth) {
    unsupported(describe(call) + ": functions are nested more than " + std::to_string(kMaxCallDepth) +
                " deep");
  }
  if (call.inputs.size() > function.inputs.size() || call.outputs.size() > function.outputs.size()) {
    invalid(describe(call) + ": has more inputs or outputs than function " + name);
  }
  Scope scope;
  scope.opsets = function.opsets;
  scope.is_function = true;
  scope.prefix = caller.prefix +
                 (call.proto->name.empty() ? std::string(function.name) : std::string(call.proto->name)) +
                 "/";
  if (scope.prefix.size() > 400) scope.prefix = ".../" + scope.prefix.substr(scope.prefix.size() - 200);
  for (const AttributeProto& a : function.attribute_defaults) scope.attributes[a.name] = &a;
  for (const BoundAttribute& a : call.attributes) {
    const bool known = std::find(function.attributes.begin(), function.attributes.end(), a.name) !=
                           function.attributes.end() ||
                       scope.attributes.contains(a.name);
    if (!known) invalid(describe(call) + ": function " + name + " has no attribute " + in_quotes(a.name));
    scope.attributes[a.name] = a.value;
  }
  for (std::size_t i = 0; i < function.inputs.size(); ++i) {
    Slot* slot = i < call.inputs.size() ? call.inputs[i] : nullptr;
    if (slot == nullptr) slot = &new_slot(std::string(function.inputs[i]));
    if (!scope.names.emplace(std::string(function.inputs[i]), slot).second) {
      invalid("function " + name + ": input " + in_quotes(function.inputs[i]) + " is defined twice");
    }
  }
  call_stack_.push_back(&function);
  add_nodes(function.nodes, scope);
  call_stack_.pop_back();
  for (std::size_t i = 0; i < call.outputs.size(); ++i) {
    if (call.outputs[i] == nullptr) continue;
    const auto it = scope.names.find(function.outputs[i]);
    Slot& outer = *call.outputs[i];
    if (it == scope.names.end()) {
      invalid("function " + name + ": nothing defines its output " + in_quotes(function.outputs[i]));
    }
    const std::string outer_name = outer.name;
    outer = *it->second;
    outer.name = outer_name;
    if (outer.value != kNoValue) graph.value(outer.value).names.push_back(outer_name);
  }
}

}  // namespace headrace::onnx
