// Connected regions of a probability map.
//
// Contract: a pixel belongs to a region where the map, or its neighbour to the left, above or both, is over
// the threshold (a 2x2 dilation: it closes hairline gaps between letters). Regions touch over corners too.
// Each is given by the ends of its rows, which is all that its convex hull needs. Order: by the first row.
#pragma once

#include <span>
#include <vector>

#include "ocr/geometry.h"

namespace headrace::ocr {

std::vector<std::vector<Point>> text_regions(std::span<const float> map, int width, int height,
                                             float threshold);

}  // namespace headrace::ocr
