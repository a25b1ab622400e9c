// No memory for a submit: it throws, and the session is as it was. Not built under the address sanitizer,
// which has operators of its own.
#ifndef __SANITIZE_ADDRESS__
#include <optional>

#include <gtest/gtest.h>

#include "pipeline/small_engine.h"
#include "support/counted_new.h"

namespace headrace {
namespace {

using namespace std::chrono_literals;

const ShapeMap kShape = {{"x", {1, 4}}};

struct Way {
  const char* name;
  int max_batch;
  bool leases;
  friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }
};
class SessionWithoutMemory : public ::testing::TestWithParam<Way> {};

/// The n-th allocation of the submitting thread fails, for all n: all items that were taken have results, and
/// afterwards all inputs and outputs are there.
TEST_P(SessionWithoutMemory, LosesNothing) {
  testing::MoodyEngine engine({});
  const std::vector<float> values(4, 5);
  int refused = 0;
  for (int n = 0; n < 40; ++n) {
    SCOPED_TRACE(n);
    Session session{engine, {.slots = 2, .batch = {.max_batch = GetParam().max_batch, .max_delay = 500us}}};
    const auto submit = [&] {
      return GetParam().leases ? session.submit(testing::fill(session.acquire(kShape), 5))
                               : session.submit({{"x", ConstTensorView(std::span(values), {1, 4})}});
    };
    for (int i = 0; i < 3; ++i) {
      std::optional<Ticket> ticket;
      allocations_left = n;
      try {
        ticket = submit();
      } catch (const std::exception&) {
        ++refused;
      }
      allocations_left = -1;
      if (ticket) {
        EXPECT_EQ(ticket->get()["y"].as<float>()[0], 6);
      }
    }
    std::vector<Ticket> tickets;
    for (int i = 0; i < 2; ++i) tickets.push_back(submit());
    for (Ticket& ticket : tickets) EXPECT_EQ(ticket.get()["y"].as<float>()[0], 6);
    session.close();
    EXPECT_EQ(session.stats().submitted, session.stats().completed);
  }
  EXPECT_GT(refused, 10);
}

INSTANTIATE_TEST_SUITE_P(Sessions, SessionWithoutMemory,
                         ::testing::Values(Way{"leases", 1, true}, Way{"views", 1, false},
                                           Way{"batches", 4, false}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace headrace
#endif  // __SANITIZE_ADDRESS__
