#include "onnx/wire.h"

#include "onnx/reader.h"

namespace headrace::onnx {
namespace {

std::pair<std::string_view, std::string_view> read_entry(Reader r) {
  std::pair<std::string_view, std::string_view> entry;
  while (r.next()) {
    if (r.field() == 1)
      entry.first = r.bytes();
    else if (r.field() == 2)
      entry.second = r.bytes();
    else
      r.skip();
  }
  return entry;
}

TensorProto read_tensor_message(Reader r) {
  TensorProto t;
  t.message = r.all();
  while (r.next()) {
    switch (r.field()) {
      case 1: r.integers(t.dims); break;
      case 2: t.data_type = r.integer(); break;
      case 3: throw Error(ErrorCode::unsupported, "segmented tensors are not supported (" + r.where() + ")");
      case 4:
      case 5:
      case 7:
      case 10:
      case 11:
        t.has_typed = true;
        r.skip();
        break;
      case 6:
        t.has_strings = true;
        r.skip();
        break;
      case 8: t.name = r.bytes(); break;
      case 9: t.raw = r.bytes(); break;
      case 13: t.external_data.push_back(read_entry(r.message("StringStringEntryProto"))); break;
      case 14: t.external = r.integer() == 1; break;
      default: r.skip();
    }
  }
  return t;
}

AttributeProto read_attribute(Reader r) {
  AttributeProto a;
  AttributeType seen = AttributeType::undefined;
  while (r.next()) {
    switch (r.field()) {
      case 1: a.name = r.bytes(); break;
      case 2:
        a.real = r.real();
        seen = AttributeType::real;
        break;
      case 3:
        a.integer = r.integer();
        seen = AttributeType::integer;
        break;
      case 4:
        a.string = r.bytes();
        seen = AttributeType::string;
        break;
      case 5:
        a.tensor = read_tensor_message(r.message("TensorProto"));
        seen = AttributeType::tensor;
        break;
      case 6:
        r.skip();
        seen = AttributeType::graph;
        break;
      case 7:
        r.reals(a.reals);
        seen = AttributeType::reals;
        break;
      case 8:
        r.integers(a.integers);
        seen = AttributeType::integers;
        break;
      case 9:
        a.strings.push_back(r.bytes());
        seen = AttributeType::strings;
        break;
      case 10:
        r.skip();
        seen = AttributeType::tensors;
        break;
      case 11:
        r.skip();
        seen = AttributeType::graphs;
        break;
      case 20: {
        const std::int64_t type = r.integer();
        a.type = type >= 1 && type <= 11 ? static_cast<AttributeType>(type)
                 : type == 0             ? AttributeType::undefined
                                         : AttributeType::other;
        break;
      }
      case 21: a.ref_name = r.bytes(); break;
      default: r.skip();
    }
  }
  if (a.type == AttributeType::undefined) a.type = seen;
  return a;
}

NodeProto read_node(Reader r) {
  NodeProto n;
  while (r.next()) {
    switch (r.field()) {
      case 1: n.inputs.push_back(r.bytes()); break;
      case 2: n.outputs.push_back(r.bytes()); break;
      case 3: n.name = r.bytes(); break;
      case 4: n.op_type = r.bytes(); break;
      case 5: n.attributes.push_back(read_attribute(r.message("AttributeProto"))); break;
      case 7: n.domain = r.bytes(); break;
      case 8: n.overload = r.bytes(); break;
      default: r.skip();
    }
  }
  return n;
}

std::vector<DimProto> read_shape(Reader r) {
  std::vector<DimProto> shape;
  while (r.next()) {
    if (r.field() != 1) {
      r.skip();
      continue;
    }
    DimProto dim;
    for (Reader d = r.message("TensorShapeProto.Dimension"); d.next();) {
      if (d.field() == 1)
        dim.value = d.integer();
      else if (d.field() == 2)
        dim.param = d.bytes();
      else
        d.skip();
    }
    shape.push_back(dim);
  }
  return shape;
}

ValueInfoProto read_value_info(Reader r) {
  ValueInfoProto v;
  while (r.next()) {
    if (r.field() == 1) {
      v.name = r.bytes();
    } else if (r.field() == 2) {
      for (Reader t = r.message("TypeProto"); t.next();) {
        switch (t.field()) {
          case 1:
            v.kind = "tensor";
            for (Reader tensor = t.message("TypeProto.Tensor"); tensor.next();) {
              if (tensor.field() == 1)
                v.data_type = tensor.integer();
              else if (tensor.field() == 2)
                v.shape = read_shape(tensor.message("TensorShapeProto"));
              else
                tensor.skip();
            }
            break;
          case 4:
            v.kind = "sequence";
            t.skip();
            break;
          case 5:
            v.kind = "map";
            t.skip();
            break;
          case 8:
            v.kind = "sparse tensor";
            t.skip();
            break;
          case 9:
            v.kind = "optional";
            t.skip();
            break;
          default: t.skip();
        }
      }
    } else {
      r.skip();
    }
  }
  return v;
}

GraphProto read_graph(Reader r) {
  GraphProto g;
  while (r.next()) {
    switch (r.field()) {
      case 1: g.nodes.push_back(read_node(r.message("NodeProto"))); break;
      case 2: g.name = r.bytes(); break;
      case 5: g.initializers.push_back(read_tensor_message(r.message("TensorProto"))); break;
      case 11: g.inputs.push_back(read_value_info(r.message("ValueInfoProto"))); break;
      case 12: g.outputs.push_back(read_value_info(r.message("ValueInfoProto"))); break;
      case 15:
        g.has_sparse_initializers = true;
        r.skip();
        break;
      default: r.skip();
    }
  }
  return g;
}

std::pair<std::string_view, std::int64_t> read_opset(Reader r) {
  std::pair<std::string_view, std::int64_t> opset{"", 0};
  while (r.next()) {
    if (r.field() == 1)
      opset.first = r.bytes();
    else if (r.field() == 2)
      opset.second = r.integer();
    else
      r.skip();
  }
  return opset;
}

FunctionProto read_function(Reader r) {
  FunctionProto f;
  while (r.next()) {
    switch (r.field()) {
      case 1: f.name = r.bytes(); break;
      case 4: f.inputs.push_back(r.bytes()); break;
      case 5: f.outputs.push_back(r.bytes()); break;
      case 6: f.attributes.push_back(r.bytes()); break;
      case 7: f.nodes.push_back(read_node(r.message("NodeProto"))); break;
      case 9: f.opsets.push_back(read_opset(r.message("OperatorSetIdProto"))); break;
      case 10: f.domain = r.bytes(); break;
      case 11: f.attribute_defaults.push_back(read_attribute(r.message("AttributeProto"))); break;
      case 13: f.overload = r.bytes(); break;
      default: r.skip();
    }
  }
  return f;
}

ModelProto read_model_message(Reader r) {
  ModelProto m;
  while (r.next()) {
    switch (r.field()) {
      case 1: m.ir_version = r.integer(); break;
      case 2: m.producer_name = r.bytes(); break;
      case 3: m.producer_version = r.bytes(); break;
      case 7:
        if (m.graph) r.fail("the model has two graphs");
        m.graph = read_graph(r.message("GraphProto"));
        break;
      case 8: m.opsets.push_back(read_opset(r.message("OperatorSetIdProto"))); break;
      case 14: m.metadata.push_back(read_entry(r.message("StringStringEntryProto"))); break;
      case 25: m.functions.push_back(read_function(r.message("FunctionProto"))); break;
      default: r.skip();
    }
  }
  return m;
}

}  // namespace

std::string_view to_string(AttributeType type) {
  constexpr std::string_view kNames[] = {"undefined", "float",         "int",  "string",  "tensor",
                                         "graph",     "floats",        "ints", "strings", "tensors",
                                         "graphs",    "sparse_tensor", "other"};
  return kNames[static_cast<std::size_t>(type)];
}

ModelProto read_model(std::span<const std::byte> bytes) {
  if (bytes.empty()) throw Error(ErrorCode::invalid_model, "the model is empty; expected an ONNX file");
  return read_model_message(Reader(bytes, "ModelProto"));
}

TensorProto read_tensor(std::span<const std::byte> bytes) {
  return read_tensor_message(Reader(bytes, "TensorProto"));
}

}  // namespace headrace::onnx
