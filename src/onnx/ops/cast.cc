// Cast, CastLike, Identity, Dropout, Constant, Shape, Size: values that are passed on, converted or known.
#include "onnx/import_node.h"

namespace headrace::onnx {

void import_Cast(ImportNode& n) {
  n.ignore_attr("saturate");  // both only for 8-bit floats
  n.ignore_attr("round_mode");
  n.out(0, n.cast(n.in(0), to_dtype(n.attr_int("to"))));
}
void import_CastLike(ImportNode& n) {
  n.ignore_attr("saturate");
  n.ignore_attr("round_mode");
  n.out(0, n.cast(n.in(0), n.in_dtype(1)));
}
void import_Identity(ImportNode& n) { n.out(0, n.in(0)); }

/// In inference the input passes, and the mask is all true.
void import_Dropout(ImportNode& n) {
  n.ignore_attr("ratio");
  n.ignore_attr("seed");
  if (n.has(2)) {
    const HostArray* training = n.host(2);
    if (training == nullptr || training->values.size() != 1 || training->values[0] != Dim(0)) {
      bool no_effect = false;  // a ratio of 0 drops nothing
      if (const HostTensor* ratio = n.constant(1))
        no_effect = ratio->elements() == 1 && ratio->at_double(0) == 0;
      if (!no_effect) unsupported("training mode is not supported");
    }
  }
  n.out(0, n.in(0));
  if (n.wants(1)) {
    HostTensor yes(DType::boolean, Shape{});
    yes.set_int(0, 1);
    n.out(1, n.add(Broadcast{n.in_shape(0)}, {n.constant_value(std::move(yes))}));
  }
}

void import_Constant(ImportNode& n) {
  if (n.has_attr("value")) {
    n.out(0, n.constant_value(n.tensor(n.attr_tensor("value"))));
  } else if (n.has_attr("value_int")) {
    HostTensor t(DType::i64, Shape{});
    t.set_int(0, n.attr_int("value_int"));
    n.out(0, n.constant_value(std::move(t)));
  } else if (n.has_attr("value_float")) {
    n.out(0, n.scalar(n.attr_real("value_float"), DType::f32));
  } else if (n.has_attr("value_ints")) {
    const Ints values = *n.attr_ints("value_ints");
    HostTensor t(DType::i64, {static_cast<std::int64_t>(values.size())});
    for (std::size_t i = 0; i < values.size(); ++i) t.set_int(static_cast<std::int64_t>(i), values[i]);
    n.out(0, n.constant_value(std::move(t)));
  } else if (n.has_attr("value_floats")) {
    const auto values = *n.attr_reals("value_floats");
    HostTensor t(DType::f32, {static_cast<std::int64_t>(values.size())});
    for (std::size_t i = 0; i < values.size(); ++i) t.set_double(static_cast<std::int64_t>(i), values[i]);
    n.out(0, n.constant_value(std::move(t)));
  } else {
    unsupported("only dense numeric constants are supported");
  }
}

// Both are always known on the host (host_array.cc); these are never reached with a tensor to make.
void import_Shape(ImportNode&) { unsupported("the shape is not known on the host"); }
void import_Size(ImportNode&) { unsupported("the size is not known on the host"); }

}  // namespace headrace::onnx
