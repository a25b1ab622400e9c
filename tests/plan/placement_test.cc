#include "plan/placement.h"

#include <gtest/gtest.h>

#include "plan_util.h"

namespace headrace {
namespace {

PlanStep pointwise_step(std::vector<std::int32_t> in, std::vector<std::int32_t> out) {
  PwExpr e;
  e.op(PwOp::relu, DType::f32, e.load(0, DType::f32));
  PlanStep step;
  step.tactic = "reference.pointwise";
  step.op = to_record(Pointwise{e});
  step.inputs = std::move(in);
  step.outputs = std::move(out);
  return step;
}

/// in -> a; in -> b; {a, b} windows of c; c -> out.
Plan windows() {
  Plan p;
  p.device = "reference";
  p.tensors = {{.name = "in", .role = TensorRole::input, .shape = {2, 3}},
               {.name = "a", .shape = {2, 3}, .view = ViewKind::window, .parent = 3, .offsets = {0, 0}},
               {.name = "b", .shape = {2, 3}, .view = ViewKind::window, .parent = 3, .offsets = {0, 3}},
               {.name = "c", .shape = {2, 6}},
               {.name = "out", .role = TensorRole::output, .shape = {2, 6}}};
  p.steps = {pointwise_step({0}, {1}), pointwise_step({0}, {2}), pointwise_step({3}, {4})};
  p.inputs = {0};
  p.outputs = {4};
  p.profiles = {{{"in", {2, 3}, {2, 3}, {2, 3}}}};
  return p;
}

TEST(Placement, WindowsHaveTheirParentsStridesAndDoNotOverlap) {
  const Plan p = windows();
  verify_plan(p);
  const Placement placed = place_tensors(p, {});
  EXPECT_EQ(placed.descs[2].strides, (std::vector<std::int64_t>{6, 1}));
  EXPECT_EQ(placed.offsets[2], 12u);
  EXPECT_EQ(placed.roots[2], 3);
  EXPECT_FALSE(overlap(placed, 1, 2));  // interleaved in memory, yet apart
  EXPECT_TRUE(overlap(placed, 1, 3));
  EXPECT_TRUE(find_clobbering(p, placed).empty());
  EXPECT_EQ(root_lives(p, placed)[3].first, 0);
  EXPECT_EQ(root_lives(p, placed)[3].last, 2);
}

TEST(Placement, ClobberingIsFound) {
  Plan p = windows();
  p.tensors[2].offsets = {0, 2};                                   // b now lies over a's last column
  EXPECT_EQ(find_clobbering(p, place_tensors(p, {})).size(), 0u);  // a itself is read by nobody ...
  p.steps.push_back(pointwise_step({1}, {4}));
  EXPECT_EQ(find_clobbering(p, place_tensors(p, {})).size(), 1u);  // ... until somebody does
}

TEST(Placement, AWindowMayNotReachOutside) {
  Plan p = windows();
  p.tensors[2].offsets = {0, 4};
  EXPECT_THROW(static_cast<void>(place_tensors(p, {})), Error);
  p.tensors[2].offsets = {0, INT64_MAX};
  EXPECT_THROW(static_cast<void>(place_tensors(p, {})), Error);
}

TEST(Placement, PlainNhwcIsChannelsLastNchw) {
  Plan p;
  p.tensors = {{.name = "image", .role = TensorRole::input, .shape = {2, 4, 5, 3}},
               {.name = "x",
                .shape = {2, 3, 4, 5},
                .layout = Layout::channels_last,
                .view = ViewKind::alias,
                .parent = 0}};
  const Placement placed = place_tensors(p, {});
  EXPECT_EQ(placed.descs[1].strides, (std::vector<std::int64_t>{60, 1, 15, 3}));
  EXPECT_TRUE(overlap(placed, 0, 1));
  p.tensors[1].shape = {2, 3, 5, 4};  // as many elements, other pixels
  EXPECT_THROW(place_tensors(p, {}), Error);
  p.tensors[1].shape = {2, 3, 4, 5};
  p.tensors[1].layout = Layout::plain;
  EXPECT_NO_THROW(place_tensors(p, {})) << "a reshape";
  std::swap(p.tensors[0].shape, p.tensors[1].shape);
  p.tensors[0].layout = Layout::channels_last;
  EXPECT_NO_THROW(place_tensors(p, {})) << "the other way round";
  p.tensors[1].layout = Layout::channels_last;
  EXPECT_THROW(place_tensors(p, {}), Error);
}

TEST(Placement, AnAliasOfATornTensorIsRefused) {
  Plan p = windows();
  p.tensors.push_back({.name = "flat", .shape = {6}, .view = ViewKind::alias, .parent = 1});
  EXPECT_THROW(static_cast<void>(place_tensors(p, {})), Error);
  p.tensors.back().parent = 0;
  EXPECT_EQ(place_tensors(p, {}).roots.back(), 0);
}

}  // namespace
}  // namespace headrace
