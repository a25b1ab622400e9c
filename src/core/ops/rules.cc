#include "core/ops/rules.h"

#include <headrace/error.h>

#include "base/checked.h"

namespace headrace {

namespace rules {

void Inputs::fail(const std::string& what) const {
  throw Error(ErrorCode::invalid_model, std::string(op) + ": " + what);
}

std::string Inputs::show(std::size_t i) const {
  return "input " + std::to_string(i) + " (" + std::string(to_string(types[i].dtype)) + "[" +
         program.to_string(types[i].shape) + "])";
}

void Inputs::count(std::size_t least, std::size_t most) const {
  if (size() >= least && size() <= most) return;
  fail("has " + std::to_string(size()) + " inputs, expected " + std::to_string(least) +
       (most == least ? "" : " to " + std::to_string(most)));
}

void Inputs::same_dtype(std::size_t first, std::size_t last) const {
  for (std::size_t i = first + 1; i < last; ++i) {
    if (types[i].dtype != types[first].dtype) {
      fail(show(i) + " must have the dtype of " + show(first));
    }
  }
}

void Inputs::need_float(std::size_t i) const {
  if (!is_float(types[i].dtype)) fail(show(i) + " must be of a floating-point dtype");
}

void Inputs::need_index(std::size_t i) const {
  if (types[i].dtype != DType::i32 && types[i].dtype != DType::i64) fail(show(i) + " must be i32 or i64");
}

std::size_t Inputs::axis(std::int64_t axis, std::size_t rank) const {
  if (axis < 0 || static_cast<std::size_t>(axis) >= rank) {
    fail("axis " + std::to_string(axis) + " is outside of rank " + std::to_string(rank));
  }
  return static_cast<std::size_t>(axis);
}

void Inputs::entries(std::size_t have, std::size_t want, std::string_view field) const {
  if (have == want) return;
  fail(std::string(field) + " has " + std::to_string(have) + " entries, expected " + std::to_string(want));
}

Dim Inputs::unify(Dim a, Dim b, const std::string& what) const {
  if (a == b) return a;
  if (a.is_constant() && b.is_constant()) {
    fail(what + ": " + std::to_string(a.value) + " and " + std::to_string(b.value) + " must be equal");
  }
  return a.is_constant() ? a : b.is_constant() ? b : a;
}

Dims Inputs::broadcast(const Dims& a, const Dims& b) const {
  const Dims& longer = a.size() >= b.size() ? a : b;
  const Dims& shorter = a.size() >= b.size() ? b : a;
  Dims out = longer;
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    Dim& d = out[longer.size() - shorter.size() + i];
    const Dim e = shorter[i];
    if (d == e || e == Dim(1)) continue;
    if (d == Dim(1)) {
      d = e;
    } else if (d.is_constant() && e.is_constant()) {
      fail("shapes " + program.to_string(a) + " and " + program.to_string(b) + " do not broadcast");
    } else if (d.is_constant() || e.is_constant()) {
      d = d.is_constant() ? d : e;
    } else {
      d = program.max(d, e);  // equal, or one of them is 1
    }
  }
  return out;
}

void Inputs::broadcasts_to(std::size_t i, const Dims& shape) const {
  const Dims& own = types[i].shape;
  const auto no = [&] { fail(show(i) + " does not broadcast to " + program.to_string(shape)); };
  if (own.size() > shape.size()) no();
  for (std::size_t k = 0; k < own.size(); ++k) {
    const Dim d = own[k], target = shape[shape.size() - own.size() + k];
    if (d.is_constant() && d.value != 1 && target.is_constant() && d != target) no();
  }
}

void Inputs::post(const std::vector<Post>& post, std::size_t first, const ValueType& dst) const {
  std::size_t next = first;
  if (!post.empty() && !is_float(dst.dtype)) fail("post steps need a floating-point result");
  for (const Post& step : post) {
    const bool unary = arity(step.op) == 1 && step.op >= PwOp::neg && step.op <= PwOp::thresholded_relu &&
                       step.op != PwOp::is_nan && step.op != PwOp::is_inf && step.op != PwOp::logical_not &&
                       step.op != PwOp::bit_not;
    const bool binary = step.op >= PwOp::add && step.op <= PwOp::prelu;
    if (!unary && !binary) fail("'" + std::string(to_string(step.op)) + "' cannot be a post step");
    if (!binary) continue;
    if (next >= size()) fail("post step '" + std::string(to_string(step.op)) + "' lacks its operand");
    if (types[next].dtype != dst.dtype) fail(show(next) + " of a post step must have the result's dtype");
    broadcasts_to(next, dst.shape);
    ++next;
  }
  if (next != size()) fail("has " + std::to_string(size()) + " inputs, expected " + std::to_string(next));
}

}  // namespace rules

std::vector<ValueType> infer_types(const Op& op, std::span<const ValueType> inputs, ShapeProgram& program) {
  const rules::Inputs in{name(op), inputs, program};
  const auto check = [&](const ValueType& type, const std::string& which) {
    if (type.shape.size() > rules::kMaxRank) {
      in.fail(which + " has rank " + std::to_string(type.shape.size()) + ", at most " +
              std::to_string(rules::kMaxRank) + " is possible");
    }
    for (const Dim d : type.shape) {
      if (d.is_constant() && d.value < 0) {
        in.fail(which + " would have the shape " + program.to_string(type.shape) + " with a negative extent");
      }
    }
    if (all_constant(type.shape)) {
      static_cast<void>(size_bytes(std::span<const std::int64_t>(to_shape(type.shape)), 8, which));
    }
  };
  try {
    for (std::size_t i = 0; i < inputs.size(); ++i) check(inputs[i], "input " + std::to_string(i));
    std::vector<ValueType> out = std::visit([&](const auto& o) { return rules::infer(o, in); }, op);
    for (const ValueType& type : out) check(type, "the result");
    return out;
  } catch (const Error& error) {
    if (error.code() == ErrorCode::invalid_argument)
      in.fail(error.message());  // overflow in shape arithmetic
    throw;
  }
}

}  // namespace headrace
