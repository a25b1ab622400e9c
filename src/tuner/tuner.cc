#include "tuner/tuner.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include <fmt/format.h>

#include <headrace/error.h>

#include "base/cpu.h"
#include "base/sched.h"
#include "tuner/make_ahead.h"

namespace headrace::tuner {
namespace {

constexpr std::size_t kKept = 12;        ///< trials that a verdict tells of
constexpr std::size_t kFinalists = 8;    ///< timed carefully
constexpr double kFinalistLimit = 1.10;  ///< as a multiple of the best quick time
constexpr int kMakeThreads = 8;

double rounded(double us) { return std::round(us * 1000) / 1000; }

}  // namespace

std::string problem_text(const Problem& problem, std::span<const Constant> constants) {
  std::string text = to_string(problem.op, ShapeProgram());
  for (std::size_t i = 0; i < problem.srcs.size(); ++i)
    text += (i < constants.size() && constants[i] ? " const " : " ") + to_string(problem.srcs[i]);
  text += " ->";
  for (const TensorDesc& d : problem.dsts) text += " " + to_string(d);
  return text;
}

Tuner::Tuner(DeviceRef device, int threads, TimingCache& cache, const TunerOptions& options)
    : device_(std::move(device)),
      stream_(device_->make_stream({.name = "tuner", .inline_execution = true, .threads = threads})),
      fillings_(*device_, *stream_),
      threads_(device_->unified_memory() ? threads : 0),  // a GPU does not care
      model_(device_->model()),
      cache_(cache),
      options_(options) {
  if (device_->can_record())
    options_.bench.rotate_bytes = std::size_t{256} << 20;  // larger caches
  else
    options_.bench.cold_weights = false;
}
Tuner::~Tuner() {
  stop_ = true;
  for (sched::Thread& thread : compilers_) thread.join();
}

/// The search for one problem.
class Tuner::Search {
 public:
  Search(Tuner& tuner, const Problem& problem, std::span<const Tactic* const> tactics,
         std::span<const Constant> constants, std::string text)
      : tuner_(tuner),
        problem_(problem),
        tactics_(tactics),
        constants_(constants.begin(), constants.end()),
        text_(std::move(text)) {
    constants_.resize(problem.srcs.size());
  }

  double time_one(const Choice& choice) {
    std::vector<Item> items;
    items.emplace_back(tactics_.front(), choice);
    look_at(std::move(items));
    const Item& item = items_.front();
    if (!std::isfinite(item.us)) throw Error(ErrorCode::unsupported, why_[item.tactic]);
    tuner_.cache_.put(key(item), item.us);
    return item.us;
  }

  Verdict run() {
    std::vector<Item> items;
    for (const Tactic* tactic : tactics_)
      for (Choice& choice : tactic->candidates(problem_)) items.emplace_back(tactic, std::move(choice));
    if (items.size() == 1) {  // nothing to choose from, unless the tactic knows more
      const TriedChoice only{items[0].choice, 0};
      if (items[0].tactic->refine(problem_, {&only, 1}, tuner_.options_.full).empty()) {
        Verdict result;
        result.tactic = items[0].tactic;
        result.choice = items[0].choice;
        return result;
      }
    }
    look_at(std::move(items));
    const int rounds = tuner_.options_.full ? 12 : 4;
    for (int round = 0; round < rounds && refine(); ++round) {
    }
    decide_between_the_best();
    return verdict();
  }

 private:
  struct Item {
    Item(const Tactic* t, Choice c) : tactic(t), choice(std::move(c)) {}
    const Tactic* tactic;
    Choice choice;
    double us = INFINITY;  ///< not finite: it failed
    std::size_t order = 0;
    Contestant contestant;  ///< of the best alone
  };
  struct Made {
    std::unique_ptr<Kernel> kernel;
    std::string packing;
    std::shared_ptr<const PackedSet> set;
    std::string why;
  };

  TimingKey key(const Item& item) const {
    return {tuner_.model_, text_, std::string(item.tactic->id()), item.choice, tuner_.threads_};
  }

  std::shared_ptr<const PackedSet> pack(const Tactic& tactic, const Choice& choice, const std::string& name) {
    sched::LockGuard lock(packing_);
    std::shared_ptr<const PackedSet>& set = sets_[name];
    if (set) return set;
    auto fresh = std::make_shared<PackedSet>();
    fresh->problem = problem_;
    fresh->packed.resize(constants_.size());
    for (std::size_t i = 0; i < constants_.size(); ++i) {
      if (!constants_[i]) continue;
      auto packed = tactic.pack(fresh->problem, choice, i, *constants_[i]);
      if (!packed) continue;
      fresh->problem.srcs[i].layout = Layout::packed;
      fresh->problem.srcs[i].format = packed->format;
      fresh->packed[i] = std::make_shared<const Packed>(std::move(*packed));
    }
    return set = std::move(fresh);
  }

