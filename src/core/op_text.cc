// Text of operators from their field lists: "Conv(strides=[2,2], post=[add, clip(0, 6)])".
#include <charconv>

#include "core/enum_names.h"
#include "core/op.h"
#include "core/op_fields.h"

namespace headrace {

#define NAMES(E, ...)                                          \
  template <>                                                  \
  std::span<const std::string_view> enum_names<E>() {          \
    static constexpr std::string_view names[] = {__VA_ARGS__}; \
    return names;                                              \
  }
NAMES(PoolKind, "max", "average", "lp")
NAMES(ReduceKind, "sum", "mean", "max", "min", "prod", "l1", "l2", "sum_square", "log_sum", "log_sum_exp")
NAMES(ResizeMode, "nearest", "linear", "cubic")
NAMES(ResizeCoord, "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
      "tf_crop_and_resize")
NAMES(ResizeNearest, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
NAMES(PadMode, "constant", "reflect", "edge", "wrap")
NAMES(ScatterReduce, "none", "add", "mul", "min", "max")
NAMES(DType, "f32", "f16", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool", "bf16")
#undef NAMES

namespace {

struct Text {
  const ShapeProgram& program;

  std::string of(bool v) const { return v ? "true" : "false"; }
  std::string of(std::int64_t v) const { return std::to_string(v); }
  std::string of(double v) const {
    char buffer[40];
    return {buffer, std::to_chars(buffer, buffer + sizeof buffer, v).ptr};
  }
  std::string of(const std::string& v) const {
    std::string out = "\"";
    for (const char c : v) {
      if (c == '"' || c == '\\') out += '\\';
      out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
    }
    return out + "\"";
  }
  std::string of(Real v) const {
    return v.is_constant() ? of(v.value) : "real(" + program.to_string(Dim::of_expr(v.expr)) + ")";
  }
  std::string of(Dim v) const { return program.to_string(v); }
  std::string of(const PwExpr& v) const { return to_string(v); }
  std::string of(const Post& v) const {
    std::string out(to_string(v.op));
    if (v.alpha != 0 || v.beta != 0) out += "(" + of(v.alpha) + (v.beta != 0 ? ", " + of(v.beta) : "") + ")";
    return out;
  }
  template <class E>
  requires std::is_enum_v<E> std::string of(E v)
  const { return std::string(enum_names<E>()[static_cast<std::size_t>(v)]); }
  template <class T>
  std::string of(const std::vector<T>& v) const {
    std::string out = "[";
    for (std::size_t i = 0; i < v.size(); ++i) out += (i == 0 ? "" : ", ") + of(v[i]);
    return out + "]";
  }
};

}  // namespace

std::string to_string(const Op& op, const ShapeProgram& program) {
  return std::visit(
      [&](const auto& o) {
        using T = std::decay_t<decltype(o)>;
        std::string inside;
        if constexpr (std::is_same_v<T, Pointwise>) {
          inside = to_string(o.expr);
        } else {
          // The same field of a default operator tells what may be left out.
          const T usual{};
          std::vector<std::string> defaults;
          fields(usual,
                 [&](std::string_view, const auto& field) { defaults.push_back(Text{program}.of(field)); });
          std::size_t i = 0;
          fields(o, [&](std::string_view field_name, const auto& field) {
            const std::string text = Text{program}.of(field);
            if (text != defaults[i++]) {
              inside += (inside.empty() ? "" : ", ") + std::string(field_name) + "=" + text;
            }
          });
        }
        return std::string(name(op)) + "(" + inside + ")";
      },
      op);
}

}  // namespace headrace
