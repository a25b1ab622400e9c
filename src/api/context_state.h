// What a Context of the public API holds, for context.cc (blocking) and context_enqueue.cc (on streams of the
// caller).
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <headrace/runtime.h>

#include "api/borrowed_buffer.h"
#include "device/shared_stream.h"
#include "runtime/engine.h"
#include "runtime/io.h"

namespace headrace {

namespace api {
inline constexpr const char* kContext = "a Context";
}

struct Context::State {
  explicit State(const Engine& e);

  // blocking
  /// Checks the inputs, points the buffers at them, and prepares their shapes.
  const runtime::Prepared& take(std::span<const NamedView> views);
  void run(const runtime::Prepared& prepared, std::span<const TensorView> results);

  // on streams of the caller
  /// Why what is bound cannot be used for the prepared shapes; empty when it can.
  std::string misfit() const;
  void hand_over();  ///< binds it
  /// `infer` prepares shapes and binds memory of its own.
  void note_blocking_use() { prepared = nullptr; }

  Engine engine;
  runtime::Context context;
  bool reads_values = false;
  std::unique_ptr<Stream> stream;
  EventRef done;
  std::vector<std::shared_ptr<api::BorrowedBuffer>> inputs, outputs;
  std::vector<const NamedView*> order;  ///< by input index
  ShapeMap shapes;
  std::uint64_t inferences = 0;

  std::atomic<bool> busy{false};
  ShapeMap set_shapes;
  runtime::HostValues set_values;
  std::vector<detail::Held> bound_inputs, bound_outputs;
  const runtime::Prepared* prepared = nullptr;  ///< what enqueue runs; null: nothing
  bool checked = false;                         ///< what is bound fits `prepared`
};

namespace api {
ShapeMap output_shapes(const Engine& engine, const runtime::Prepared& prepared);
}

}  // namespace headrace
