#include "backends/cuda/disk_cache.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <headrace/error.h>

#include "base/file.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxEntry = std::size_t{64} << 20;
constexpr std::uint32_t kWritesPerSweep = 32;
constexpr std::int64_t kTouchAfterSeconds = 3600;  ///< a hit renews an entry's age at most this often

/// Then the contents.
struct FileHeader {
  char magic[8] = {'H', 'R', 'K', 'E', 'R', 'N', '0', '1'};
  Hash128 key, content;
  std::uint64_t size = 0;
};
static_assert(sizeof(FileHeader) == 48);

/// A file of this user, no link; `info` is about it.
bool is_mine(const fs::path& file, struct stat& info) {
  return ::lstat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
}

}  // namespace

fs::path DiskCache::default_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return fs::path(cache) / "headrace" / "kernels";
  if (const char* home = std::getenv("HOME"); home && *home == '/')
    return fs::path(home) / ".cache" / "headrace" / "kernels";
  return {};
}

const DiskCache& DiskCache::shared() {
  static const DiskCache cache(default_folder());
  return cache;
}

bool DiskCache::usable() const {
  if (folder_.empty()) return false;
  std::error_code ignored;
  fs::create_directories(folder_.parent_path(), ignored);
  ::mkdir(folder_.c_str(), 0700);
  struct stat info {};
  if (::lstat(folder_.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
  return info.st_uid == ::geteuid() && (info.st_mode & 077) == 0;
}

fs::path DiskCache::file_of(const Hash128& key, std::string_view kind) const {
  return folder_ / fmt::format("{}.{}", to_string(key), kind);
}

std::optional<std::vector<std::byte>> DiskCache::find(std::string_view text, std::string_view kind) const {
  try {
    if (!usable()) return std::nullopt;
    const Hash128 key = hash128(text);
    const fs::path file = file_of(key, kind);
    struct stat info {};
    if (!is_mine(file, info)) return std::nullopt;
    std::vector<std::byte> bytes = read_file(file, kMaxEntry);
    FileHeader have;
    const FileHeader want;
    if (bytes.size() < sizeof have) return std::nullopt;
    std::memcpy(&have, bytes.data(), sizeof have);
    if (std::memcmp(have.magic, want.magic, sizeof want.magic) != 0 || have.key != key) return std::nullopt;
    bytes.erase(bytes.begin(), bytes.begin() + sizeof have);
    if (bytes.size() != have.size || hash128(std::span<const std::byte>(bytes)) != have.content)
      return std::nullopt;
    if (::time(nullptr) - info.st_mtime > kTouchAfterSeconds)
      ::utimensat(AT_FDCWD, file.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);
    return bytes;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void DiskCache::keep(std::string_view text, std::string_view kind, std::span<const std::byte> bytes) const {
  if (bytes.size() > std::min<std::uint64_t>(kMaxEntry - sizeof(FileHeader), limit_bytes_) || !usable())
    return;
  FileHeader header;
  header.key = hash128(text);
  header.content = hash128(bytes);
  header.size = bytes.size();
  const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(&header, 1)), bytes};
  try {
    write_file_atomic(file_of(header.key, kind), pieces);
    if (writes_.fetch_add(1, std::memory_order_relaxed) % kWritesPerSweep == 0) make_room();
  } catch (const Error& e) {
    log(LogSeverity::warning, std::string("a compiled kernel was not kept: ") + e.what());
  }
}

void DiskCache::make_room() const {
  struct Entry {
    std::int64_t used_at = 0;
    std::uint64_t size = 0;
    fs::path file;
  };
  std::vector<Entry> entries;
  std::uint64_t total = 0;
  std::error_code ignored;
  for (const auto& e : fs::directory_iterator(folder_, ignored)) {
    struct stat info {};
    if (!is_mine(e.path(), info)) continue;
    entries.push_back({info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec,
                       static_cast<std::uint64_t>(info.st_size), e.path()});
    total += entries.back().size;
  }
  if (total <= limit_bytes_) return;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used_at < b.used_at; });
  for (const Entry& e : entries) {
    if (total <= limit_bytes_ / 4 * 3) break;
    if (fs::remove(e.file, ignored)) total -= e.size;
  }
}

}  // namespace headrace::cuda
