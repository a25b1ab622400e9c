#include "tuner/timing_cache.h"

#include <charconv>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/file.h"

namespace headrace::tuner {
namespace {

constexpr std::string_view kFirstLine = "headrace timing cache 2";

/// Tabs and line ends separate: they are never part of a field.
std::string clean(std::string_view s) {
  std::string out(s);
  for (char& c : out)
    if (c == '\t' || c == '\n' || c == '\r') c = ' ';
  return out;
}

TimingKey clean(const TimingKey& k) {
  return {clean(k.device_model), clean(k.problem), clean(k.tactic), clean(k.choice), k.threads};
}

SearchKey clean(const SearchKey& k) {
  return {clean(k.device_model), clean(k.problem), clean(k.searched), k.threads};
}

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = line.find(separator);
    parts.push_back(line.substr(0, at));
    if (at == std::string_view::npos) return parts;
    line.remove_prefix(at + 1);
  }
}

template <class T>
bool number(std::string_view s, T& value) {
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  return error == std::errc() && end == s.data() + s.size();
}

}  // namespace

TimingCache TimingCache::parse(std::string_view text) {
  TimingCache cache;
  std::size_t line_number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (++line_number == 1) {
      if (line != kFirstLine)
        throw Error(ErrorCode::invalid_argument,
                    "this is not a timing cache of this version; name another file, or remove it");
      continue;
    }
    const auto parts = split(line, '\t');
    const bool is_time = parts.size() == 7 && parts[0] == "time";
    const bool is_best = parts.size() == 8 && parts[0] == "best";
    double us = 0;
    int threads = 0;
    if ((!is_time && !is_best) || !number(parts[1], us) || !(us >= 0) || !number(parts[3], threads))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("line {} of the timing cache is damaged; remove the file", line_number));
    const std::string model(parts[2]), tactic(parts[4]), choice(parts[5]), problem(parts[6]);
    if (is_time)
      cache.put({model, problem, tactic, choice, threads}, us);
    else
      cache.put_winner({model, problem, std::string(parts[7]), threads}, {tactic, choice, us});
  }
  return cache;
}

TimingCache TimingCache::load(const std::string& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return {};
  try {
    return parse(read_text_file(path, std::size_t{1} << 30));
  } catch (Error& e) {
    throw e.add_context(fmt::format("while reading the timing cache '{}'", path));
  }
}

std::string TimingCache::print() const {
  std::string out(kFirstLine);
  out += '\n';
  for (const auto& [k, us] : entries_)
    out += fmt::format("time\t{:.3f}\t{}\t{}\t{}\t{}\t{}\n", us, k.device_model, k.threads, k.tactic,
                       k.choice, k.problem);
  for (const auto& [k, w] : winners_)
    out += fmt::format("best\t{:.3f}\t{}\t{}\t{}\t{}\t{}\t{}\n", w.us, k.device_model, k.threads, w.tactic,
                       w.choice, k.problem, k.searched);
  return out;
}

void TimingCache::save(const std::string& path) const {
  TimingCache merged = load(path);
  merged.merge(*this);
  write_file_atomic(path, merged.print());
}

void TimingCache::put(const TimingKey& key, double us) { entries_.emplace(clean(key), us); }

std::optional<double> TimingCache::find(const TimingKey& key) const {
  const auto it = entries_.find(clean(key));
  if (it == entries_.end()) return std::nullopt;
  return it->second;
}

std::vector<std::pair<TimingKey, double>> TimingCache::all(const std::string& device_model,
                                                           const std::string& problem, int threads) const {
  const std::string model = clean(device_model), text = clean(problem);
  std::vector<std::pair<TimingKey, double>> found;
  for (auto it = entries_.lower_bound({model, text, "", "", 0});
       it != entries_.end() && it->first.device_model == model && it->first.problem == text; ++it)
    if (it->first.threads == threads) found.push_back(*it);
  return found;
}

std::optional<Winner> TimingCache::winner(const SearchKey& key) const {
  const auto it = winners_.find(clean(key));
  if (it == winners_.end()) return std::nullopt;
  return it->second;
}

void TimingCache::put_winner(const SearchKey& key, const Winner& winner) {
  winners_.emplace(clean(key), Winner{clean(winner.tactic), clean(winner.choice), winner.us});
}

}  // namespace headrace::tuner
