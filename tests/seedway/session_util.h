// The small network of the session's tests on the simulated machine: y = relu(x) + 1, f for what is fed here.
#pragma once

#include <cmath>

#include "pipeline/sim_engine.h"
#include "seedway/seedway.h"

namespace headrace::seedway {

inline const ShapeMap kShape = {{"x", {2, 4}}};

inline void fill(InputLease& lease, float value) {
  for (float& v : lease["x"].as<float>()) v = value;
}
inline float value_of(const OutputLease& out) {
  const auto v = out["y"].as<float>();
  return std::all_of(v.begin(), v.end(), [&](float x) { return x == v[0]; }) ? v[0] : std::nanf("");
}
inline Ticket submit(Session& session, float value, const ShapeMap& shape = kShape,
                     SubmitOptions options = {}) {
  InputLease lease = session.acquire(shape);
  fill(lease, value);
  return session.submit(std::move(lease), std::move(options));
}
inline sim::Options session_options() {
  return {.spec = kSpec, .launch_ms = [](const Kernel&, auto) { return kSpec.compute_fp32_ms; }};
}
inline void expect_clean(const testing::SimEngine& sim) {
  EXPECT_EQ(sim.engine.hazards(), std::vector<std::string>{});
  EXPECT_EQ(sim.device->violations(), std::vector<std::string>{});
}

}  // namespace headrace::seedway
