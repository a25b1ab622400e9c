// What a step has to move and to compute at least: for its share of the roofline.
#pragma once

#include "backends/backend.h"

namespace headrace::runtime {

struct LayerCost {
  double bytes = 0;  ///< every source read once and every destination written once
  double flops = 0;  ///< of convolutions and matrix products; 0 for the rest, which memory bounds
};
LayerCost cost_of(const Problem& problem);

}  // namespace headrace::runtime
