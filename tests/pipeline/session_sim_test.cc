// The real Session on the simulated machine: every result is its own input's, whatever the interleaving and
// whatever fails.
#include <gtest/gtest.h>

#include "base/sched.h"
#include "pipeline/sim_engine.h"

namespace headrace {
namespace {

using testing::SimEngine;

const ShapeMap kShape = {{"x", {1, 4}}};
const sim::Spec kSpec{.upload_pageable_ms = 4,
                      .upload_pinned_ms = 2,
                      .compute_fp32_ms = 3,
                      .compute_fp16_ms = 3,
                      .download_ms = 1,
                      .post_ms = 0,
                      .alloc_ms = 1,
                      .consumed_ms = 0.5};

Ticket submit(Session& session, int value) {
  InputLease lease = session.acquire(kShape);
  for (float& v : lease["x"].as<float>()) v = static_cast<float>(value);
  return session.submit(std::move(lease), {.tag = static_cast<std::uint64_t>(value)});
}

TEST(SessionOnSim, EveryResultIsItsOwnInputsAndNothingRaces) {
  sched::explore(1, 200, [] {
    SimEngine sim({.spec = kSpec}, true);
    {
      Session session{sim.engine, {.slots = 3}};
      std::vector<Ticket> tickets;
      for (int i = 0; i < 3; ++i) tickets.push_back(submit(session, i));
      for (int i = 3; i < 9; ++i) {
        OutputLease out = tickets.front().get();
        EXPECT_EQ(out["y"].as<float>()[0], static_cast<float>(out.tag()) + 1);
        tickets.erase(tickets.begin());
        tickets.push_back(submit(session, i));
      }
    }
    EXPECT_TRUE(sim.engine.hazards().empty()) << sim.engine.hazards().front();
    EXPECT_TRUE(sim.device->violations().empty()) << sim.device->violations().front();
    EXPECT_EQ(sim.device->counters().pageable_copies, 0u) << "leases are pinned";
  });
}

}  // namespace
}  // namespace headrace
