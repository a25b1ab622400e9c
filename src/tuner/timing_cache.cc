#include "tuner/timing_cache.h"

#include <charconv>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/file.h"

namespace headrace::tuner {
namespace {

constexpr std::string_view kFirstLine = "headrace timing cache 1";

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
    TimingKey key;
    double us = 0;
    if (parts.size() != 6 || !number(parts[0], us) || !(us >= 0) || !number(parts[2], key.threads))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("line {} of the timing cache is damaged; remove the file", line_number));
    key.device_model = parts[1];
    key.tactic = parts[3];
    key.choice = parts[4];
    key.problem = parts[5];
    cache.put(key, us);
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
    out += fmt::format("{:.3f}\t{}\t{}\t{}\t{}\t{}\n", us, k.device_model, k.threads, k.tactic, k.choice,
                       k.problem);
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

}  // namespace headrace::tuner
