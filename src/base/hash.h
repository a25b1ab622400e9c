// Hashes of bytes (XXH3): checksums, cache keys. Not a defence against a forger. Stable across machines and
// versions, so the values may be stored.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace headrace {

struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  auto operator<=>(const Hash128&) const = default;
};

std::uint64_t hash64(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;
std::uint64_t hash64(std::string_view text, std::uint64_t seed = 0) noexcept;
Hash128 hash128(std::span<const std::byte> bytes, std::uint64_t seed = 0) noexcept;
Hash128 hash128(std::string_view text, std::uint64_t seed = 0) noexcept;

// 32 lower-case hexadecimal digits, high half first.
std::string to_string(const Hash128& hash);

// The same hash over pieces: update(a), update(b) equals the hash of a and b joined.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  Hasher& update(std::span<const std::byte> bytes);
  std::uint64_t digest64() const noexcept;
  Hash128 digest128() const noexcept;

 private:
  struct State;
  struct Free {
    void operator()(State* state) const noexcept;
  };
  std::unique_ptr<State, Free> state_;
};

}  // namespace headrace
