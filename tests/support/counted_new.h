// Replaces the global operator new of a test program by one that counts, per thread, and fails on request.
// For one source file of a program, and not under the address sanitizer, which has operators of its own.
//
//   allocations = 0; counting = true; work(); counting = false; EXPECT_EQ(allocations, 0);
//   allocations_left = 3; work(); allocations_left = -1;   // the fourth one throws
#pragma once

#pragma GCC diagnostic ignored \
    "-Wmismatched-new-delete"  // wrong when operator new is replaced and instrumented

#include <cstddef>
#include <cstdlib>
#include <new>

namespace {
thread_local bool counting = false;
thread_local int allocations = 0;
thread_local int allocations_left = -1;  ///< below 0: any number
void* counted(std::size_t size, std::size_t alignment) {
  if (counting) ++allocations;
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  void* p = nullptr;
  if (posix_memalign(&p, alignment < sizeof(void*) ? sizeof(void*) : alignment, size ? size : 1) != 0)
    throw std::bad_alloc();
  return p;
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t a) {
  return counted(size, static_cast<std::size_t>(a));
}
void* operator new(std::size_t size, std::align_val_t a, const std::nothrow_t&) noexcept try {
  return counted(size, static_cast<std::size_t>(a));
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new(std::size_t size, const std::nothrow_t& nothrow) noexcept {
  return operator new (size, std::align_val_t{alignof(std::max_align_t)}, nothrow);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }
