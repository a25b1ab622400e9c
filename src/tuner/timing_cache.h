// Measured times of kernels, kept between builds.
//
// File: a first line with the format, then one line per entry, tab-separated and sorted:
//   microseconds, device model, threads, tactic, choice, problem.
// Contract: equal caches give equal files; merging keeps what is already there. Not thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace headrace::tuner {

struct TimingKey {
  std::string device_model, problem, tactic, choice;
  int threads = 0;
  friend auto operator<=>(const TimingKey&, const TimingKey&) = default;
};

class TimingCache {
 public:
  /// Error(invalid_argument) when the text is no timing cache.
  static TimingCache parse(std::string_view text);
  /// An empty cache when there is no such file.
  static TimingCache load(const std::string& path);
  std::string print() const;
  /// Merges with what stands in the file now, and writes it atomically.
  void save(const std::string& path) const;

  std::optional<double> find(const TimingKey& key) const;
  void put(const TimingKey& key, double us);  ///< keeps an entry that is there
  void merge(const TimingCache& other) { entries_.insert(other.entries_.begin(), other.entries_.end()); }
  std::size_t size() const { return entries_.size(); }

 private:
  std::map<TimingKey, double> entries_;
};

}  // namespace headrace::tuner
