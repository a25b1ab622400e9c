#include "base/hash.h"

#include <cstdio>
#include <new>

#define XXH_INLINE_ALL
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

namespace headrace {

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t hash64(std::string_view text, std::uint64_t seed) noexcept {
  return hash64(std::as_bytes(std::span(text)), seed);
}

Hash128 hash128(std::span<const std::byte> bytes, std::uint64_t seed) noexcept {
  const XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {hash.low64, hash.high64};
}

Hash128 hash128(std::string_view text, std::uint64_t seed) noexcept {
  return hash128(std::as_bytes(std::span(text)), seed);
}

std::string to_string(const Hash128& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

struct Hasher::State {
  XXH3_state_t xxh;
};

void Hasher::Free::operator()(State* state) const noexcept { delete state; }

// Each width has its own state in XXH3, but they differ only in the final mix: one reset and update serves
// both.
Hasher::Hasher() : state_(new State) { XXH3_128bits_reset(&state_->xxh); }
Hasher::~Hasher() = default;

Hasher& Hasher::update(std::span<const std::byte> bytes) {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
  return *this;
}

std::uint64_t Hasher::digest64() const noexcept { return XXH3_64bits_digest(&state_->xxh); }

Hash128 Hasher::digest128() const noexcept {
  const XXH128_hash_t hash = XXH3_128bits_digest(&state_->xxh);
  return {hash.low64, hash.high64};
}

}  // namespace headrace
