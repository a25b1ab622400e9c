// Files: mapped for reading, read whole, and written so that a reader sees the old file or the new one.
//
// Contract: every failure is Error(ErrorCode::io) with the path and the system's reason.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace headrace {

// A regular file, mapped read-only. The bytes stay valid while the object lives, also after the file was
// replaced by rename or removed; a file that is truncated in place ends the process on access (SIGBUS).
class MappedFile {
 public:
  MappedFile() noexcept = default;
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::size_t size_bytes() const noexcept { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Also reads pipes. More than `max_bytes` is an error, found before they are read.
std::vector<std::byte> read_file(const std::filesystem::path& path,
                                 std::size_t max_bytes = std::numeric_limits<std::size_t>::max());
std::string read_text_file(const std::filesystem::path& path,
                           std::size_t max_bytes = std::numeric_limits<std::size_t>::max());

// Writes the pieces one after the other into a temporary file in the same folder, syncs it, and renames it to
// `path`. On any failure the temporary file is removed and what stood at `path` is untouched. What stands
// there must be a regular file or nothing; a link is replaced, not followed.
void write_file_atomic(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces);
void write_file_atomic(const std::filesystem::path& path, std::span<const std::byte> bytes);
void write_file_atomic(const std::filesystem::path& path, std::string_view text);

}  // namespace headrace
