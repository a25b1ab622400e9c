#include "device/checker_state.h"

#include "base/hooks.h"

namespace headrace::hazards {
namespace {

/// Hooks are process-wide and checkers are not: hands each call to all of them.
class HookFanOut final : public hooks::Observer {
 public:
  void add(Checker* checker);
  void remove(Checker* checker);
  void on_release(const void* token) noexcept override;
  void on_acquire(const void* token) noexcept override;

 private:
  sched::Mutex mutex_{"checker.hooks"};
  std::vector<Checker*> checkers_;
};

HookFanOut& fan_out() {
  static HookFanOut instance;
  return instance;
}

void HookFanOut::add(Checker* checker) {
  sched::LockGuard lock(mutex_);
  checkers_.push_back(checker);
  if (checkers_.size() == 1) hooks::set_observer(this);
}
void HookFanOut::remove(Checker* checker) {
  sched::LockGuard lock(mutex_);
  std::erase(checkers_, checker);
  if (checkers_.empty()) hooks::set_observer(nullptr);
}
void HookFanOut::on_release(const void* token) noexcept {
  sched::LockGuard lock(mutex_);
  for (Checker* checker : checkers_) checker->release(token);
}
void HookFanOut::on_acquire(const void* token) noexcept {
  sched::LockGuard lock(mutex_);
  for (Checker* checker : checkers_) checker->acquire(token);
}

}  // namespace

Checker::Checker(HazardSink sink, const HazardOptions& options) : sink_(std::move(sink)), options_(options) {
  fan_out().add(this);
}
Checker::~Checker() { fan_out().remove(this); }

}  // namespace headrace::hazards
