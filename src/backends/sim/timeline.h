// What ran when on the simulated machine, and how busy that kept it.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/sched.h"

namespace headrace::sim {

enum class Engine : std::uint8_t { upload, compute, download };
std::string_view to_string(Engine engine);

struct Span {
  Engine engine = Engine::compute;
  std::string operation, stream;
  sched::Clock::time_point begin, end;
};

/// Share of [from, to) in which the engine worked.
double busy_share(std::span<const Span> spans, Engine engine, sched::Clock::time_point from,
                  sched::Clock::time_point to);
/// Time in which both engines worked.
sched::Clock::duration overlap(std::span<const Span> spans, Engine a, Engine b);

}  // namespace headrace::sim
