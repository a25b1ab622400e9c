// Splitting loops over the OpenMP team of the calling thread.
//
// Contract: f(begin, end) is called for disjoint ranges that cover [0, n), in the caller's thread only when
// `cost` (about: elements touched) is small, else by the whole team. f must not throw. The team size is the
// stream's (omp_set_num_threads on its thread): asking for other sizes would make libgomp end and start
// threads.
#pragma once

#include <algorithm>
#include <cstdint>

#ifndef HEADRACE_NO_OPENMP
#include <omp.h>
#endif

namespace headrace::cpu {

inline constexpr std::int64_t kSerialCost = 16 * 1024;

inline int team_size() {
#ifndef HEADRACE_NO_OPENMP
  return omp_get_max_threads();
#else
  return 1;
#endif
}

template <class F>
void parallel_for(std::int64_t n, std::int64_t cost, const F& f) {
  if (n <= 0) return;
#ifndef HEADRACE_NO_OPENMP
  if (cost > kSerialCost && n > 1 && omp_get_max_threads() > 1) {
#pragma omp parallel
    {
      const std::int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
      const std::int64_t begin = n * me / team, end = n * (me + 1) / team;
      if (begin < end) f(begin, end);
    }
    return;
  }
#endif
  (void)cost;
  f(std::int64_t{0}, n);
}

/// While it lives, the calling thread's OpenMP team has `threads` members (0: unchanged).
class TeamScope {
 public:
  explicit TeamScope(int threads) {
#ifndef HEADRACE_NO_OPENMP
    before_ = omp_get_max_threads();
    if (threads > 0 && threads != before_) omp_set_num_threads(threads);
#else
    (void)threads;
#endif
  }
  ~TeamScope() {
#ifndef HEADRACE_NO_OPENMP
    if (omp_get_max_threads() != before_) omp_set_num_threads(before_);
#endif
  }
  TeamScope(const TeamScope&) = delete;
  TeamScope& operator=(const TeamScope&) = delete;

 private:
#ifndef HEADRACE_NO_OPENMP
  int before_ = 1;
#endif
};

}  // namespace headrace::cpu
