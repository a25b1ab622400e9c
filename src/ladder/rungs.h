// The rungs as schedules: each runs `batches` batches through a rig and delivers every one.
#pragma once

#include <string>
#include <vector>

#include "ladder/rig.h"

namespace headrace::ladder {

struct Rung {
  std::string id, name;
  Variant variant = Variant::fp32;
  MemoryKind batches = MemoryKind::pinned;  ///< where they are before the window
  bool recorded = false;                    ///< one launch per batch
  bool small_first = false;                 ///< as many small batches come before the full ones
  int contexts = 1;
  void (*run)(Rig& rig, int batches, Delivery& delivery) = nullptr;
};

/// In the order of climbing.
const std::vector<Rung>& rungs();

// Rungs 0 to 5 and 8: contexts and streams. rungs.cc
void blocking_with_allocation(Rig& rig, int batches, Delivery& delivery);
void blocking(Rig& rig, int batches, Delivery& delivery);
void staged(Rig& rig, int batches, Delivery& delivery);
void overlapped(Rig& rig, int batches, Delivery& delivery);
void lockstep(Rig& rig, int batches, Delivery& delivery);
void threaded(Rig& rig, int batches, Delivery& delivery);
void two_profiles(Rig& rig, int batches, Delivery& delivery);
// Rungs 6, 7 and 9: the Session. session_rungs.cc
void session(Rig& rig, int batches, Delivery& delivery);
void two_contexts(Rig& rig, int batches, Delivery& delivery);

}  // namespace headrace::ladder
