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

namespace {
/// Dropout for training is random and not supported; where it is asked for, the ratio must be 0: then nothing
/// drops. Both may be known at run time only.
void refuse_random_dropout(ImportNode& n) {
  const Dims training = n.host_dims(2, "training_mode");
  if (training.size() != 1) invalid("training_mode must be a scalar");
  if (training[0] == Dim(0)) return;
  const Reals ratio = n.has(1) ? n.host_reals(1, "ratio") : Reals{0.5};
  if (ratio.size() != 1) invalid("ratio must be a scalar");
  if (ratio[0] == Real(0)) return;
  const std::string why =
      "dropout in training mode is random, which is not supported; set training_mode to false or ratio to 0";
  if (training[0].is_constant() && ratio[0].is_constant()) unsupported(why);
  ShapeProgram& s = n.shapes();
  const Dim drops_nothing = ratio[0].is_constant() ? Dim(0) : s.eq(ratio[0].bits(), Dim(0));
  s.require(s.select(training[0], drops_nothing, Dim(1)), n.describe() + ": " + why);
}
}  // namespace

/// In inference the input passes, and the mask is all true.
void import_Dropout(ImportNode& n) {
  n.ignore_attr("ratio");
  n.ignore_attr("seed");
  if (n.has(2)) refuse_random_dropout(n);
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
