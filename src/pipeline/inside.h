// Whether the calling thread is in user code that an object has called: such code must not wait for that
// object.
//
// Contract: scopes nest, also of several objects: a callback of one session may make another session call
// back.
//   const Inside<Flow> inside(this);   ...   if (Inside<Flow>::of(this)) throw Error(ErrorCode::misuse, ...
#pragma once

namespace headrace::pipeline {

template <class Owner>
class Inside {
 public:
  explicit Inside(const Owner* owner) noexcept : owner_(owner), outer_(innermost) { innermost = this; }
  ~Inside() { innermost = outer_; }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;
  static bool of(const Owner* owner) noexcept {
    const Inside* scope = innermost;
    while (scope && scope->owner_ != owner) scope = scope->outer_;
    return scope != nullptr;
  }

 private:
  static inline thread_local const Inside* innermost = nullptr;
  const Owner* owner_;
  const Inside* outer_;
};

}  // namespace headrace::pipeline
