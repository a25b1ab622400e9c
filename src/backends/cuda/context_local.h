// Things that live as long as a CUDA context and belong to no single kernel: handles of vendors' libraries.
//
// Problem: a cuDNN handle is dear to make (it loads libraries and takes device memory), is shared by all
// kernels of a device, and must be destroyed while its context still exists.
// Contract: `context_local<T>()` gives the T of the current context and makes it at first use; the device
// calls `release_context_locals(context)` before it gives the context back. Thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <typeindex>

#include "backends/cuda/driver.h"

namespace headrace::cuda {

std::shared_ptr<void> context_local(std::type_index type, const std::function<std::shared_ptr<void>()>& make);
/// Drops what belongs to `context`, which must be current. Kernels must be gone by then.
void release_context_locals(CUcontext context) noexcept;

/// The T of the current context, default-constructed when it is asked for the first time.
template <class T>
std::shared_ptr<T> context_local() {
  return std::static_pointer_cast<T>(context_local(typeid(T), [] { return std::make_shared<T>(); }));
}

}  // namespace headrace::cuda
