#include <algorithm>
#include <cstring>
#include <deque>
#include <map>

#include <headrace/session.h>

#include "ladder/rungs.h"

namespace headrace::ladder {
namespace {

/// Tickets on their way to the thread that reads results. Empty: the end.
class TicketQueue {
 public:
  void put(std::optional<Ticket> ticket) {
    {
      sched::LockGuard lock(mutex_);
      tickets_.push_back(std::move(ticket));
    }
    changed_.notify_one();
  }
  std::optional<Ticket> get() {
    sched::UniqueLock lock(mutex_);
    changed_.wait(lock, [&] { return !tickets_.empty(); });
    std::optional<Ticket> ticket = std::move(tickets_.front());
    tickets_.pop_front();
    return ticket;
  }

 private:
  sched::Mutex mutex_{"ladder.tickets"};
  sched::CondVar changed_{"ladder.tickets.changed"};
  std::deque<std::optional<Ticket>> tickets_;
};

/// Batches into a session as fast as it takes them; results are post-processed on another thread. Inputs lie
/// in the session's own pinned memory before the clock runs, as a producer's would that writes there: each of
/// its inputs keeps the batch that it was given first.
void run(Rig& rig, Session& session, int inputs, int batches, Delivery& delivery) {
  const ShapeMap shapes = rig.shapes(rig.rows());
  const auto infos = rig.engine->inputs();
  session.prepare(shapes);
  std::map<const std::byte*, int> batch_at;
  const auto first_byte = [&](const InputLease& lease) { return lease[infos[0].name].data(); };
  {
    std::vector<InputLease> leases;
    for (int b = 0; b < inputs; ++b) {
      leases.push_back(session.acquire(shapes));
      batch_at[first_byte(leases.back())] = b;
      for (std::size_t i = 0; i < infos.size(); ++i) {
        const TensorView view = leases.back()[infos[i].name];
        std::memcpy(view.data(), rig.batch(b).buffers[i]->host_data(), view.size_bytes());
      }
    }
  }
  TicketQueue tickets;
  sched::Thread reader("post", [&] {
    while (std::optional<Ticket> ticket = tickets.get()) {
      const OutputLease out = ticket->get();
      std::vector<const std::byte*> data;
      for (std::size_t o = 0; o < rig.engine->outputs().size(); ++o) data.push_back(out[o].data());
      rig.post(static_cast<int>(out.tag()), data, rig.rows(), delivery);
    }
  });
  for (int k = 0; k < batches; ++k) {
    InputLease lease = session.acquire(shapes);
    delivery.submit(k);
    delivery.batch[static_cast<std::size_t>(k)] = batch_at.at(first_byte(lease));
    const TimePoint begin = sched::Clock::now();
    Ticket ticket = session.submit(std::move(lease), {.tag = static_cast<std::uint64_t>(k)});
    delivery.enqueuing += sched::Clock::now() - begin;
    tickets.put(std::move(ticket));
  }
  tickets.put(std::nullopt);
  reader.join();
}

void run_session(Rig& rig, int contexts, int batches, Delivery& delivery) {
  // Check runs have an input for each batch, the others as many as keep every stage busy.
  const int slots = delivery.keep ? std::clamp(rig.machine.options.batches, 6 * contexts, 64) : 6 * contexts;
  Session session{Engine::from(rig.engine), {.slots = slots, .contexts = contexts}};
  run(rig, session, slots, batches, delivery);
}

}  // namespace

void session(Rig& rig, int batches, Delivery& delivery) { run_session(rig, 1, batches, delivery); }
void two_contexts(Rig& rig, int batches, Delivery& delivery) { run_session(rig, 2, batches, delivery); }

}  // namespace headrace::ladder
