// What the figures mean: predictions from the probes, gates, and a sentence for each rung.
#pragma once

#include <string>

#include <headrace/ladder.h>

namespace headrace::ladder {

/// Milliseconds per batch that a rung should take if its parts took what the probes took.
double predict(const std::string& rung, const LadderProbes& probes);
/// What bounds the rung, and which rung removes that.
std::string explain(const std::string& rung, const LadderProbes& probes);
/// Ratios, bound and gates of a report whose rungs are measured.
void judge(LadderReport& report);

}  // namespace headrace::ladder
