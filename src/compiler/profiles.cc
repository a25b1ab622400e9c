#include <algorithm>
#include <map>

#include <fmt/format.h>

#include <headrace/error.h>

#include "compiler/draft.h"

namespace headrace::compiler {
namespace {

constexpr std::int64_t kMaxExtent = 1 << 20;

struct Extents {
  std::int64_t min = 1, opt = 1, max = kMaxExtent;
  friend bool operator==(const Extents&, const Extents&) = default;
};

std::string input_name(const Value& v) {
  return v.names.empty() ? fmt::format("input{}", v.input_index) : v.names.front();
}

template <class... Args>
[[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::invalid_argument,
              "the profile does not fit the model: " + fmt::format(format, std::forward<Args>(args)...));
}

class ProfileMaker {
 public:
  ProfileMaker(const Graph& graph, const std::vector<InputRange>& ranges) : graph_(graph), ranges_(ranges) {}

  Profile run() {
    for (const InputRange& range : ranges_) range.input == "*" ? note_batch(range) : note(range);
    Profile profile;
    for (ValueId id : graph_.inputs()) {
      const Value& v = graph_.value(id);
      ProfileRange out{.input = input_name(v), .min = {}, .opt = {}, .max = {}};
      for (std::size_t a = 0; a < v.type.shape.size(); ++a) {
        const Extents e = extents(v.type.shape[a], a);
        out.min.push_back(e.min);
        out.opt.push_back(e.opt);
        out.max.push_back(e.max);
      }
      profile.push_back(std::move(out));
    }
    return profile;
  }

 private:
  /// Where nothing was said: anything up to 2^20, tuned for a batch of 1 and 64 along every other axis.
  Extents extents(Dim d, std::size_t axis) {
    if (d.is_constant()) return {d.value, d.value, d.value};
    const auto [it, added] = known_.try_emplace(d.expr, Extents{1, axis == 0 ? 1 : 64, kMaxExtent});
    return it->second;
  }

  void set(Dim d, Extents e, const std::string& name, std::size_t axis) {
    if (e.min < 0 || e.min > e.opt || e.opt > e.max)
      bad("input '{}', axis {}: min {}, opt {}, max {} are not in order", name, axis, e.min, e.opt, e.max);
    if (d.is_constant()) {
      if (e != Extents{d.value, d.value, d.value})
        bad("input '{}', axis {}: the model says {}, the profile {}:{}:{}", name, axis, d.value, e.min, e.opt,
            e.max);
      return;
    }
    const auto [it, added] = known_.try_emplace(d.expr, e);
    if (!added && it->second != e)
      bad("input '{}', axis {}: '{}' is {}:{}:{} here, but {}:{}:{} elsewhere in the same profile", name,
          axis, graph_.shapes().to_string(d), e.min, e.opt, e.max, it->second.min, it->second.opt,
          it->second.max);
  }

  void note(const InputRange& range) {
    for (ValueId id : graph_.inputs()) {
      const Value& v = graph_.value(id);
      if (input_name(v) != range.input) continue;
      const std::size_t rank = v.type.shape.size();
      if (range.min.size() != rank || range.opt.size() != rank || range.max.size() != rank)
        bad("input '{}' has rank {} ({}), but the profile gives {}, {} and {}", range.input, rank,
            graph_.shapes().to_string(v.type.shape), to_string(range.min), to_string(range.opt),
            to_string(range.max));
      for (std::size_t a = 0; a < rank; ++a)
        set(v.type.shape[a], {range.min[a], range.opt[a], range.max[a]}, range.input, a);
      return;
    }
    std::string names;
    for (ValueId id : graph_.inputs())
      names += (names.empty() ? "'" : ", '") + input_name(graph_.value(id)) + "'";
    bad("there is no input '{}'; the inputs are {}", range.input, names);
  }

