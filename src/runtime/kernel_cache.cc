#include "runtime/kernel_cache.h"

namespace headrace::runtime {

std::shared_ptr<const Kernel> KernelCache::get(const std::string& key,
                                               const std::function<std::unique_ptr<Kernel>()>& make) {
  {
    sched::LockGuard lock(mutex_);
    if (const auto it = index_.find(key); it != index_.end()) {
      items_.splice(items_.begin(), items_, it->second);
      return it->second->kernel;
    }
  }
  std::shared_ptr<const Kernel> kernel = make();
  std::shared_ptr<const Kernel> dropped;  // declared before the lock: destroyed after it
  sched::LockGuard lock(mutex_);
  ++made_;
  if (const auto it = index_.find(key); it != index_.end()) return it->second->kernel;
  items_.push_front({key, kernel});
  index_[key] = items_.begin();
  if (items_.size() > capacity_) {
    dropped = std::move(items_.back().kernel);
    index_.erase(items_.back().key);
    items_.pop_back();
  }
  return kernel;
}

std::size_t KernelCache::size() const {
  sched::LockGuard lock(mutex_);
  return items_.size();
}

std::uint64_t KernelCache::made() const {
  sched::LockGuard lock(mutex_);
  return made_;
}

}  // namespace headrace::runtime
