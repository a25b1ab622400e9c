#include "backends/sim/memory.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include <fmt/format.h>

#include <headrace/error.h>

namespace headrace::sim {
namespace {

constexpr std::align_val_t kAlignment{64};
constexpr std::size_t kZone = 64;
constexpr std::size_t kAddressSpace = std::size_t{1} << 47;
constexpr std::uint8_t kZonePattern = 0xE7;
// Signalling as float32 and, in both halves, NaN as float16; far from any index as an integer.
constexpr std::uint32_t kPoison = 0x7FA57DA5;

bool intact(const std::byte* zone) {
  return std::all_of(zone, zone + kZone, [](std::byte b) { return b == std::byte{kZonePattern}; });
}

std::string_view name(MemoryKind kind) {
  return kind == MemoryKind::host ? "pageable" : kind == MemoryKind::pinned ? "pinned" : "device";
}

}  // namespace

Storage::Storage(MachineRef machine, std::size_t size, MemoryKind kind, MemoryUse use)
    : machine_(std::move(machine)), size_(size), kind_(kind), use_(use) {
  machine_->ledger.take(size_, use_);
  if (size_ < kAddressSpace)
    block_ = static_cast<std::byte*>(::operator new(size_ + 2 * kZone, kAlignment, std::nothrow));
  if (!block_) {
    machine_->ledger.give_back(size_, use_);
    throw Error(ErrorCode::out_of_memory,
                fmt::format("the simulated machine has no {} bytes of {} memory for {}", size_, name(kind_),
                            headrace::to_string(use_)));
  }
  data_ = block_ + kZone;
  std::memset(block_, kZonePattern, kZone);
  std::memset(data_ + size_, kZonePattern, kZone);
  for (std::size_t i = 0; i < size_; i += sizeof kPoison)
    std::memcpy(data_ + i, &kPoison, std::min(sizeof kPoison, size_ - i));
}

Storage::Storage(MachineRef machine, std::byte* data, std::size_t size, MemoryKind kind,
                 std::shared_ptr<const void> owner)
    : machine_(std::move(machine)), data_(data), size_(size), kind_(kind), owner_(std::move(owner)) {}

Storage::~Storage() {
  if (kind_ != MemoryKind::host || block_) machine_->remove_storage(data_);
  if (!block_) return;
  check_red_zones("when it was freed");
  ::operator delete(block_, kAlignment);
}

std::string Storage::describe() const {
  return fmt::format("{} memory of {} bytes ({})", name(kind_), size_, headrace::to_string(use_));
}

void Storage::check_red_zones(const std::string& after) {
  if (!block_) return;
  for (std::byte* zone : {block_, data_ + size_})
    if (!intact(zone)) {
      machine_->violation(fmt::format("bytes {} {} were overwritten, seen {}",
                                      zone == block_ ? "before" : "after", describe(), after));
      std::memset(zone, kZonePattern, kZone);
    }
}

void Storage::released() {
  if (const std::int64_t left = pending.load(); left > 0)
    machine_->violation(fmt::format("{} was freed under {} operation{} still to come", describe(), left,
                                    left == 1 ? "" : "s"));
  if (block_) machine_->ledger.give_back(size_, use_);
}

}  // namespace headrace::sim
