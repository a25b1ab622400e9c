// What was compiled for this user, kept on disk: machine code of kernels, cuDNN's plans.
//
// Contract: a folder of the user (mode 0700, its owner checked before each use). Entries are keyed by
// everything that they depend on, carry a hash of their contents, are written atomically, and are ignored
// when damaged, somebody else's, or a link. Together they take at most `limit_bytes`, give or take what a few
// dozen writes add: the ones that were not used for longest go first. A cache that cannot be used costs time,
// never a failure. Thread-safe; several processes may share a folder.
//   const DiskCache cache(DiskCache::default_folder());
//   if (auto found = cache.find(key, "cubin")) return *found;
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace headrace::cuda {

class DiskCache {
 public:
  static constexpr std::uint64_t kDefaultLimit = std::uint64_t{1} << 30;
  /// An empty path: nothing is kept.
  explicit DiskCache(std::filesystem::path folder, std::uint64_t limit_bytes = kDefaultLimit)
      : folder_(std::move(folder)), limit_bytes_(limit_bytes) {}
  /// XDG_CACHE_HOME/headrace/kernels, or ~/.cache/headrace/kernels; empty where there is no home.
  static std::filesystem::path default_folder();
  /// The one in the default folder.
  static const DiskCache& shared();

  /// Whether the folder may be used; made when it is not there.
  bool usable() const;
  /// `key` is text of any length; `kind` ends the file's name.
  std::optional<std::vector<std::byte>> find(std::string_view key, std::string_view kind) const;
  void keep(std::string_view key, std::string_view kind, std::span<const std::byte> bytes) const;

 private:
  std::filesystem::path file_of(const Hash128& key, std::string_view kind) const;
  void make_room() const;

  std::filesystem::path folder_;
  std::uint64_t limit_bytes_;
  mutable std::atomic<std::uint32_t> writes_{0};
};

}  // namespace headrace::cuda
