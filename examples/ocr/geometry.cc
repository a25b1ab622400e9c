#include "ocr/geometry.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace headrace::ocr {
namespace {

double cross(Point o, Point a, Point b) {
  return (double{a.x} - o.x) * (double{b.y} - o.y) - (double{a.y} - o.y) * (double{b.x} - o.x);
}

}  // namespace

float distance(Point a, Point b) { return std::hypot(a.x - b.x, a.y - b.y); }

std::vector<Point> convex_hull(std::vector<Point> points) {
  const auto less = [](Point a, Point b) { return a.x < b.x || (a.x == b.x && a.y < b.y); };
  const auto same = [](Point a, Point b) { return a.x == b.x && a.y == b.y; };
  std::sort(points.begin(), points.end(), less);
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  if (points.size() < 3) return points;
  // Lower chain from left to right, then the upper one back.
  std::vector<Point> hull;
  const auto add = [&](Point p, std::size_t keep) {
    while (hull.size() >= keep + 2 && cross(hull[hull.size() - 2], hull.back(), p) <= 0) hull.pop_back();
    hull.push_back(p);
  };
  for (Point p : points) add(p, 0);
  const std::size_t lower = hull.size() - 1;
  for (auto it = points.rbegin() + 1; it != points.rend(); ++it) add(*it, lower);
  hull.pop_back();
  return hull;
}

Rectangle smallest_rectangle(const std::vector<Point>& hull, float grow) {
  Rectangle best;
  double best_area = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < hull.size(); ++i) {
    const Point p = hull[i], q = hull[(i + 1) % hull.size()];
    const double length = std::hypot(double{q.x} - p.x, double{q.y} - p.y);
    const double ux = length > 0 ? (q.x - p.x) / length : 1, uy = length > 0 ? (q.y - p.y) / length : 0;
    double low_u = std::numeric_limits<double>::infinity(), high_u = -low_u, low_v = low_u, high_v = -low_u;
    for (Point r : hull) {
      const double u = ux * r.x + uy * r.y, v = ux * r.y - uy * r.x;
      low_u = std::min(low_u, u);
      high_u = std::max(high_u, u);
      low_v = std::min(low_v, v);
      high_v = std::max(high_v, v);
    }
    low_u -= grow;
    low_v -= grow;
    high_u += grow;
    high_v += grow;
    const double this_area = (high_u - low_u) * (high_v - low_v);
    if (this_area >= best_area) continue;
    best_area = this_area;
    const auto corner = [&](double u, double v) {
      return Point{static_cast<float>(ux * u - uy * v), static_cast<float>(uy * u + ux * v)};
    };
    best.corners = {corner(low_u, low_v), corner(high_u, low_v), corner(high_u, high_v),
                    corner(low_u, high_v)};
    best.short_side = static_cast<float>(std::min(high_u - low_u, high_v - low_v));
  }
  return best;
}

Quad clockwise(Quad q) {
  std::stable_sort(q.begin(), q.end(), [](Point a, Point b) { return a.x < b.x; });
  if (q[0].y > q[1].y) std::swap(q[0], q[1]);
  if (q[2].y > q[3].y) std::swap(q[2], q[3]);
  return {q[0], q[2], q[3], q[1]};
}

float area(const Quad& q) {
  double twice = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    const Point a = q[i], b = q[(i + 1) % 4];
    twice += double{a.x} * b.y - double{a.y} * b.x;
  }
  return static_cast<float>(std::abs(twice) / 2);
}

float perimeter(const Quad& q) {
  return distance(q[0], q[1]) + distance(q[1], q[2]) + distance(q[2], q[3]) + distance(q[3], q[0]);
}

Perspective::Perspective(const Quad& q, int width, int height) {
  const double sx = double{q[0].x} - q[1].x + q[2].x - q[3].x, sy = double{q[0].y} - q[1].y + q[2].y - q[3].y;
  const double dx1 = double{q[1].x} - q[2].x, dy1 = double{q[1].y} - q[2].y;
  const double dx2 = double{q[3].x} - q[2].x, dy2 = double{q[3].y} - q[2].y;
  const double det = dx1 * dy2 - dx2 * dy1;
  if (det != 0) {  // 0: three corners in a line; then the affine map of the other sides
    g_ = (sx * dy2 - dx2 * sy) / det;
    h_ = (dx1 * sy - sx * dy1) / det;
  }
  a_ = (double{q[1].x} - q[0].x + g_ * q[1].x) / width;
  b_ = (double{q[3].x} - q[0].x + h_ * q[3].x) / height;
  c_ = q[0].x;
  d_ = (double{q[1].y} - q[0].y + g_ * q[1].y) / width;
  e_ = (double{q[3].y} - q[0].y + h_ * q[3].y) / height;
  f_ = q[0].y;
  g_ /= width;
  h_ /= height;
}

}  // namespace headrace::ocr