  /// Called by any thread.
  Made make(const Item& item) noexcept {
    Made made;
    try {
      made.packing = std::string(item.tactic->id()) + " " + item.tactic->packing(item.choice);
      made.set = pack(*item.tactic, item.choice, made.packing);
      made.kernel = item.tactic->make(made.set->problem, item.choice);
      if (made.kernel->workspace_bytes() > tuner_.options_.max_workspace_bytes) {
        made.why = "it wants too large a workspace";
        made.kernel = nullptr;
      }
    } catch (const std::exception& e) {
      made.why = e.what();
    }
    return made;
  }

  Bench& bench() {
    if (!bench_)
      bench_.emplace(*tuner_.device_, *tuner_.stream_, tuner_.fillings_, problem_, constants_,
                     tuner_.options_.bench);
    return *bench_;
  }

  double best_us() const {
    double best = INFINITY;
    for (const Item& item : items_) best = std::min(best, item.us);
    return best;
  }

  bool is_known(const Item& item) const {
    return std::any_of(items_.begin(), items_.end(), [&](const Item& other) {
      return other.tactic == item.tactic && other.choice == item.choice;
    });
  }

  /// A quick time for each that is new. False when none is.
  bool look_at(std::vector<Item> fresh) {
    std::erase_if(fresh, [&](const Item& item) { return is_known(item); });
    if (fresh.empty()) return false;
    for (Item& item : fresh)
      if (const auto known = tuner_.cache_.find(key(item))) item.us = *known;
    int threads = 0;
    if (tuner_.device_->can_record())  // elsewhere the making would disturb the timing
      threads = tuner_.options_.make_threads > 0 ? tuner_.options_.make_threads
                                                 : std::min(kMakeThreads, usable_cores() - 1);
    MakeAhead<Made> ahead(
        fresh.size(), threads, [this] { return tuner_.device_->enter(); },
        [&](std::size_t i) { return std::isfinite(fresh[i].us) ? Made() : make(fresh[i]); });
    for (std::size_t i = 0; i < fresh.size(); ++i) {
      if (tuner_.options_.poll) tuner_.options_.poll();
      Made made = ahead.take(i);
      Item item = fresh[i];
      if (!std::isfinite(item.us)) time(item, std::move(made));
      item.order = items_.size();
      items_.push_back(std::move(item));
      drop_all_but_the_best();
    }
    return true;
  }

  void time(Item& item, Made made) {
    if (!made.kernel) {
      why_.try_emplace(item.tactic, made.why);
      return;
    }
    try {
      item.contestant = bench().contestant(std::move(made.kernel), made.packing, *made.set);
      item.us = rounded(bench().quick(item.contestant, best_us()));
      ++tuner_.measured_;
    } catch (const Error& e) {
      if (e.code() == ErrorCode::device) throw;  // nothing will work any more
      item.contestant = {};
      why_.try_emplace(item.tactic, e.what());
    }
  }

  std::vector<Item*> fastest_first() {
    std::vector<Item*> sorted;
    for (Item& item : items_)
      if (std::isfinite(item.us)) sorted.push_back(&item);
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const Item* a, const Item* b) { return a->us < b->us; });
    return sorted;
  }

  /// Kernels of those that will not be in the final are given back.
  void drop_all_but_the_best() {
    std::size_t kept = 0;
    for (Item* item : fastest_first())
      if (item->contestant.kernel && ++kept > kFinalists) item->contestant = {};
  }

  /// One round of what tactics want to try beside their best. False when nothing is new.
  bool refine() {
    std::vector<Item> fresh;
    for (const Tactic* tactic : tactics_) {
      std::vector<TriedChoice> tried;
      for (const Item* item : fastest_first())
        if (item->tactic == tactic) tried.push_back({item->choice, item->us});
      for (const Item& item : items_)
        if (item.tactic == tactic && !std::isfinite(item.us)) tried.push_back({item.choice, item.us});
      // A tactic that is far behind is not looked into.
      if (!tuner_.options_.full && (tried.empty() || !(tried.front().us <= 1.5 * best_us()))) continue;
      for (Choice& choice : tactic->refine(problem_, tried, tuner_.options_.full))
        fresh.emplace_back(tactic, std::move(choice));
    }
    return look_at(std::move(fresh));
  }

  /// The final: careful times in place of the quick ones.
  void decide_between_the_best() {
    if (!tuner_.device_->can_record()) return;
    std::vector<Item*> finalists = fastest_first();
    const double limit = kFinalistLimit * best_us();
    std::erase_if(finalists, [&](const Item* i) { return !i->contestant.kernel || i->us > limit; });
    if (finalists.size() > kFinalists) finalists.resize(kFinalists);
    if (finalists.size() < 2) return;
    std::vector<Contestant> contestants;
    for (const Item* item : finalists) contestants.push_back(item->contestant);
    const std::vector<double> times = bench().careful(contestants);
    for (std::size_t i = 0; i < finalists.size(); ++i) finalists[i]->us = rounded(times[i]);
  }

  Verdict verdict() {
    Verdict result;
    for (const Item& item : items_)
      if (std::isfinite(item.us)) tuner_.cache_.put(key(item), item.us);
    const std::vector<Item*> sorted = fastest_first();
    if (!sorted.empty()) {
      // Within the noise of a measurement the order of preference decides.
      const double limit = sorted.front()->us * (tuner_.device_->can_record() ? 1.005 : 1.02);
      const Item* best = sorted.front();
      for (const Item* item : sorted)
        if (item->us <= limit && item->order < best->order) best = item;
      result.tactic = best->tactic;
      result.choice = best->choice;
      result.us = best->us;
    }
    for (const Tactic* tactic : tactics_) {
      const bool timed =
          std::any_of(sorted.begin(), sorted.end(), [&](const Item* item) { return item->tactic == tactic; });
      if (const auto why = why_.find(tactic); why != why_.end() && !timed)
        result.failed.emplace_back(tactic, why->second);
    }
    return result;
  }

  Tuner& tuner_;
  const Problem& problem_;
  std::span<const Tactic* const> tactics_;
  std::vector<Constant> constants_;
  std::string text_;
  std::vector<Item> items_;
  std::map<const Tactic*, std::string> why_;
  sched::Mutex packing_{"tuner.packing"};
  std::map<std::string, std::shared_ptr<const PackedSet>> sets_;
  std::optional<Bench> bench_;
};

