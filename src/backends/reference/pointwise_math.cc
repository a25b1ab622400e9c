#include "backends/reference/pointwise_math.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "backends/reference/loops.h"

namespace headrace::reference {

namespace {

double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
double sigmoid(double x) {
  if (x >= 0) return 1 / (1 + std::exp(-x));
  const double e = std::exp(x);
  return e / (1 + e);
}
double clamp01(double x) { return x < 0 ? 0 : x > 1 ? 1 : x; }  // NaN stays
double min_nan(double a, double b) { return std::isnan(a) || a < b ? a : b; }
double max_nan(double a, double b) { return std::isnan(a) || a > b ? a : b; }
double floor_mod(double a, double b) {
  const double m = std::fmod(a, b);
  return m != 0 && (m < 0) != (b < 0) ? m + b : m;
}

std::int64_t int_pow(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  std::uint64_t result = 1, factor = static_cast<std::uint64_t>(base);
  for (auto e = static_cast<std::uint64_t>(exponent); e; e >>= 1, factor *= factor)
    if (e & 1) result *= factor;
  return static_cast<std::int64_t>(result);
}

/// Quotient and remainder truncated towards zero; 0 when dividing by 0.
std::int64_t int_div(DType dtype, std::int64_t a, std::int64_t b) {
  if (b == 0) return 0;
  if (dtype == DType::u64)
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) / static_cast<std::uint64_t>(b));
  return b == -1 ? static_cast<std::int64_t>(0 - static_cast<std::uint64_t>(a)) : a / b;
}
std::int64_t int_rem(DType dtype, std::int64_t a, std::int64_t b) {
  if (b == 0 || b == -1) return dtype == DType::u64 && b == -1 && a != -1 ? a : 0;
  if (dtype == DType::u64)
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) % static_cast<std::uint64_t>(b));
  return a % b;
}

}  // namespace

void real_op(PwOp op, double alpha, double beta, std::int64_t n, double* r, const double* a, const double* b,
             const double* c) {
  const auto one = [&](auto f) {
    for (std::int64_t i = 0; i < n; ++i) r[i] = f(a[i]);
  };
  const auto two = [&](auto f) {
    for (std::int64_t i = 0; i < n; ++i) r[i] = f(a[i], b[i]);
  };
  using std::numbers::pi;
  switch (op) {
    case PwOp::load:
    case PwOp::constant:
    case PwOp::cast: return one([](double x) { return x; });
    case PwOp::neg: return one([](double x) { return -x; });
    case PwOp::abs: return one([](double x) { return std::abs(x); });
    case PwOp::sign:
      return one([](double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : std::isnan(x) ? x : 0.0; });
    case PwOp::floor: return one([](double x) { return std::floor(x); });
    case PwOp::ceil: return one([](double x) { return std::ceil(x); });
    case PwOp::round: return one([](double x) { return std::nearbyint(x); });
    case PwOp::sqrt: return one([](double x) { return std::sqrt(x); });
    case PwOp::rsqrt: return one([](double x) { return 1 / std::sqrt(x); });
    case PwOp::reciprocal: return one([](double x) { return 1 / x; });
    case PwOp::exp: return one([](double x) { return std::exp(x); });
    case PwOp::log: return one([](double x) { return std::log(x); });
    case PwOp::sin: return one([](double x) { return std::sin(x); });
    case PwOp::cos: return one([](double x) { return std::cos(x); });
    case PwOp::tan: return one([](double x) { return std::tan(x); });
    case PwOp::asin: return one([](double x) { return std::asin(x); });
    case PwOp::acos: return one([](double x) { return std::acos(x); });
    case PwOp::atan: return one([](double x) { return std::atan(x); });
    case PwOp::sinh: return one([](double x) { return std::sinh(x); });
    case PwOp::cosh: return one([](double x) { return std::cosh(x); });
    case PwOp::tanh: return one([](double x) { return std::tanh(x); });
    case PwOp::asinh: return one([](double x) { return std::asinh(x); });
    case PwOp::acosh: return one([](double x) { return std::acosh(x); });
    case PwOp::atanh: return one([](double x) { return std::atanh(x); });
    case PwOp::erf: return one([](double x) { return std::erf(x); });
    case PwOp::is_nan: return one([](double x) { return double(std::isnan(x)); });
    case PwOp::is_inf:
      return one([&](double x) { return double(std::isinf(x) && (x > 0 ? alpha != 0 : beta != 0)); });
    case PwOp::logical_not: return one([](double x) { return double(x == 0); });
    case PwOp::relu: return one([](double x) { return x < 0 ? 0 : x; });
    case PwOp::clip:
      return one([&](double x) { return std::isnan(x) ? x : std::min(std::max(x, alpha), beta); });
    case PwOp::leaky_relu: return one([&](double x) { return x < 0 ? alpha * x : x; });
    case PwOp::elu: return one([&](double x) { return x < 0 ? alpha * std::expm1(x) : x; });
    case PwOp::selu: return one([&](double x) { return beta * (x <= 0 ? alpha * std::expm1(x) : x); });
    case PwOp::celu: return one([&](double x) { return x < 0 ? alpha * std::expm1(x / alpha) : x; });
    case PwOp::softplus: return one(softplus);
    case PwOp::softsign: return one([](double x) { return x / (1 + std::abs(x)); });
    case PwOp::sigmoid: return one(sigmoid);
    case PwOp::hard_sigmoid: return one([&](double x) { return clamp01(alpha * x + beta); });
    case PwOp::hard_swish: return one([](double x) { return x * clamp01(x / 6 + 0.5); });
    case PwOp::silu: return one([&](double x) { return x * sigmoid(alpha * x); });
    case PwOp::mish: return one([](double x) { return x * std::tanh(softplus(x)); });
    case PwOp::gelu_erf:
      return one([](double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); });
    case PwOp::gelu_tanh:
      return one(
          [](double x) { return 0.5 * x * (1 + std::tanh(std::sqrt(2 / pi) * (x + 0.044715 * x * x * x))); });
    case PwOp::thresholded_relu: return one([&](double x) { return x <= alpha ? 0 : x; });
    case PwOp::add: return two([](double x, double y) { return x + y; });
    case PwOp::sub: return two([](double x, double y) { return x - y; });
    case PwOp::mul: return two([](double x, double y) { return x * y; });
    case PwOp::div: return two([](double x, double y) { return x / y; });
    case PwOp::mod: return two(floor_mod);
    case PwOp::fmod: return two([](double x, double y) { return std::fmod(x, y); });
    case PwOp::pow: return two([](double x, double y) { return std::pow(x, y); });
    case PwOp::min: return two(min_nan);
    case PwOp::max: return two(max_nan);
    case PwOp::prelu: return two([](double x, double slope) { return x < 0 ? slope * x : x; });
    case PwOp::equal: return two([](double x, double y) { return double(x == y); });
    case PwOp::less: return two([](double x, double y) { return double(x < y); });
    case PwOp::less_equal: return two([](double x, double y) { return double(x <= y); });
    case PwOp::greater: return two([](double x, double y) { return double(x > y); });
    case PwOp::greater_equal: return two([](double x, double y) { return double(x >= y); });
    case PwOp::logical_and: return two([](double x, double y) { return double(x != 0 && y != 0); });
    case PwOp::logical_or: return two([](double x, double y) { return double(x != 0 || y != 0); });
    case PwOp::logical_xor: return two([](double x, double y) { return double((x != 0) != (y != 0)); });
    case PwOp::bit_not:
    case PwOp::bit_and:
    case PwOp::bit_or:
    case PwOp::bit_xor:
    case PwOp::shift_left:
    case PwOp::shift_right:
      throw Error(ErrorCode::unsupported, std::string(to_string(op)) + " is for integers only");
    case PwOp::select:
      for (std::int64_t i = 0; i < n; ++i) r[i] = a[i] != 0 ? b[i] : c[i];
      return;
  }
}

