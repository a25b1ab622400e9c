// The schedules of overlapped copies and computation: the articles' fourth and fifth way, and ours.
#pragma once

#include "seedway/seedway.h"

namespace headrace::seedway {

struct Outcome {
  std::vector<float> printed;  ///< by batch
  std::set<std::string> pairs;
  std::uint64_t uploads = 0;
  double ms = 0;  ///< until the last batch was printed
};

struct OverlapOptions {
  int batches = 5;
  bool print_thread = false;  ///< the fifth way: printing on a thread of its own, behind a queue of one
  double print_ms = 0;
  sim::Spec spec = kSpec;
};

/// Two streams, three events, one device input, one host output. The event that says "input consumed" is
/// given to the context after the enqueue that it is meant for, so it takes effect one batch late; a wait for
/// an event that was never recorded is no wait.
inline Outcome overlap_seedway(const OverlapOptions& o) {
  Rig rig({.spec = o.spec});
  Outcome outcome;
  auto compute = rig.stream("compute"), copy = rig.stream("copy");
  const EventRef consumed = rig.event(), copied = rig.event(), ready = rig.event();
  std::vector<BufferRef> data;
  for (int k = 0; k < o.batches; ++k) data.push_back(rig.pinned(static_cast<float>(k)));
  BufferRef host_in = data[0];
  const BufferRef in = rig.empty(MemoryKind::device), out = rig.empty(MemoryKind::device);
  const BufferRef host_out = rig.empty(MemoryKind::pinned);
  const auto print = [&](int k) {
    const std::string name = "print " + std::to_string(k);
    const float first = rig.look(host_out, name);
    if (o.print_ms > 0) sched::sleep_for(std::chrono::microseconds(static_cast<int>(o.print_ms * 1000)));
    const float last = rig.look(host_out, name);  // it is read from beginning to end of the printing
    outcome.printed.push_back(first == last ? first : last);
  };
  Queue<int> queue(1);
  sched::Thread printer;
  if (o.print_thread)
    printer = sched::Thread("printer", [&] {
      for (int k = queue.get(); k >= 0; k = queue.get()) print(k);
    });

  copy->copy(write(in), read(host_in));
  copy->record(*copied);
  Event* consumed_setting = nullptr;  // what the context will record from its next enqueue on
  bool consumed_recorded = false;
  for (int k = 0; k < o.batches; ++k) {
    const bool next = k + 1 < o.batches;
    copied->wait();
    if (next) host_in = data[static_cast<std::size_t>(k) + 1];
    compute->wait(*copied);
    rig.compute(*compute, k, in, out, consumed_setting);
    consumed_recorded = consumed_recorded || consumed_setting;
    consumed_setting = consumed.get();
    if (consumed_recorded) copy->wait(*consumed);
    if (o.print_thread ? next : host_in != nullptr) {  // the fourth way: always true
      copy->copy(write(in), read(host_in));
      copy->record(*copied);
    }
    compute->copy(write(host_out), read(out));
    compute->record(*ready);
    ready->wait();
    if (o.print_thread)
      queue.put(k);
    else
      print(k);
  }
  if (o.print_thread) {
    queue.put(-1);
    printer.join();  // which the article leaves out
  }
  outcome.ms = rig.ms();
  copy->synchronize();
  outcome.pairs = rig.pairs;
  outcome.uploads = rig.sim->counters().uploads;
  return outcome;
}

/// The same work ordered rightly: the event is an argument of the enqueue, inputs and outputs are rings of
/// two, downloads have a stream of their own, and a printed output is leased until it has been printed.
inline Outcome overlap_ours(const OverlapOptions& o) {
  constexpr std::size_t kRing = 2;
  Rig rig({.spec = o.spec});
  Outcome outcome;
  auto compute = rig.stream("compute"), copy = rig.stream("copy"), download = rig.stream("download");
  std::vector<BufferRef> data;
  for (int k = 0; k < o.batches; ++k) data.push_back(rig.pinned(static_cast<float>(k)));
  struct Slot {
    BufferRef in, out, host_out;
    EventRef copied, consumed, computed, ready;
  };
  std::vector<Slot> ring(kRing);
  Queue<std::size_t> free(kRing), done(kRing);
  for (std::size_t s = 0; s < kRing; ++s) {
    ring[s] = {rig.empty(MemoryKind::device),
               rig.empty(MemoryKind::device),
               rig.empty(MemoryKind::pinned),
               rig.event(),
               rig.event(),
               rig.event(),
               rig.event()};
    free.put(s);
  }
  sched::Thread printer("printer", [&] {
    for (int k = 0; k < o.batches; ++k) {
      const std::size_t s = done.get();
      ring[s].ready->wait();
      const std::string name = "print " + std::to_string(k);
      const float value = rig.look(ring[s].host_out, name);
      if (o.print_ms > 0) sched::sleep_for(std::chrono::microseconds(static_cast<int>(o.print_ms * 1000)));
      EXPECT_EQ(rig.look(ring[s].host_out, name), value);
      outcome.printed.push_back(value);
      free.put(s);
    }
  });
  for (int k = 0; k < o.batches; ++k) {
    const auto turn = static_cast<std::size_t>(k);
    Slot& slot = ring[turn % kRing];
    if (turn >= kRing) copy->wait(*slot.consumed);
    copy->copy(write(slot.in), read(data[turn]));
    copy->record(*slot.copied);
    const std::size_t leased = free.get();  // outputs come back in order here
    EXPECT_EQ(leased, turn % kRing);
    compute->wait(*slot.copied);
    if (turn >= kRing) compute->wait(*slot.ready);  // its former output has gone down
    rig.compute(*compute, k, slot.in, slot.out, slot.consumed.get());
    compute->record(*slot.computed);
    download->wait(*slot.computed);
    download->copy(write(slot.host_out), read(slot.out));
    download->record(*slot.ready);
    done.put(leased);
  }
  printer.join();
  outcome.ms = rig.ms();
  outcome.pairs = rig.pairs;
  outcome.uploads = rig.sim->counters().uploads;
  EXPECT_EQ(rig.sim->live().operations, 0);
  return outcome;
}

}  // namespace headrace::seedway
