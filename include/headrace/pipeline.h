// Pipeline: stages joined by bounded edges, from the user's items through a Session to a sink.
//
//   auto pipeline = hr::make_pipeline<Frame>({.capacity = 2, .overflow = hr::Overflow::drop_oldest})
//                       .then("decode", decode, {.workers = 2})                          // Frame -> Image
//                       .infer("network", session, shapes, fill)                         // ->
//                       Inferred<Image> .then("boxes", boxes, {.workers = 4})                            //
//                       -> Boxes .sink("show", show);
//   pipeline.push(std::move(frame), {.tag = frame_number});
//   pipeline.close();                                                                    // finishes all
//   items fmt::print("{}", pipeline.report().text());                                          // names the
//   bottleneck
//
// Every stage has an edge before it, which holds at most `capacity` items; what happens when it is full is
// the edge's policy. By default it blocks, so that a slow stage slows down what is before it (back-pressure)
// and memory is bounded. An item that a stage's function throws for, or that a policy gives up, reaches
// PipelineOptions::on_failure with its Error; the others go on.
//
// Functions: `then(T) -> U`, or `then(T, const ItemInfo&) -> U`; T is moved in. With several workers a
// function is called by as many threads at once. Items leave an ordered stage in the order in which they
// came. Thread safety: push, close and report may be called from any thread. All threads belong to the
// pipeline, and have ended when close returns; the destructor closes. A Session used by a stage outlives the
// pipeline.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <headrace/session.h>

namespace headrace {

namespace pipeline {
class Flow;
}

struct EdgeOptions {
  std::size_t capacity = 4;
  Overflow overflow = Overflow::block;  ///< reject: the incoming item fails with Error(rejected)
};

struct StageOptions {
  int workers = 1;
  bool ordered = true;  ///< items leave in the order in which they came
  EdgeOptions input{};  ///< the edge before the stage
};

/// What goes along with every item.
struct ItemInfo {
  std::uint64_t tag = 0;       ///< the caller's
  std::uint64_t sequence = 0;  ///< order of push, from 0
  std::int64_t pushed_ns = 0;  ///< on the session's clock
};

struct PushOptions {
  std::uint64_t tag = 0;
};

/// An item that did not arrive.
struct ItemFailure {
  std::string stage;  ///< that failed it, or before whose edge it was given up
  ItemInfo info;
  std::exception_ptr error;
};

struct PipelineOptions {
  /// Called for every item that does not arrive, by one thread at a time; must not block long.
  /// Error(misuse) for push and close from there.
  std::function<void(const ItemFailure&)> on_failure{};
  Closing closing = Closing::drain;  ///< of the destructor, and of close()
};

/// An item and what the network made of it.
template <class T>
struct Inferred {
  T item;
  OutputLease output;
};

struct EdgeReport {
  std::size_t capacity = 0, depth = 0, max_depth = 0;  ///< items now, and at most
  double mean_depth = 0;                               ///< over the time since the first push
  double mean_age_ms = 0, max_age_ms = 0;              ///< time that items waited in it
  std::uint64_t passed = 0, dropped = 0;
};
struct StageReport {
  std::string name;
  int workers = 1;
  std::uint64_t items = 0, failed = 0;
  double busy_share = 0;  ///< of its workers' time since the first push; of a session: of the time
  double mean_ms = 0;     ///< per item and worker
  EdgeReport input;
};
struct PipelineReport {
  double seconds = 0;  ///< from the first push to now, or to the end of the last item after close
  std::uint64_t pushed = 0, arrived = 0, failed = 0;
  double mean_latency_ms = 0, max_latency_ms = 0;  ///< push to the end of the sink
  std::vector<StageReport> stages;
  /// The stage with the largest busy share: the one to speed up, or to give workers. Null without items.
  const StageReport* slowest() const;
  /// A table, and a sentence that names the slowest stage.
  std::string text() const;
};

namespace detail {

using Payload = std::shared_ptr<void>;

struct StageSpec {
  std::string name;
  StageOptions options;
  std::function<Payload(Payload, const ItemInfo&)> run{};  ///< of a stage of functions
  // of a session
  Session* session = nullptr;
  std::function<ShapeMap(const Payload&)> shapes{};
  std::function<void(const Payload&, InputLease&)> fill{};
  std::function<Payload(Payload, OutputLease)> join{};
};

class PipelineHandle {
 public:
  PipelineHandle(std::vector<StageSpec> stages, PipelineOptions options);
  PipelineHandle(PipelineHandle&&) noexcept;
  ~PipelineHandle();
  std::uint64_t push(Payload item, const PushOptions& options);
  void close();
  void close(Closing how);
  PipelineReport report() const;

