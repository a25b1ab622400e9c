#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include <headrace/error.h>

#include "core/tensor.h"

namespace headrace {
namespace {

TEST(Half, EveryPatternComesBack) {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const Half h{static_cast<std::uint16_t>(bits)};
    const float f = to_float(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(to_float(to_half(f))));
    } else {
      ASSERT_EQ(to_half(f).bits, h.bits);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  for (std::uint32_t bits = 0; bits < 0x7bff; ++bits) {  // finite neighbours and what lies between
    const float low = to_float(Half{static_cast<std::uint16_t>(bits)});
    const float high = to_float(Half{static_cast<std::uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;
    ASSERT_EQ(to_half(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(to_half(std::nextafterf(middle, high)).bits, bits + 1);
    ASSERT_EQ(to_half(std::nextafterf(middle, low)).bits, bits);
  }
  EXPECT_EQ(to_half(65504.f).bits, 0x7bff);
  EXPECT_EQ(to_half(65519.99f).bits, 0x7bff);
  EXPECT_EQ(to_half(65520.f).bits, 0x7c00);
  EXPECT_EQ(to_half(-std::numeric_limits<float>::infinity()).bits, 0xfc00);
  EXPECT_EQ(to_half(-0.f).bits, 0x8000);
}

TEST(Shape, CountIsChecked) {
  EXPECT_EQ(element_count(Shape{}), 1);
  EXPECT_EQ(element_count(Shape{3, 0, INT64_MAX, INT64_MAX}), 0);
  EXPECT_THROW(static_cast<void>(element_count(Shape{INT64_MAX, 2})), Error);
  EXPECT_THROW(static_cast<void>(element_count(Shape{-1})), Error);
  EXPECT_EQ(to_string(Shape{1, 3, 2}), "1x3x2");
}

TEST(TensorDesc, StridesOfLayouts) {
  EXPECT_EQ(dense_strides({2, 3, 4, 5}, Layout::plain), (std::vector<std::int64_t>{60, 20, 5, 1}));
  EXPECT_EQ(dense_strides({2, 3, 4, 5}, Layout::channels_last), (std::vector<std::int64_t>{60, 1, 15, 3}));
  TensorDesc d = TensorDesc::dense(DType::f16, {2, 3});
  EXPECT_EQ(d.span_bytes(), 12u);
  d.strides = {10, 1};
  EXPECT_FALSE(d.is_dense());
  EXPECT_EQ(d.span_bytes(), 26u);
}

TEST(HostTensor, ElementsOfEveryType) {
  for (int t = 0; t <= static_cast<int>(DType::boolean); ++t) {
    HostTensor x(static_cast<DType>(t), {3});
    x.set_double(1, 1);
    x.set_int(2, 1);
    EXPECT_EQ(x.at_double(0), 0);
    EXPECT_EQ(x.at_int(1), 1);
    EXPECT_EQ(x.at_double(2), 1);
  }
  HostTensor small(DType::i8, {1});
  small.set_double(0, 1e9);
  EXPECT_EQ(small.at_int(0), 127);
  EXPECT_THROW(static_cast<void>(small.at_int(1)), Error);
  EXPECT_THROW(HostTensor(DType::f32, {INT64_MAX / 2}), Error);
}

TEST(HostTensor, UnalignedViewsAreCopied) {
  alignas(8) std::byte raw[16] = {};
  raw[1] = std::byte{7};
  const HostTensor x(DType::i32, {2}, std::span(raw).subspan(1, 8), nullptr);
  EXPECT_EQ(x.at_int(0), 7);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(x.bytes().data()) % 4, 0u);
  EXPECT_THROW(HostTensor(DType::i32, {3}, std::span<const std::byte>(raw, 8), nullptr), Error);
}

}  // namespace
}  // namespace headrace
