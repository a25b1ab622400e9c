// Ranges of host work for NVIDIA's profilers (NVTX), where the build asks for them (HEADRACE_NVTX); otherwise
// nothing at all.
//
// hooks::Range calls these at its begin and end, on its thread; nobody else does. Ranges nest, lie in the
// domain "headrace" and have a colour by name. Without a profiler each call is one load and one branch.
#pragma once

#include <string_view>

namespace headrace::nvtx {

#ifdef HEADRACE_NVTX
void push(std::string_view name) noexcept;
void pop() noexcept;
#else
inline void push(std::string_view) noexcept {}
inline void pop() noexcept {}
#endif

}  // namespace headrace::nvtx