void int_op(PwOp op, DType dtype, double alpha, double beta, std::int64_t n, std::int64_t* r,
            const std::int64_t* a, const std::int64_t* b, const std::int64_t* c) {
  using I = std::int64_t;
  using U = std::uint64_t;
  const auto one = [&](auto f) {
    for (I i = 0; i < n; ++i) r[i] = static_cast<I>(f(a[i]));
  };
  const auto two = [&](auto f) {
    for (I i = 0; i < n; ++i) r[i] = static_cast<I>(f(a[i], b[i]));
  };
  const auto less = [dtype](I x, I y) { return int_less(dtype, x, y); };
  const bool is_unsigned = is_unsigned_int(dtype) || dtype == DType::boolean;
  switch (op) {
    case PwOp::neg: return one([](I x) { return 0 - static_cast<U>(x); });
    case PwOp::abs:
      return one([&](I x) { return !is_unsigned && x < 0 ? 0 - static_cast<U>(x) : static_cast<U>(x); });
    case PwOp::sign: return one([&](I x) { return x == 0 ? 0 : is_unsigned || x > 0 ? 1 : -1; });
    case PwOp::floor:
    case PwOp::ceil:
    case PwOp::round:
    case PwOp::cast: return one([](I x) { return x; });
    case PwOp::is_nan:
    case PwOp::is_inf: return one([](I) { return 0; });
    case PwOp::logical_not: return one([](I x) { return x == 0; });
    case PwOp::bit_not: return one([](I x) { return ~x; });
    case PwOp::relu: return one([&](I x) { return !is_unsigned && x < 0 ? 0 : x; });
    case PwOp::clip: {
      const auto bound = [&](double v) {  // as far as the element type can hold it
        const double low = is_unsigned ? 0 : -std::ldexp(1.0, static_cast<int>(8 * size_bytes(dtype)) - 1);
        const double high = std::ldexp(1.0, static_cast<int>(8 * size_bytes(dtype)) - (is_unsigned ? 0 : 1));
        if (v <= low) return wrap_to(dtype, is_unsigned ? 0 : static_cast<I>(low));
        if (v >= high) return wrap_to(dtype, static_cast<I>(is_unsigned ? ~U{0} : static_cast<U>(high) - 1));
        return real_to_int(dtype, v);
      };
      const I low = bound(alpha), high = bound(beta);
      return one([&](I x) {
        x = less(x, low) ? low : x;
        return less(high, x) ? high : x;
      });
    }
    case PwOp::add: return two([](I x, I y) { return static_cast<U>(x) + static_cast<U>(y); });
    case PwOp::sub: return two([](I x, I y) { return static_cast<U>(x) - static_cast<U>(y); });
    case PwOp::mul: return two([](I x, I y) { return static_cast<U>(x) * static_cast<U>(y); });
    case PwOp::div: return two([&](I x, I y) { return int_div(dtype, x, y); });
    case PwOp::fmod: return two([&](I x, I y) { return int_rem(dtype, x, y); });
    case PwOp::mod:
      return two([&](I x, I y) {
        const I m = int_rem(dtype, x, y);
        return !is_unsigned && m != 0 && (m < 0) != (y < 0) ? m + y : m;
      });
    case PwOp::pow: return two(int_pow);
    case PwOp::min: return two([&](I x, I y) { return less(y, x) ? y : x; });
    case PwOp::max: return two([&](I x, I y) { return less(x, y) ? y : x; });
    case PwOp::prelu:
      return two([&](I x, I y) {
        return !is_unsigned && x < 0 ? static_cast<I>(static_cast<U>(x) * static_cast<U>(y)) : x;
      });
    case PwOp::equal: return two([](I x, I y) { return x == y; });
    case PwOp::less: return two(less);
    case PwOp::less_equal: return two([&](I x, I y) { return !less(y, x); });
    case PwOp::greater: return two([&](I x, I y) { return less(y, x); });
    case PwOp::greater_equal: return two([&](I x, I y) { return !less(x, y); });
    case PwOp::logical_and: return two([](I x, I y) { return x != 0 && y != 0; });
    case PwOp::logical_or: return two([](I x, I y) { return x != 0 || y != 0; });
    case PwOp::logical_xor: return two([](I x, I y) { return (x != 0) != (y != 0); });
    case PwOp::bit_and: return two([](I x, I y) { return x & y; });
    case PwOp::bit_or: return two([](I x, I y) { return x | y; });
    case PwOp::bit_xor: return two([](I x, I y) { return x ^ y; });
    case PwOp::shift_left:
      return two([](I x, I y) { return static_cast<U>(y) < 64 ? static_cast<U>(x) << y : U{0}; });
    case PwOp::shift_right:
      return two([&](I x, I y) {
        const bool out = static_cast<U>(y) >= 64;
        if (is_unsigned) return static_cast<I>(out ? 0 : static_cast<U>(x) >> y);
        return x >> (out ? 63 : y);
      });
    case PwOp::select:
      for (I i = 0; i < n; ++i) r[i] = a[i] != 0 ? b[i] : c[i];
      return;
    default: {
      const double nothing = 0;
      for (I i = 0; i < n; ++i) {
        const double x = a ? int_to_real(dtype, a[i]) : nothing, y = b ? int_to_real(dtype, b[i]) : nothing;
        double result;
        real_op(op, alpha, beta, 1, &result, &x, &y, &nothing);
        r[i] = real_to_int(dtype, result);
      }
    }
  }
}

}  // namespace headrace::reference
