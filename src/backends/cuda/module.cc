#include "backends/cuda/module.h"

#include <map>
#include <utility>

#include <headrace/error.h>

#include "backends/cuda/driver.h"
#include "backends/cuda/nvrtc.h"
#include "base/hash.h"
#include "base/sched.h"

namespace headrace::cuda {
namespace {

/// Loaded functions by context and source, held weakly.
class Loaded {
 public:
  using Key = std::pair<CUcontext, Hash128>;
  FunctionRef find(const Key& key) {
    const sched::LockGuard lock(mutex_);
    const auto found = functions_.find(key);
    return found == functions_.end() ? nullptr : found->second.lock();
  }
  /// Of two that were loaded at the same time the first stays.
  FunctionRef add(const Key& key, FunctionRef function) {
    const sched::LockGuard lock(mutex_);
    if (functions_.size() >= kSweep)
      std::erase_if(functions_, [](const auto& e) { return e.second.expired(); });
    std::weak_ptr<const Function>& entry = functions_[key];
    if (FunctionRef other = entry.lock()) return other;
    entry = function;
    return function;
  }

 private:
  static constexpr std::size_t kSweep = 256;
  sched::Mutex mutex_{"loaded kernels"};
  std::map<Key, std::weak_ptr<const Function>> functions_;
};
Loaded& loaded() {
  static Loaded all;
  return all;
}

}  // namespace

Function::Function(CUcontext context, std::span<const std::byte> cubin, const std::string& name)
    : context_(context) {
  const Driver& d = driver();
  try {
    check(d.cuModuleLoadData(&module_, cubin.data()));
    check(d.cuModuleGetFunction(&function_, module_, kEntry));
  } catch (Error& e) {
    if (module_) check_quietly(d.cuModuleUnload(module_));
    throw e.add_context("while loading the kernel " + name);
  }
}

Function::~Function() {
  try {
    const ContextScope scope(context_);
    check_quietly(driver().cuModuleUnload(module_));
  } catch (const Error&) {  // the context is gone, and the module with it
  }
}

void Function::allow_shared_bytes(unsigned bytes) const {
  if (bytes > 48 * 1024)
    check(driver().cuFuncSetAttribute(function_, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                      static_cast<int>(bytes)));
}

std::string current_arch() {
  const Driver& d = driver();
  CUdevice device = 0;
  check(d.cuCtxGetDevice(&device));
  int major = 0, minor = 0;
  check(d.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device));
  check(d.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device));
  const int version = 10 * major + minor;
  return "sm_" + std::to_string(version) + (version == 90 ? "a" : "");
}

FunctionRef load_kernel(const std::string& source, const std::string& name, unsigned shared_bytes) {
  CUcontext context = nullptr;
  check(driver().cuCtxGetCurrent(&context));
  if (!context)
    throw Error(ErrorCode::internal, "no CUDA context is current while the kernel " + name + " is made");
  const Loaded::Key key{context, hash128(source)};
  FunctionRef function = loaded().find(key);
  if (!function) {
    const Cubin cubin = KernelCache(DiskCache::shared()).compile(source, name, current_arch());
    function = loaded().add(key, std::make_shared<Function>(context, cubin, name));
  }
  function->allow_shared_bytes(shared_bytes);
  return function;
}

void launch(const Function& function, CUstream stream, const Geometry& g,
            std::span<const void* const> arguments) {
  check(driver().cuLaunchKernel(function.get(), g.grid[0], g.grid[1], g.grid[2], g.block[0], g.block[1],
                                g.block[2], g.shared_bytes, stream, const_cast<void**>(arguments.data()),
                                nullptr));
}

}  // namespace headrace::cuda
