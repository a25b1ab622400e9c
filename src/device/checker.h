// The hazard checker: a Device around any Device that finds unordered conflicting accesses.
//
// Problem: a missing wait gives right results almost always. Here it is found whenever the schedule allows the race, not
// only when the race happens.
// Contract: every launch and copy names its operands. Order (happens-before, kept as vector clocks) comes from: stream
// order, submission (what a host thread did before it submitted), event record and wait, host waits (Event::wait, ready,
// Stream::synchronize) and the acquire/release hooks of queues and leases (base/hooks.h). Two accesses to overlapping
// bytes, at least one a write, without order either way, are a hazard: reported once, with both operations, their streams
// and the byte range. Memory is bounded: old accesses that newer ones cover are forgotten. Thread-safe. One checker at a
// time receives the process-wide hooks: the one made last.
// Source of the method: vector clocks as in FastTrack (Flanagan and Freund, 2009), on byte ranges instead of variables.
#pragma once

#include <string>
#include <vector>

#include "device/device.h"

namespace headrace {

DeviceRef make_checked_device(DeviceRef inner);

/// Reports so far, one line each; empty for a device that is not checked.
std::vector<std::string> hazard_reports(const Device& device);

/// Tells the checker that this host thread touches memory that it got from the device (nothing for other devices).
void declare_host_access(Device& device, const Operand& operand, std::string_view name);

}  // namespace headrace
