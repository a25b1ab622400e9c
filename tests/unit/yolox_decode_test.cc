// examples/yolox.h on numbers made by hand.
#include <gtest/gtest.h>

#include "../../examples/yolox.h"

namespace yolox {
namespace {

// A square of 64 pixels: 8 x 8, 4 x 4 and 2 x 2 cells; three classes.
constexpr int kSide = 64;
constexpr std::size_t kRows = 64 + 16 + 4, kColumns = 8;

struct Output {
  std::vector<float> values = std::vector<float>(kRows * kColumns, 0.0f);
  void set(std::size_t row, std::array<float, kColumns> v) {
    std::copy(v.begin(), v.end(), values.begin() + static_cast<std::ptrdiff_t>(row * kColumns));
  }
  std::vector<Box> decoded(const Fit& fit, float least = 0.25f) const {
    return decode({std::span(values), {1, kRows, kColumns}}, fit, least);
  }
};

void expect_box(const Box& box, float left, float top, float right, float bottom, float score, int kind) {
  EXPECT_NEAR(box.left, left, 1e-4);
  EXPECT_NEAR(box.top, top, 1e-4);
  EXPECT_NEAR(box.right, right, 1e-4);
  EXPECT_NEAR(box.bottom, bottom, 1e-4);
  EXPECT_NEAR(box.score, score, 1e-6);
  EXPECT_EQ(box.kind, kind);
}

TEST(YoloxDecode, CellsOfEveryGrid) {
  Output out;
  const float two = std::log(2.0f);
  out.set(8 * 3 + 5, {0.5f, 0.5f, 0, two, 0.5f, 0.1f, 0.6f, 0.2f});  // 8 pixels: cell 5, 3
  out.set(64 + 4 * 1 + 2, {0.5f, 0.25f, two, 0, 0.9f, 0.8f, 0, 0});  // 16 pixels: cell 2, 1
  out.set(64 + 16 + 2 * 1 + 0, {0.5f, -0.5f, 0, -two, 1, 0, 0, 1});  // 32 pixels: cell 0, 1
  const std::vector<Box> boxes = out.decoded({.side = kSide, .width = kSide, .height = kSide});
  ASSERT_EQ(boxes.size(), 3u);
  expect_box(boxes[0], 40, 20, 48, 36, 0.3f, 1);
  expect_box(boxes[1], 24, 12, 56, 28, 0.72f, 0);
  expect_box(boxes[2], 0, 8, 32, 24, 1, 2);
}

TEST(YoloxDecode, BackToThePictureAndCutAtItsEdges) {
  Output out;
  out.set(64 + 4 * 1 + 2, {0.5f, 0.25f, std::log(2.0f), 0, 0.9f, 0.8f, 0, 0});  // 24,12 to 56,28
  out.set(64 + 16 + 1, {0.5f, 0.5f, 200, 200, 0.9f, 0.8f, 0, 0});               // without end
  out.set(64 + 16 + 2, {0.5f, 0.9f, -1, -1, 0.9f, 0.8f, 0, 0});                 // in the grey below
  out.set(64 + 16 + 3, {NAN, 0.5f, 0, 0, 0.9f, 0.8f, 0, 0});
  const std::vector<Box> boxes = out.decoded({.side = kSide, .width = 128, .height = 64});  // scale 1/2
  ASSERT_EQ(boxes.size(), 2u);
  expect_box(boxes[0], 48, 24, 112, 56, 0.72f, 0);
  expect_box(boxes[1], 0, 0, 128, 64, 0.72f, 0);
}

TEST(YoloxDecode, LeavesOutWhatIsUnsureAndWhatIsNoNumber) {
  Output out;
  out.set(0, {0, 0, 0, 0, 0.5f, 0.4f, 0, 0});
  out.set(1, {0, 0, 0, 0, NAN, 0.9f, 0, 0});
  EXPECT_TRUE(out.decoded({.side = kSide, .width = kSide, .height = kSide}).empty());
  EXPECT_EQ(out.decoded({.side = kSide, .width = kSide, .height = kSide}, 0.2f).size(), 1u);
}

TEST(YoloxDecode, RefusesAnotherShape) {
  const Output out;
  const Fit fit{.side = 128, .width = 128, .height = 128};
  EXPECT_THROW((void)out.decoded(fit), headrace::Error);
}

TEST(YoloxKeepBest, TheBestOfEachHeapOfOneKind) {
  const Box best = {0, 0, 10, 10, 0.9f, 1}, shifted = {0, 0, 10, 8, 0.8f, 1},
            other_kind = {0, 0, 10, 10, 0.7f, 2}, half = {0, 0, 10, 4, 0.6f, 1},
            apart = {20, 0, 30, 10, 0.95f, 1};
  EXPECT_NEAR(overlap(best, shifted), 0.8f, 1e-6);
  EXPECT_EQ(overlap(best, apart), 0);
  EXPECT_EQ(keep_best({shifted, other_kind, best, half, apart}, 0.5f),
            (std::vector<Box>{apart, best, other_kind, half}));
  EXPECT_EQ(keep_best({best, apart, other_kind}, 0.5f, 2).size(), 2u);
  EXPECT_TRUE(keep_best({}, 0.5f).empty());
}

}  // namespace
}  // namespace yolox
