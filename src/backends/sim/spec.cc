#include "backends/sim/spec.h"

#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <headrace/error.h>

#include "base/file.h"

namespace headrace::sim {
namespace {

const std::pair<const char*, double Spec::*> kKeys[] = {
    {"upload_pageable_ms", &Spec::upload_pageable_ms},
    {"upload_pinned_ms", &Spec::upload_pinned_ms},
    {"compute_fp32_ms", &Spec::compute_fp32_ms},
    {"compute_fp16_ms", &Spec::compute_fp16_ms},
    {"download_ms", &Spec::download_ms},
    {"post_ms", &Spec::post_ms},
    {"alloc_ms", &Spec::alloc_ms},
    {"consumed_ms", &Spec::consumed_ms},
    {"staging_ms", &Spec::staging_ms},
};
constexpr double kMaxMs = 3.6e6;  // an hour

[[noreturn]] void fail(const std::string& what) {
  std::string known;
  for (const auto& [key, member] : kKeys) known += (known.empty() ? "" : ", ") + std::string(key);
  throw Error(ErrorCode::invalid_argument,
              fmt::format("the simulator's figures: {}; expected a JSON object of milliseconds with keys out "
                          "of {}",
                          what, known));
}

}  // namespace

Spec parse_spec(std::string_view text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) fail("this is no JSON object");
  Spec spec;
  for (const auto& [name, value] : json.items()) {
    double Spec::*member = nullptr;
    for (const auto& [key, m] : kKeys)
      if (name == key) member = m;
    if (!member) fail(fmt::format("unknown key '{}'", name));
    const double ms = value.is_number() ? value.get<double>() : -1;
    if (!std::isfinite(ms) || ms < 0 || ms > kMaxMs)
      fail(fmt::format("'{}' is {}, not a number of milliseconds from 0 to {:.0f}", name, value.dump(),
                       kMaxMs));
    spec.*member = ms;
  }
  return spec;
}

Spec load_spec(const std::string& path) { return parse_spec(read_text_file(path, 1 << 20)); }

}  // namespace headrace::sim
