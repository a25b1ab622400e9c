// That an act throws a headrace::Error of this code, whose message holds this part.
//
//   test::expect_error(ErrorCode::misuse, "never recorded", [&] { event.wait(); });
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <headrace/error.h>

namespace headrace::test {

template <class F>
void expect_error(ErrorCode code, const char* part, F&& act) {
  try {
    act();
    ADD_FAILURE() << "nothing was thrown; expected: " << part;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.message();
    EXPECT_THAT(e.message(), ::testing::HasSubstr(part));
  }
}

}  // namespace headrace::test
