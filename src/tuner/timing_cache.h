// Measured times of kernels, and what won, kept between builds.
//
// File: a first line with the format, then one line per entry, tab-separated and sorted:
//   "time", microseconds, device model, threads, tactic, choice, problem
//   "best", microseconds, device model, threads, tactic, choice, problem, searched
// A "best" line ends a search: with it a later build asks neither the machine nor the tactics. `searched`
// says how far the search went and among what (tactics and versions of libraries); another text is another
// search. Contract: equal caches give equal files; merging keeps what is already there. Not thread-safe.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace headrace::tuner {

struct TimingKey {
  std::string device_model, problem, tactic, choice;
  int threads = 0;
  friend auto operator<=>(const TimingKey&, const TimingKey&) = default;
};

/// One search, and what it found.
struct SearchKey {
  std::string device_model, problem, searched;
  int threads = 0;
  friend auto operator<=>(const SearchKey&, const SearchKey&) = default;
};
struct Winner {
  std::string tactic, choice;
  double us = 0;
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
  /// All entries of one problem on one machine, in the order of their keys.
  std::vector<std::pair<TimingKey, double>> all(const std::string& device_model, const std::string& problem,
                                                int threads) const;
  std::optional<Winner> winner(const SearchKey& key) const;
  void put_winner(const SearchKey& key, const Winner& winner);  ///< keeps one that is there
  void merge(const TimingCache& other) {
    entries_.insert(other.entries_.begin(), other.entries_.end());
    winners_.insert(other.winners_.begin(), other.winners_.end());
  }
  std::size_t size() const { return entries_.size(); }

 private:
  std::map<TimingKey, double> entries_;
  std::map<SearchKey, Winner> winners_;
};

}  // namespace headrace::tuner
