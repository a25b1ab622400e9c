#include <algorithm>
#include <numeric>

#include <headrace/error.h>

#include "plan/plan.h"

namespace headrace {

// Largest first; each goes into the smallest gap between those that live at the same time, or behind them
// all.
MemoryPlan plan_memory(std::span<const MemoryRequest> requests, std::uint64_t alignment) {
  MemoryPlan plan;
  plan.offsets.resize(requests.size());
  std::vector<std::size_t> order(requests.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return requests[a].size_bytes > requests[b].size_bytes;
  });
  struct Block {
    std::uint64_t begin = 0, end = 0;
  };
  std::vector<std::size_t> placed;
  std::vector<Block> busy;
  for (std::size_t r : order) {
    const MemoryRequest& request = requests[r];
    if (request.size_bytes == 0) continue;  // offset 0, no bytes
    std::uint64_t size = 0;
    if (__builtin_add_overflow(request.size_bytes, alignment - 1, &size))
      throw Error(ErrorCode::out_of_memory,
                  "the activations of this plan do not fit into 64 bits of address space");
    size -= size % alignment;
    busy.clear();
    for (std::size_t p : placed)
      if (requests[p].first_step <= request.last_step && request.first_step <= requests[p].last_step)
        busy.push_back({plan.offsets[p], plan.offsets[p] + requests[p].size_bytes});
    std::sort(busy.begin(), busy.end(), [](const Block& a, const Block& b) { return a.begin < b.begin; });
    std::uint64_t best = UINT64_MAX, best_gap = UINT64_MAX, end = 0;
    for (const Block& block : busy) {
      if (block.begin > end && block.begin - end >= size && block.begin - end < best_gap) {
        best = end;
        best_gap = block.begin - end;
      }
      end = std::max(end, (block.end + alignment - 1) / alignment * alignment);
    }
    plan.offsets[r] = best_gap == UINT64_MAX ? end : best;
    std::uint64_t top = 0;
    if (__builtin_add_overflow(plan.offsets[r], size, &top) || top > UINT64_MAX / 2)
      throw Error(ErrorCode::out_of_memory,
                  "the activations of this plan do not fit into 64 bits of address space");
    plan.arena_bytes = std::max(plan.arena_bytes, top);
    placed.push_back(r);
  }
  return plan;
}

}  // namespace headrace
