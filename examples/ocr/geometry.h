// Plane geometry of text boxes: hulls, smallest rectangles, corner order, and the perspective map of a box.
//
//   ocr::Rectangle r = ocr::smallest_rectangle(ocr::convex_hull(points));
//   ocr::Quad box = ocr::clockwise(r.corners);                 // top left, top right, bottom right, bottom
//   left
//
// Contract: pure functions, y grows downwards, coordinates are pixel centres.
#pragma once

#include <array>
#include <vector>

namespace headrace::ocr {

struct Point {
  float x = 0, y = 0;
};
using Quad = std::array<Point, 4>;

float distance(Point a, Point b);

/// Corners of the hull in order around it, without collinear ones. Of one or two distinct points: just those.
std::vector<Point> convex_hull(std::vector<Point> points);

struct Rectangle {
  Quad corners;
  float short_side = 0;
};
/// The rectangle of least area around the hull when that is grown by `grow` on every side; any rotation.
/// One side of it lies along an edge of the hull.
Rectangle smallest_rectangle(const std::vector<Point>& hull, float grow = 0);

/// Top left, top right, bottom right, bottom left: the two leftmost corners are the left side.
Quad clockwise(Quad corners);

/// Area and perimeter of a polygon of four corners.
float area(const Quad& quad);
float perimeter(const Quad& quad);

/// Maps (0,0),(w,0),(w,h),(0,h) to the corners of a quad.
class Perspective {
 public:
  Perspective(const Quad& quad, int width, int height);
  Point operator()(double x, double y) const {
    const double z = 1 / (g_ * x + h_ * y + 1);
    return {static_cast<float>((a_ * x + b_ * y + c_) * z), static_cast<float>((d_ * x + e_ * y + f_) * z)};
  }

 private:
  double a_, b_, c_, d_, e_, f_, g_ = 0, h_ = 0;
};

}  // namespace headrace::ocr
