#include "backends/cuda/context_local.h"

#include <map>
#include <utility>
#include <vector>

#include "base/sched.h"

namespace headrace::cuda {
namespace {

struct Locals {
  sched::Mutex mutex{"cuda.context_local"};
  std::map<std::pair<CUcontext, std::type_index>, std::shared_ptr<void>> all;
};
/// Never destroyed: at the process's end the driver may be gone before statics are.
Locals& locals() {
  static Locals* const instance = new Locals;
  return *instance;
}

}  // namespace

std::shared_ptr<void> context_local(std::type_index type,
                                    const std::function<std::shared_ptr<void>()>& make) {
  CUcontext context = nullptr;
  check(driver().cuCtxGetCurrent(&context));
  Locals& l = locals();
  sched::LockGuard lock(l.mutex);
  std::shared_ptr<void>& entry = l.all[{context, type}];
  if (!entry) entry = make();
  return entry;
}

void release_context_locals(CUcontext context) noexcept {
  std::vector<std::shared_ptr<void>> dropped;  // destroyed outside the lock
  Locals& l = locals();
  sched::LockGuard lock(l.mutex);
  for (auto it = l.all.begin(); it != l.all.end();) {
    if (it->first.first != context) {
      ++it;
      continue;
    }
    dropped.push_back(std::move(it->second));
    it = l.all.erase(it);
  }
}

}  // namespace headrace::cuda
