#include "device/poison.h"

namespace headrace {

namespace {
std::atomic<std::uint64_t> epoch{0};
}

std::uint64_t current_epoch() noexcept { return epoch.load(std::memory_order_acquire); }

void Poison::observe_and_throw() {
  std::uint64_t unobserved = UINT64_MAX;
  // An epoch counts as "after" only when it was read after this increment.
  observed_at.compare_exchange_strong(unobserved, epoch.fetch_add(1, std::memory_order_acq_rel) + 1);
  std::rethrow_exception(error);
}

}  // namespace headrace
