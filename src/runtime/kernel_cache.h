// The Engine's kernels, shared by all contexts: a bounded, locked, least-recently-used map.
//
// Contract: a kernel is made outside the lock, so that two contexts may prepare at once; when both make the
// same one, the first to finish stays. A kernel lives as long as anybody holds it, also after it has left the
// cache.
//   std::shared_ptr<const Kernel> k = cache.get(key, [&] { return tactic.make(problem, choice); });
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/sched.h"
#include "device/device.h"

namespace headrace::runtime {

class KernelCache {
 public:
  explicit KernelCache(std::size_t capacity) : capacity_(capacity == 0 ? 1 : capacity) {}
  std::shared_ptr<const Kernel> get(const std::string& key,
                                    const std::function<std::unique_ptr<Kernel>()>& make);
  std::size_t size() const;
  std::uint64_t made() const;  ///< how often `make` ran to its end

 private:
  struct Item {
    std::string key;
    std::shared_ptr<const Kernel> kernel;
  };
  mutable sched::Mutex mutex_{"engine.kernels"};
  std::list<Item> items_;  ///< most recently used first
  std::unordered_map<std::string, std::list<Item>::iterator> index_;
  std::size_t capacity_;
  std::uint64_t made_ = 0;
};

}  // namespace headrace::runtime
