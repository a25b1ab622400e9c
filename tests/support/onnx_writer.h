// A small writer of ONNX files, so that tests make their models themselves.
//
//   OnnxWriter w;
//   w.input("x", kOnnxFloat, {"N", 3});
//   w.node("Relu", {"x"}, {"y"});
//   w.output("y", kOnnxFloat, {"N", 3});
//   save("model.onnx", w.model());
// Contract: writes what it is told, also what is wrong; messages follow onnx.proto3.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <protozero/pbf_writer.hpp>

namespace headrace::test {

inline constexpr std::int64_t kOnnxFloat = 1, kOnnxInt64 = 7, kOnnxDouble = 11;

/// A dimension: a number or a symbol.
struct OnnxDim {
  OnnxDim(int v) : value(v) {}  // NOLINT: implicit, for {"N", 3}
  OnnxDim(std::int64_t v) : value(v) {}
  OnnxDim(const char* s) : symbol(s) {}
  std::int64_t value = -1;
  std::string symbol;
};

using OnnxValue = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>>;
struct OnnxAttribute {
  std::string name;
  OnnxValue value;
};

/// TensorProto bytes with raw_data.
template <class T>
std::string onnx_tensor(const std::string& name, std::int64_t type, const std::vector<std::int64_t>& dims,
                        const std::vector<T>& values) {
  std::string out;
  protozero::pbf_writer w(out);
  w.add_packed_int64(1, dims.begin(), dims.end());
  w.add_int64(2, type);
  w.add_string(8, name);
  w.add_bytes(9, reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  return out;
}

class OnnxWriter {
 public:
  void node(const std::string& op, const std::vector<std::string>& inputs,
            const std::vector<std::string>& outputs, const std::vector<OnnxAttribute>& attributes = {},
            const std::string& name = {}, const std::string& domain = {}) {
    graph_.add_message(1, node_message(op, inputs, outputs, attributes,
                                       name.empty() ? outputs.front() + "_node" : name, domain));
  }
  void input(const std::string& name, std::int64_t type, const std::vector<OnnxDim>& dims) {
    graph_.add_message(11, value_info(name, type, dims));
  }
  void output(const std::string& name, std::int64_t type, const std::vector<OnnxDim>& dims) {
    graph_.add_message(12, value_info(name, type, dims));
  }
  template <class T>
  void initializer(const std::string& name, std::int64_t type, const std::vector<std::int64_t>& dims,
                   const std::vector<T>& values) {
    graph_.add_message(5, onnx_tensor(name, type, dims, values));
  }
  /// Any TensorProto bytes.
  void initializer(const std::string& tensor) { graph_.add_message(5, tensor); }
  /// A local function of one node.
  void function(const std::string& domain, const std::string& name, const std::string& op,
                const std::string& op_domain) {
    std::string f;
    protozero::pbf_writer w(f);
    w.add_string(1, name);
    w.add_string(4, "a");
    w.add_string(5, "b");
    w.add_message(7, node_message(op, {"a"}, {"b"}, {}, "inner", op_domain));
    w.add_message(9, opset("", 17));
    w.add_message(9, opset(domain, 1));
    w.add_string(10, domain);
    functions_.push_back(std::move(f));
    domain_ = domain;
  }
  std::string model(std::int64_t opset_version = 17) const {
    std::string out;
    protozero::pbf_writer w(out);
    w.add_int64(1, 8);
    w.add_string(2, "headrace tests");
    w.add_message(7, graph_bytes_);
    w.add_message(8, opset("", opset_version));
    if (!domain_.empty()) w.add_message(8, opset(domain_, 1));
    for (const std::string& f : functions_) w.add_message(25, f);
    return out;
  }

 private:
  static std::string opset(const std::string& domain, std::int64_t version) {
    std::string out;
    protozero::pbf_writer w(out);
    w.add_string(1, domain);
    w.add_int64(2, version);
    return out;
  }
  static std::string value_info(const std::string& name, std::int64_t type,
                                const std::vector<OnnxDim>& dims) {
    std::string shape, tensor, kind, out;
    protozero::pbf_writer shape_writer(shape);
    for (const OnnxDim& d : dims) {
      std::string dim;
      protozero::pbf_writer w(dim);
      if (d.symbol.empty())
        w.add_int64(1, d.value);
      else
        w.add_string(2, d.symbol);
      shape_writer.add_message(1, dim);
    }
    protozero::pbf_writer tensor_writer(tensor);
    tensor_writer.add_int64(1, type);
    tensor_writer.add_message(2, shape);
    protozero::pbf_writer(kind).add_message(1, tensor);
    protozero::pbf_writer w(out);
    w.add_string(1, name);
    w.add_message(2, kind);
    return out;
  }
  static std::string node_message(const std::string& op, const std::vector<std::string>& inputs,
                                  const std::vector<std::string>& outputs,
                                  const std::vector<OnnxAttribute>& attributes, const std::string& name,
                                  const std::string& domain) {
    std::string out;
    protozero::pbf_writer w(out);
    for (const std::string& s : inputs) w.add_string(1, s);
    for (const std::string& s : outputs) w.add_string(2, s);
    w.add_string(3, name);
    w.add_string(4, op);
    for (const OnnxAttribute& a : attributes) {
      std::string message;
      protozero::pbf_writer aw(message);
      aw.add_string(1, a.name);
      if (const auto* i = std::get_if<std::int64_t>(&a.value)) {
        aw.add_int64(3, *i);
        aw.add_int64(20, 2);
      } else if (const auto* f = std::get_if<float>(&a.value)) {
        aw.add_float(2, *f);
        aw.add_int64(20, 1);
      } else if (const auto* s = std::get_if<std::string>(&a.value)) {
        aw.add_string(4, *s);
        aw.add_int64(20, 3);
      } else {
        for (std::int64_t v : std::get<std::vector<std::int64_t>>(a.value)) aw.add_int64(8, v);
        aw.add_int64(20, 7);
      }
      w.add_message(5, message);
    }
    if (!domain.empty()) w.add_string(7, domain);
    return out;
  }

  std::string graph_bytes_, domain_;
  std::vector<std::string> functions_;
  protozero::pbf_writer graph_{graph_bytes_};
};

}  // namespace headrace::test
