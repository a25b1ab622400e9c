#include "throughput.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

namespace headrace::cli {
namespace {

using Clock = std::chrono::steady_clock;

double us_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(Clock::now() - begin).count();
}

/// Equal bytes, or floats within the rounding that another number of threads may cause.
bool same(const ConstTensorView& expected, const ConstTensorView& actual) {
  if (expected.shape() != actual.shape()) return false;
  if (std::equal(expected.data(), expected.data() + expected.size_bytes(), actual.data())) return true;
  if (expected.dtype() != DType::f32) return false;
  const auto a = expected.as<float>(), b = actual.as<float>();
  float scale = 0;
  for (float v : a) scale = std::max(scale, std::isfinite(v) ? std::abs(v) : 0.0f);
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(a[i] == b[i] || std::abs(a[i] - b[i]) <= 1e-4f * scale || (std::isnan(a[i]) && std::isnan(b[i]))))
      return false;
  return true;
}

}  // namespace

Throughput measure_throughput(const Engine& engine, const ShapeMap& shapes,
                              const std::vector<NamedTensor>& inputs,
                              const std::vector<NamedTensor>& expected, const ThroughputOptions& options) {
  Throughput result;
  SessionOptions session_options = options.session;
  if (session_options.slots == 0) session_options.slots = std::max(4, session_options.contexts * 2);
  result.slots = session_options.slots;
  Session session{engine, session_options};
  session.prepare(shapes);

  std::set<const std::byte*> written;
  std::vector<double> submit_us;
  const auto submit = [&] {
    InputLease in = session.acquire(shapes);
    for (const NamedTensor& t : inputs) {
      const TensorView to = in[t.name];
      const ConstTensorView from = t.tensor.view();
      if (written.insert(to.data()).second) std::copy_n(from.data(), from.size_bytes(), to.data());
    }
    const auto begin = Clock::now();
    Ticket ticket = session.submit(std::move(in));
    submit_us.push_back(us_since(begin));
    return ticket;
  };
  const auto take = [&](Ticket& ticket) {
    const OutputLease out = ticket.get();
    for (std::size_t i = 0; i < expected.size(); ++i)
      if (!same(expected[i].tensor.view(), out[i])) ++result.different;
  };

  std::vector<double> alone_us;
  const std::size_t alone = std::min<std::size_t>(options.iterations, 100);
  const auto alone_begin = Clock::now();
  for (std::size_t i = 0; i < alone + 3 && us_since(alone_begin) < options.seconds * 1e6; ++i) {
    InputLease in = session.acquire(shapes);
    for (const NamedTensor& t : inputs)
      std::copy_n(t.tensor.view().data(), t.tensor.view().size_bytes(), in[t.name].data());
    const auto begin = Clock::now();
    Ticket ticket = session.submit(std::move(in));
    ticket.wait();
    if (i >= 3 || alone < 3) alone_us.push_back(us_since(begin));
    take(ticket);
  }

  std::vector<Ticket> tickets;
  for (int i = 0; i < session_options.slots; ++i) tickets.push_back(submit());
  std::size_t next = 0, done = 0;
  const auto turn = [&] {
    Ticket& ticket = tickets[next++ % tickets.size()];
    take(ticket);
    ticket = submit();
  };
  for (int i = 0; i < 2 * session_options.slots; ++i) turn();  // every slot's first use
  submit_us.clear();
  const std::uint64_t allocations = session.stats().allocations;
  const auto begin = Clock::now();
  while (us_since(begin) < options.seconds * 1e6 && done < options.iterations) {
    turn();
    ++done;
  }
  result.per_s = static_cast<double>(done) / us_since(begin) * 1e6;
  const SessionStats stats = session.stats();
  for (Ticket& ticket : tickets) take(ticket);
  result.json = {{"slots", session_options.slots},
                 {"contexts", session_options.contexts},
                 {"n", done},
                 {"submit_us", percentile(submit_us, 0.5)},
                 {"one_by_one_us", percentile(alone_us, 0.5)},
                 {"max_in_flight", stats.max_in_flight},
                 {"allocations", stats.allocations - allocations}};
  return result;
}

}  // namespace headrace::cli
