// A tiny ONNX writer: models for tests, as bytes.
//
//   Model m;  m.input("x", 1, {2, 3}).node("Relu", {"x"}, {"y"}).output("y");  Graph g =
//   import_bytes(m.bytes(), ...);
#pragma once

#include <cctype>
#include <span>
#include <string>
#include <vector>

#include <protozero/pbf_writer.hpp>

#include <headrace/error.h>

#include "onnx/import.h"

namespace headrace::onnx::test {

using Bytes = std::string;

template <class F>
Bytes message(F&& fill) {
  Bytes data;
  protozero::pbf_writer w(data);
  fill(w);
  return data;
}

inline Bytes attr(const std::string& name, std::int64_t v) {
  return message([&](auto& w) {
    w.add_string(1, name);
    w.add_int64(3, v);
    w.add_int32(20, 2);
  });
}
inline Bytes attr(const std::string& name, int v) { return attr(name, static_cast<std::int64_t>(v)); }
inline Bytes attr(const std::string& name, float v) {
  return message([&](auto& w) {
    w.add_string(1, name);
    w.add_float(2, v);
    w.add_int32(20, 1);
  });
}
inline Bytes attr(const std::string& name, const char* v) {
  return message([&](auto& w) {
    w.add_string(1, name);
    w.add_bytes(4, v);
    w.add_int32(20, 3);
  });
}
inline Bytes attr(const std::string& name, std::vector<std::int64_t> v) {
  return message([&](auto& w) {
    w.add_string(1, name);
    w.add_packed_int64(8, v.begin(), v.end());
    w.add_int32(20, 7);
  });
}
inline Bytes attr_ref(const std::string& name, const std::string& of) {
  return message([&](auto& w) {
    w.add_string(1, name);
    w.add_int32(20, 1);
    w.add_string(21, of);
  });
}

using Names = std::vector<std::string>;
inline Bytes node(const std::string& op, const Names& in, const Names& out,
                  const std::vector<Bytes>& attributes = {}, const std::string& domain = "",
                  const std::string& name = "") {
  return message([&](auto& w) {
    for (const auto& n : in) w.add_string(1, n);
    for (const auto& n : out) w.add_string(2, n);
    if (!name.empty()) w.add_string(3, name);
    w.add_string(4, op);
    for (const auto& a : attributes) w.add_message(5, a);
    if (!domain.empty()) w.add_string(7, domain);
  });
}

template <class T>
Bytes tensor(const std::string& name, int type, const std::vector<std::int64_t>& dims,
             const std::vector<T>& values) {
  return message([&](auto& w) {
    w.add_packed_int64(1, dims.begin(), dims.end());
    w.add_int32(2, type);
    w.add_string(8, name);
    w.add_bytes(9, reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
  });
}
inline Bytes floats(const std::string& name, std::vector<std::int64_t> dims, std::vector<float> values) {
  return tensor(name, 1, dims, values);
}
inline Bytes ints(const std::string& name, std::vector<std::int64_t> dims, std::vector<std::int64_t> values) {
  return tensor(name, 7, dims, values);
}

class Model {
 public:
  int opset = 17, ir = 8;

  Model& input(const std::string& name, int type, const Names& dims) { return value(11, name, type, dims); }
  Model& output(const std::string& name) { return value(12, name, 1, {}); }
  Model& node(const std::string& op, const Names& in, const Names& out,
              const std::vector<Bytes>& attributes = {}, const std::string& domain = "",
              const std::string& name = "") {
    return add(1, test::node(op, in, out, attributes, domain, name));
  }
  Model& initializer(const Bytes& tensor) { return add(5, tensor); }
  Model& function(const std::string& name, const Names& in, const Names& out, const std::vector<Bytes>& nodes,
                  const Names& attributes = {}) {
    functions_.push_back(message([&](auto& w) {
      w.add_string(1, name);
      for (const auto& n : in) w.add_string(4, n);
      for (const auto& n : out) w.add_string(5, n);
      for (const auto& n : attributes) w.add_string(6, n);
      for (const auto& n : nodes) w.add_message(7, n);
      w.add_string(10, "local");
    }));
    return *this;
  }
  /// The graph comes last, so that no proper prefix is a model.
  Bytes bytes() const {
    return message([&](auto& w) {
      w.add_int64(1, ir);
      w.add_message(8, message([&](auto& o) {
                      o.add_string(1, "");
                      o.add_int64(2, opset);
                    }));
      w.add_message(8, message([&](auto& o) {
                      o.add_string(1, "local");
                      o.add_int64(2, 1);
                    }));
      for (const auto& f : functions_) w.add_message(25, f);
      w.add_message(7, graph_);
    });
  }
  Graph import(const std::string& folder = {}) const {
    const Bytes data = bytes();
    return import_bytes(std::as_bytes(std::span(data)), nullptr, folder);
  }
  /// The message of the Error that importing throws; "" when it does not.
  std::string error(const std::string& folder = {}) const {
    try {
      import(folder);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }

 private:
  Model& add(int field, const Bytes& m) {
    protozero::pbf_writer(graph_).add_message(static_cast<protozero::pbf_tag_type>(field), m);
    return *this;
  }
  /// A dim that starts with a digit or '-' is a number, else a name.
  Model& value(int field, const std::string& name, int type, const Names& dims) {
    const Bytes shape = message([&](auto& w) {
      for (const auto& d : dims) {
        w.add_message(1, message([&](auto& x) {
                        if (!d.empty() && (std::isdigit(d[0]) || d[0] == '-'))
                          x.add_int64(1, std::stoll(d));
                        else
                          x.add_string(2, d);
                      }));
      }
    });
    return add(field, message([&](auto& w) {
                 w.add_string(1, name);
                 w.add_message(2, message([&](auto& t) {
                                 t.add_message(1, message([&](auto& x) {
                                                 x.add_int32(1, type);
                                                 x.add_message(2, shape);
                                               }));
                               }));
               }));
  }
  Bytes graph_;
  std::vector<Bytes> functions_;
};

}  // namespace headrace::onnx::test
