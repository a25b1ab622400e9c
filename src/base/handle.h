// An owner for one C handle, released by a function known at compile time.
//
//   using StreamHandle = Handle<cudaStream_t, cudaStreamDestroy>;
//   using FileHandle = Handle<int, ::close, -1>;
//   StreamHandle stream;
//   check(cudaStreamCreate(stream.out()));
// Contract: move-only; `deleter` is called once per handle that is not `null`, and what it returns is
// ignored.
#pragma once

#include <utility>

namespace headrace {

template <class T, auto deleter, T null = T{}>
class Handle {
 public:
  Handle() noexcept = default;
  explicit Handle(T value) noexcept : value_(value) {}
  Handle(Handle&& other) noexcept : value_(other.release()) {}
  Handle& operator=(Handle&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Handle() { reset(); }

  T get() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ != null; }

  [[nodiscard]] T release() noexcept { return std::exchange(value_, null); }
  void reset(T value = null) noexcept {
    if (T old = std::exchange(value_, value); old != null) static_cast<void>(deleter(old));
  }
  // For functions that create through a pointer; drops what was held before.
  T* out() noexcept {
    reset();
    return &value_;
  }

 private:
  T value_ = null;
};

}  // namespace headrace
