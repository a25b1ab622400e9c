// Kernels that tests make of functions, for every device.
#pragma once

#include <functional>
#include <list>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "device/device.h"
#ifdef HEADRACE_CUDA
#include "backends/cuda/driver.h"
#endif

namespace headrace::test {

/// Whether this machine can run the tests of the cuda device; if not, `why`.
inline bool has_cuda([[maybe_unused]] std::string* why = nullptr) {
#ifdef HEADRACE_CUDA
  return cuda::try_driver(why) != nullptr;
#else
  if (why) *why = "this build has no CUDA backend";
  return false;
#endif
}

/// Runs a function of the host in stream order: on a host stream as its kernel, on a CUDA stream as a host
/// function, where its operands must be pinned memory. It lives longer than what was launched.
class TestKernel final : public Kernel {
 public:
  using Body = std::function<void(std::span<std::byte* const>, std::byte*)>;
  explicit TestKernel(Body body) : body_(std::move(body)) {}
  /// Where streams of the running test are CUDA streams.
  static inline bool on_cuda = false;

  void launch([[maybe_unused]] NativeStream stream, std::span<std::byte* const> data,
              std::byte* workspace) const override {
#ifdef HEADRACE_CUDA
    if (on_cuda) {
      const Call& call = calls_.emplace_back(Call{this, {data.begin(), data.end()}, workspace});
      cuda::check(cuda::driver().cuLaunchHostFunc(
          static_cast<CUstream>(stream),
          [](void* user) {
            const Call& c = *static_cast<Call*>(user);
            c.kernel->body_(c.data, c.workspace);
          },
          const_cast<Call*>(&call)));
      return;
    }
#endif
    body_(data, workspace);
  }
  std::string_view name() const override { return "test"; }

 private:
  struct Call {
    const TestKernel* kernel;
    std::vector<std::byte*> data;
    std::byte* workspace;
  };
  Body body_;
  mutable std::list<Call> calls_;
};

/// The whole buffer as an operand.
inline Operand all(const BufferRef& b, Access access) { return {b.get(), 0, b->size_bytes(), access}; }
inline Operand read(const BufferRef& b) { return all(b, Access::read); }
inline Operand write(const BufferRef& b) { return all(b, Access::write); }

/// Fails when it is launched.
class FailingKernel final : public Kernel {
 public:
  FailingKernel(ErrorCode code, std::string message) : error_(code, std::move(message)) {}
  void launch(NativeStream, std::span<std::byte* const>, std::byte*) const override { throw error_; }
  std::string_view name() const override { return "fails"; }

 private:
  Error error_;
};

/// The code of the Error that f throws; `message` gets its text.
template <class F>
ErrorCode code_of(F&& f, std::string* message = nullptr) {
  try {
    f();
  } catch (const Error& e) {
    if (message) *message = e.what();
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::internal;
}

}  // namespace headrace::test
