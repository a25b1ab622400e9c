// Reads one line of the graph text form, token by token. Errors name the column.
#pragma once

#include <cctype>
#include <charconv>
#include <string>
#include <string_view>

#include <headrace/error.h>

#include "core/enum_names.h"

namespace headrace {

class TextCursor {
 protected:
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::invalid_argument, what + " at column " + std::to_string(at_ + 1));
  }
  void blanks() {
    while (at_ < line_.size() && (line_[at_] == ' ' || line_[at_] == '\t')) ++at_;
  }
  char peek() {
    blanks();
    return at_ < line_.size() ? line_[at_] : '\0';
  }
  bool accept(std::string_view token) {
    blanks();
    if (line_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }
  void expect(std::string_view token) {
    if (!accept(token)) fail("expected '" + std::string(token) + "'");
  }
  std::string word() {
    blanks();
    const std::size_t begin = at_;
    while (at_ < line_.size() && (std::isalnum(static_cast<unsigned char>(line_[at_])) || line_[at_] == '_'))
      ++at_;
    return std::string(line_.substr(begin, at_ - begin));
  }
  std::string quoted(char quote = '"') {
    expect(std::string_view(&quote, 1));
    std::string out;
    while (at_ < line_.size() && line_[at_] != quote) {
      if (line_[at_] == '\\' && at_ + 1 < line_.size()) ++at_;
      out += line_[at_++];
    }
    if (at_ >= line_.size()) fail("a string does not end");
    ++at_;
    return out;
  }
  template <class T>
  T number() {
    blanks();
    T value{};
    const auto [end, error] = std::from_chars(line_.data() + at_, line_.data() + line_.size(), value);
    if (error != std::errc{}) fail("expected a number");
    at_ = static_cast<std::size_t>(end - line_.data());
    return value;
  }
  template <class E>
  E enumerator() {
    const std::string text = word();
    const auto names = enum_names<E>();
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (names[i] == text) return static_cast<E>(i);
    }
    fail("unknown name '" + text + "'");
  }

  std::string_view line_;
  std::size_t at_ = 0;
};

}  // namespace headrace
