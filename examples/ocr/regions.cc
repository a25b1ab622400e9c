#include "ocr/regions.h"

#include <cstddef>
#include <cstdint>

namespace headrace::ocr {
namespace {

// A run of pixels in one row, and its region as a union-find forest over runs.
struct Run {
  int y, first, last;
  std::size_t parent;
};

std::size_t root(std::vector<Run>& runs, std::size_t i) {
  while (runs[i].parent != i) i = runs[i].parent = runs[runs[i].parent].parent;
  return i;
}

// The earlier run is the root, so that regions come in the order of their first rows.
void unite(std::vector<Run>& runs, std::size_t a, std::size_t b) {
  a = root(runs, a);
  b = root(runs, b);
  if (a < b)
    runs[b].parent = a;
  else
    runs[a].parent = b;
}

}  // namespace

std::vector<std::vector<Point>> text_regions(std::span<const float> map, int width, int height,
                                             float threshold) {
  std::vector<Run> runs;
  std::vector<std::uint8_t> above(static_cast<std::size_t>(width) + 1), here(above);  // [0]: left of the map
  std::size_t previous = 0, current = 0;  // runs of the row above start here, runs of this row there
  for (int y = 0; y < height; ++y) {
    const float* row = map.data() + static_cast<std::size_t>(y) * static_cast<std::size_t>(width);
    for (int x = 0; x < width; ++x) here[static_cast<std::size_t>(x) + 1] = row[x] > threshold;
    const auto set = [&](int x) {
      const std::size_t i = static_cast<std::size_t>(x);
      return here[i] | here[i + 1] | above[i] | above[i + 1];
    };
    for (int x = 0; x < width; ++x) {
      if (!set(x)) continue;
      const int first = x;
      while (x + 1 < width && set(x + 1)) ++x;
      runs.push_back({y, first, x, runs.size()});
    }
    for (std::size_t i = current, j = previous; i < runs.size() && j < current;) {
      if (runs[i].first <= runs[j].last + 1 && runs[j].first <= runs[i].last + 1) unite(runs, i, j);
      if (runs[i].last < runs[j].last)
        ++i;
      else
        ++j;
    }
    previous = current;
    current = runs.size();
    std::swap(above, here);
  }
  std::vector<std::vector<Point>> regions;
  std::vector<std::size_t> number(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const std::size_t r = root(runs, i);
    if (r == i) {
      number[i] = regions.size();
      regions.emplace_back();
    }
    std::vector<Point>& region = regions[number[r]];
    region.push_back({static_cast<float>(runs[i].first), static_cast<float>(runs[i].y)});
    if (runs[i].last > runs[i].first)
      region.push_back({static_cast<float>(runs[i].last), static_cast<float>(runs[i].y)});
  }
  return regions;
}

}  // namespace headrace::ocr