  void note_batch(const InputRange& range) {
    if (range.min.size() != 1 || range.opt.size() != 1 || range.max.size() != 1)
      bad("'*' takes one extent each, the batch, but got {}, {} and {}", to_string(range.min),
          to_string(range.opt), to_string(range.max));
    bool any = false;
    for (ValueId id : graph_.inputs()) {
      const Value& v = graph_.value(id);
      if (v.type.shape.empty() || v.type.shape[0].is_constant()) continue;
      set(v.type.shape[0], {range.min[0], range.opt[0], range.max[0]}, input_name(v), 0);
      any = true;
    }
    if (!any) bad("'*' sets the batch, but axis 0 of every input is fixed");
  }

  const Graph& graph_;
  const std::vector<InputRange>& ranges_;
  std::map<std::int32_t, Extents> known_;  ///< by shape expression: equal symbols have equal ranges
};

}  // namespace

std::vector<Profile> make_profiles(const Graph& graph, const std::vector<std::vector<InputRange>>& profiles) {
  std::vector<Profile> result;
  for (const auto& ranges : profiles) {
    result.push_back(ProfileMaker(graph, ranges).run());
    for (std::size_t p = 0; p + 1 < result.size(); ++p)
      if (result[p] == result.back())
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("the profiles {} and {} are equal; leave one out", p, result.size() - 1));
  }
  static const std::vector<InputRange> kNone;
  if (result.empty()) result.push_back(ProfileMaker(graph, kNone).run());
  return result;
}

std::vector<std::int64_t> values_of(const ShapeProgram& program, const std::vector<std::int64_t>& symbols) {
  try {
    return program.evaluate(symbols);
  } catch (const Error&) {
    return std::vector<std::int64_t>(program.exprs().size(), 1);
  }
}

std::vector<std::int64_t> opt_symbols(const Graph& graph, const Profile& profile) {
  const ShapeProgram& program = graph.shapes();
  std::vector<std::int64_t> symbols;
  for (std::int64_t guess : {1, 2, 4, 0, -1, 64}) {
    symbols.clear();
    for (const Symbol& s : program.symbols()) {
      const SymbolSource& source = s.sources.front();
      symbols.push_back(
          source.kind == SymbolSource::value ? guess
          : source.kind == SymbolSource::real
              ? to_bits(static_cast<double>(guess))
              : profile[static_cast<std::size_t>(source.input)].opt[static_cast<std::size_t>(source.index)]);
    }
    try {
      const std::vector<std::int64_t> values = program.evaluate(symbols);
      bool fits = true;
      for (NodeId n : graph.nodes())
        for (ValueId v : graph.node(n).outputs)
          for (const Dim& d : graph.value(v).type.shape) fits = fits && resolve(d, values) >= 0;
      if (fits) return symbols;
    } catch (const Error&) {  // a division by this guess
    }
  }
  return symbols;
}

std::vector<std::vector<std::int64_t>> probe_symbols(const Graph& graph, const Profile& profile,
                                                     const std::vector<std::int64_t>& opt) {
  std::vector<std::vector<std::int64_t>> probes;
  for (const auto& [factor, offset] : {std::pair{2, 1}, {2, 0}, {3, 0}, {4, 0}}) {
    std::vector<std::int64_t> probe = opt;
    for (std::size_t k = 0; k < probe.size(); ++k) {
      const SymbolSource& source = graph.shapes().symbols()[k].sources.front();
      if (source.reads_data()) continue;  // guessed; probed through the tensors' extents alone
      const ProfileRange& range = profile[static_cast<std::size_t>(source.input)];
      const auto axis = static_cast<std::size_t>(source.index);
      const std::int64_t wanted = std::max<std::int64_t>(opt[k], 1) * factor + offset;
      probe[k] = wanted <= range.max[axis] ? wanted
                                           : std::max(range.min[axis], std::min(range.max[axis], opt[k] - 1));
    }
    probes.push_back(std::move(probe));
  }
  return probes;
}

}  // namespace headrace::compiler