double Tuner::time(const Problem& problem, const Tactic& tactic, const Choice& choice,
                   std::span<const Constant> constants) {
  const Tactic* const only = &tactic;
  return Search(*this, problem, {&only, 1}, constants, problem_text(problem, constants)).time_one(choice);
}

SearchKey Tuner::search_key(const std::string& text, std::span<const Tactic* const> tactics) const {
  SearchKey search{model_, text, options_.full ? "all" : "usual", threads_};
  for (const Tactic* tactic : tactics) {
    search.searched += fmt::format(" {}", tactic->id());
    if (const std::string library = tactic->library(); !library.empty())
      search.searched += fmt::format("({})", library);
  }
  return search;
}

void Tuner::announce(std::vector<Announced> problems) {
  if (!device_->can_record() || !compilers_.empty()) return;
  std::set<std::string> seen;
  std::erase_if(problems, [&](const Announced& a) {
    return !seen.insert(a.text).second || cache_.winner(search_key(a.text, a.tactics));
  });
  announced_ = std::move(problems);
  const int threads =
      options_.make_threads > 0 ? options_.make_threads : std::min(kMakeThreads, usable_cores() - 1);
  for (int t = 0; t < threads && static_cast<std::size_t>(t) < announced_.size(); ++t)
    compilers_.emplace_back("compile ahead", [this] {
      try {
        const std::shared_ptr<void> inside = device_->enter();
        for (std::size_t i; !stop_ && (i = next_announced_.fetch_add(1)) < announced_.size();)
          for (const Tactic* tactic : announced_[i].tactics) {
            try {
              tactic->compile_ahead(announced_[i].problem, stop_);
            } catch (const Error&) {  // the search will meet it again
            }
          }
      } catch (const std::exception&) {  // then nothing is compiled ahead
      }
    });
}

Verdict Tuner::choose(const Problem& problem, std::span<const Tactic* const> tactics,
                      std::span<const Constant> constants) {
  std::string text = problem_text(problem, constants);
  const SearchKey search = search_key(text, tactics);
  const auto tactic_of = [&](std::string_view id) -> const Tactic* {
    for (const Tactic* tactic : tactics)
      if (tactic->id() == id) return tactic;
    return nullptr;
  };
  Verdict verdict;
  const auto known = cache_.winner(search);
  if (known) verdict.tactic = tactic_of(known->tactic);
  if (verdict.tactic) {
    verdict.choice = known->choice;
    verdict.us = known->us;
  } else {
    verdict = Search(*this, problem, tactics, constants, text).run();
    if (verdict.tactic && verdict.us > 0)
      cache_.put_winner(search, {std::string(verdict.tactic->id()), verdict.choice, verdict.us});
  }
  // From the cache in either case, so that a later build tells the same.
  for (const auto& [key, us] : cache_.all(model_, text, threads_))
    if (const Tactic* tactic = tactic_of(key.tactic)) verdict.trials.push_back({tactic, key.choice, us});
  std::stable_sort(verdict.trials.begin(), verdict.trials.end(),
                   [](const Trial& a, const Trial& b) { return a.us < b.us; });
  if (verdict.trials.size() > kKept) verdict.trials.resize(kKept);
  return verdict;
}

}  // namespace headrace::tuner