 private:
  std::unique_ptr<pipeline::Flow> flow_;
};

template <class T>
T take(Payload& payload) {
  T value = std::move(*static_cast<T*>(payload.get()));
  payload.reset();
  return value;
}

template <class F, class T>
decltype(auto) call(const F& f, T&& item, const ItemInfo& info) {
  if constexpr (std::is_invocable_v<const F&, T&&, const ItemInfo&>)
    return f(std::move(item), info);
  else
    return f(std::move(item));
}
template <class F, class T>
using Result = decltype(call(std::declval<const F&>(), std::declval<T&&>(), std::declval<const ItemInfo&>()));

}  // namespace detail

/// A running pipeline that takes items of type In. Move-only.
template <class In>
class Pipeline {
 public:
  /// The item's sequence number. Waits while the first edge is full and blocks; Error(rejected) where it
  /// rejects; Error(misuse) when the pipeline is closed.
  std::uint64_t push(In item, const PushOptions& options = {}) {
    return handle_.push(std::make_shared<In>(std::move(item)), options);
  }
  /// Refuses new items, finishes those under way or fails them with Error(cancelled), joins all threads.
  /// Idempotent. Error(misuse) from a stage's function.
  void close() { handle_.close(); }
  void close(Closing how) { handle_.close(how); }
  PipelineReport report() const { return handle_.report(); }

 private:
  template <class, class>
  friend class PipelineBuilder;
  Pipeline(std::vector<detail::StageSpec> stages, PipelineOptions options)
      : handle_(std::move(stages), std::move(options)) {}
  detail::PipelineHandle handle_;
};

/// Adds stages behind each other; items have the type T here. Each call consumes the builder.
template <class In, class T>
class PipelineBuilder {
 public:
  /// f(T) or f(T, const ItemInfo&) makes the next stage's item.
  template <class F>
  auto then(std::string name, F f, const StageOptions& options = {}) && {
    using U = detail::Result<F, T>;
    static_assert(!std::is_void_v<U>, "a stage makes an item; use sink for the last one");
    add({.name = std::move(name),
         .options = options,
         .run = [f = std::move(f)](detail::Payload item, const ItemInfo& info) -> detail::Payload {
           return std::make_shared<U>(detail::call(f, detail::take<T>(item), info));
         }});
    return std::move(*this).template as<U>();
  }
  /// Runs the session on every item: `shapes(const T&)` says what it needs, `fill(const T&, InputLease&)`
  /// writes the inputs, on options.workers threads. With a batching session use `then` and Session::submit.
  /// The session's policies hold: what it drops fails here. Makes Inferred<T>.
  template <class Shapes, class Fill>
  auto infer(std::string name, Session& session, Shapes shapes, Fill fill,
             const StageOptions& options = {}) && {
    using U = Inferred<T>;
    add({.name = std::move(name),
         .options = options,
         .session = &session,
         .shapes = [shapes = std::move(shapes)](
                       const detail::Payload& item) { return shapes(*static_cast<const T*>(item.get())); },
         .fill = [fill = std::move(fill)](
                     const detail::Payload& item,
                     InputLease& lease) { fill(*static_cast<const T*>(item.get()), lease); },
         .join = [](detail::Payload item, OutputLease output) -> detail::Payload {
           return std::make_shared<U>(U{detail::take<T>(item), std::move(output)});
         }});
    return std::move(*this).template as<U>();
  }
  /// The same with one shape for all items.
  template <class Fill>
  auto infer(std::string name, Session& session, ShapeMap shapes, Fill fill,
             const StageOptions& options = {}) && {
    return std::move(*this).infer(
        std::move(name), session, [shapes = std::move(shapes)](const T&) { return shapes; }, std::move(fill),
        options);
  }
  /// The last stage; f(T) or f(T, const ItemInfo&). Starts the pipeline.
  template <class F>
  Pipeline<In> sink(std::string name, F f, const StageOptions& options = {}) && {
    add({.name = std::move(name),
         .options = options,
         .run = [f = std::move(f)](detail::Payload item, const ItemInfo& info) -> detail::Payload {
           detail::call(f, detail::take<T>(item), info);
           return nullptr;
         }});
    return Pipeline<In>(std::move(stages_), std::move(options_));
  }

 private:
  template <class, class>
  friend class PipelineBuilder;
  template <class U>
  friend PipelineBuilder<U, U> make_pipeline(const EdgeOptions& input, PipelineOptions options);
  PipelineBuilder(const EdgeOptions& input, PipelineOptions options)
      : input_(input), first_(true), options_(std::move(options)) {}
  PipelineBuilder(std::vector<detail::StageSpec> stages, PipelineOptions options)
      : stages_(std::move(stages)), options_(std::move(options)) {}
  void add(detail::StageSpec spec) {
    if (std::exchange(first_, false)) spec.options.input = input_;
    stages_.push_back(std::move(spec));
  }
  template <class U>
  PipelineBuilder<In, U> as() && {
    return PipelineBuilder<In, U>(std::move(stages_), std::move(options_));
  }
  EdgeOptions input_{};
  bool first_ = false;
  std::vector<detail::StageSpec> stages_;
  PipelineOptions options_;
};

/// Begins a pipeline for items of type T; `input` is the edge that `push` fills.
template <class T>
PipelineBuilder<T, T> make_pipeline(const EdgeOptions& input = {}, PipelineOptions options = {}) {
  return PipelineBuilder<T, T>(input, std::move(options));
}

}  // namespace headrace
