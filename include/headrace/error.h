// The one exception type of headrace.
//
// Every failure that a caller can meet arrives as `headrace::Error`: a code for programs, a message for
// people (what is wrong, where, what to do), and context frames that the layers add on the way up, innermost
// first. Thread-safe to copy and to carry in std::exception_ptr.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

/// Class of a failure. The CLI maps each to its own exit code (docs/cli.md).
enum class ErrorCode {
  invalid_argument,  ///< a caller's argument: shape, dtype, name, flag, option
  invalid_model,     ///< the .onnx file is not what it claims to be
  unsupported,       ///< valid, but headrace does not do it
  invalid_plan,      ///< the plan file is damaged, truncated, or of another version or machine
  io,                ///< a file could not be read or written
  out_of_memory,     ///< a memory budget or an allocation was exceeded
  device,            ///< a device failed or is not there
  misuse,            ///< the API was used against its contract (two threads in one context, ...)
  rejected,          ///< an overflow policy refused the item
  dropped,           ///< an overflow policy gave up an item that had been taken
  cancelled,         ///< the work was cancelled before it ran
  timeout,           ///< a deadline passed
  internal,          ///< a broken invariant of headrace itself
};

/// "invalid_argument" etc.: the spelling used in JSON and messages.
std::string_view to_string(ErrorCode code);

class [[nodiscard]] Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string message);

  ErrorCode code() const noexcept { return code_; }
  /// The message without its context frames.
  const std::string& message() const noexcept { return message_; }
  /// Context frames, innermost first ("while importing node 'conv1' (Conv, opset 17)").
  const std::vector<std::string>& context() const noexcept { return context_; }
  /// Adds a frame and returns *this, for `catch (Error& e) { throw e.add_context("..."); }` style code.
  Error& add_context(std::string frame);
  const char* what() const noexcept override { return what_.c_str(); }

 private:
  void compose();
  ErrorCode code_;
  std::string message_;
  std::vector<std::string> context_;
  std::string what_;
};

}  // namespace headrace
