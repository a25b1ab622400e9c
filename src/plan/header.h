// The fixed head of a plan file, shared by write.cc and read.cc. Little-endian throughout.
//
//
// File: header (128 bytes) | metadata (flatbuffer) | zeros to the next multiple of 64 | weights.
// Every byte is covered: the header by its own hash, metadata and weights by XXH3-128, the zeros by being
// compared.
#pragma once

#include <cstdint>

namespace headrace::plan_file {

inline constexpr char kMagic[8] = {'H', 'E', 'A', 'D', 'R', 'A', 'C', 'E'};
inline constexpr std::uint32_t kEndianMark = 0x01020304;

struct Header {
  char magic[8];
  std::uint32_t version;
  std::uint32_t endian_mark;
  std::uint64_t file_bytes;
  std::uint64_t metadata_bytes;
  std::uint64_t weights_offset;
  std::uint64_t weights_bytes;
  std::uint64_t metadata_hash[2];  ///< low, high
  std::uint64_t weights_hash[2];
  std::uint64_t reserved[4];  ///< zero
  std::uint64_t spare;        ///< zero
  std::uint64_t header_hash;  ///< of all bytes before it
};
static_assert(sizeof(Header) == 128);

inline constexpr std::uint64_t kAlignment = 64;
constexpr std::uint64_t aligned(std::uint64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace headrace::plan_file
