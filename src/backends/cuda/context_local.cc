#include "backends/cuda/context_local.h"

#include <map>
#include <utility>
#include <vector>

#include "base/sched.h"

namespace headrace::cuda {
namespace {

/// One thing of one context. Making it may take long (a library is loaded), so each has a lock of its own:
/// who wants another thing need not wait.
struct Local {
  sched::Mutex mutex{"cuda.context_local"};
  std::shared_ptr<void> value;
};

struct Locals {
  sched::Mutex mutex{"cuda.context_locals"};
  std::map<std::pair<CUcontext, std::type_index>, std::shared_ptr<Local>> all;
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
  std::shared_ptr<Local> local;
  {
    sched::LockGuard lock(l.mutex);
    std::shared_ptr<Local>& entry = l.all[{context, type}];
    if (!entry) entry = std::make_shared<Local>();
    local = entry;
  }
  sched::LockGuard lock(local->mutex);
  if (!local->value) local->value = make();
  return local->value;
}

void release_context_locals(CUcontext context) noexcept {
  std::vector<std::shared_ptr<Local>> dropped;  // destroyed outside the lock
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
