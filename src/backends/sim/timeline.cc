#include "backends/sim/timeline.h"

#include <algorithm>

namespace headrace::sim {

std::string_view to_string(Engine engine) {
  switch (engine) {
    case Engine::upload: return "upload";
    case Engine::compute: return "compute";
    case Engine::download: return "download";
  }
  return "?";
}

double busy_share(std::span<const Span> spans, Engine engine, sched::Clock::time_point from,
                  sched::Clock::time_point to) {
  sched::Clock::duration busy{};
  for (const Span& span : spans)  // an engine does one thing at a time: nothing is counted twice
    if (span.engine == engine && span.begin < to && span.end > from)
      busy += std::min(span.end, to) - std::max(span.begin, from);
  return to > from ? static_cast<double>(busy.count()) / static_cast<double>((to - from).count()) : 0;
}

sched::Clock::duration overlap(std::span<const Span> spans, Engine a, Engine b) {
  sched::Clock::duration total{};
  for (const Span& x : spans)
    for (const Span& y : spans)
      if (x.engine == a && y.engine == b)
        total += std::max(sched::Clock::duration{}, std::min(x.end, y.end) - std::max(x.begin, y.begin));
  return total;
}

}  // namespace headrace::sim
