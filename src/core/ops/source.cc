// Iota, HostValue: values out of nothing. Custom: the seat of user operators.
#include <headrace/error.h>

#include "base/checked.h"
#include "core/ops/rules.h"

namespace headrace::rules {

Types infer(const Iota& op, const Inputs& in) {
  in.count(0, 0);
  if (op.count.is_constant() && op.count.value < 0) in.fail("count is negative");
  if (op.dtype == DType::boolean) in.fail("not for bool");
  return {{op.dtype, {op.count}}};
}

Types infer(const HostValue& op, const Inputs& in) {
  in.count(0, 0);
  const std::int64_t count = element_count(op.shape);
  if (static_cast<std::size_t>(count) != op.values.size()) {
    in.fail("shape " + to_string(op.shape) + " does not hold " + std::to_string(op.values.size()) +
            " values");
  }
  return {{op.dtype, to_dims(op.shape)}};
}

Types infer(const Custom& op, const Inputs&) {
  throw Error(ErrorCode::unsupported, "operator '" + op.domain + "." + op.name + "' is not registered");
}

}  // namespace headrace::rules
