// What callers hand over: views that are copied into the session's memory, and device memory that is used
// where it lies.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "pipeline/session_core.h"
#include "runtime/io.h"

namespace headrace::pipeline {
namespace {

const ConstTensorView& tensor_of(const NamedView& named) { return named.view; }
const DeviceTensor& tensor_of(const NamedDeviceTensor& named) { return named.tensor; }

/// The tensors by input, each given once and of the input's type; their shapes go to `shapes`.
template <class Named>
std::vector<const Named*> order_by_input(std::span<const runtime::IoInfo> infos,
                                         std::span<const Named> inputs, ShapeMap& shapes) {
  std::vector<const Named*> order(infos.size(), nullptr);
  for (const Named& named : inputs) {
    const auto it =
        std::find_if(infos.begin(), infos.end(), [&](const auto& info) { return info.name == named.name; });
    if (it == infos.end() || order[static_cast<std::size_t>(it - infos.begin())])
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' {}", named.name,
                              it == infos.end() ? "is not one of the engine's" : "is given twice"));
    if (tensor_of(named).dtype() != it->dtype)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("input '{}' takes {}, but the tensor given holds {}", it->name,
                              to_string(it->dtype), to_string(tensor_of(named).dtype())));
    order[static_cast<std::size_t>(it - infos.begin())] = &named;
    shapes[it->name] = tensor_of(named).shape();
  }
  for (std::size_t i = 0; i < infos.size(); ++i)
    if (!order[i])
      throw Error(ErrorCode::invalid_argument, fmt::format("input '{}' is missing", infos[i].name));
  return order;
}

}  // namespace

TicketState* SessionCore::submit_copy(std::span<const NamedView> inputs, SubmitOptions&& options) {
  ShapeMap shapes;
  const std::vector<const NamedView*> order = order_by_input(engine_->inputs(), inputs, shapes);
  for (const NamedView& named : inputs)
    if (!named.view.data() && named.view.size_bytes() > 0)
      throw Error(ErrorCode::invalid_argument, fmt::format("input '{}' has no data (null)", named.name));
  if (options_.batch.max_batch > 1 && options.outputs_on_device)
    throw Error(ErrorCode::unsupported, "a session that batches gives no outputs on the device");
  if (options_.batch.max_batch > 1) return submit_row(order, std::move(options));
  InputSlot* slot = acquire(shapes);
  try {
    std::vector<Stager::Piece> pieces;
    for (std::size_t i = 0; i < order.size(); ++i)
      pieces.push_back({slot->arena->host_data() + slot->layout.offsets[i], order[i]->view.data(),
                        order[i]->view.size_bytes()});
    stager_.copy(pieces);
    note_staged(slot->layout.size_bytes);
    return submit(slot, std::move(options));
  } catch (...) {
    return_input(slot);
    throw;
  }
}

void SessionCore::note_staged(std::size_t bytes) {
  bool first = false;
  {
    sched::LockGuard lock(mutex_);
    first = stats_.staged++ == 0;
    stats_.staged_bytes += bytes;
  }
  if (first && !engine_->device().unified_memory())
    log(LogSeverity::warning,
        "input comes from pageable memory and is copied into pinned memory first; fill the lease that "
        "Session::acquire gives to avoid the copy (said once)");
}

TicketState* SessionCore::submit_device(std::span<const NamedDeviceTensor> inputs,
                                        std::span<const detail::Held> memory, detail::MomentRef ready,
                                        SubmitOptions&& options) {
  if (options_.batch.max_batch > 1)
    throw Error(ErrorCode::unsupported,
                "a session that batches takes its items from host memory; hand them over with submit(views)");
  if (runtime::reads_input_values(engine_->plan()))
    throw Error(ErrorCode::unsupported,
                "shapes of this engine depend on values of its inputs, which the host has to read; submit "
                "them from host memory");
  ShapeMap shapes;
  DeviceInputs given{.tensors = {}, .ready = std::move(ready)};
  for (const NamedDeviceTensor* named : order_by_input(engine_->inputs(), inputs, shapes)) {
    given.tensors.push_back(memory[static_cast<std::size_t>(named - inputs.data())]);
    detail::check_alignment(given.tensors.back(), size_bytes(named->tensor.dtype()), named->name);
  }
  InputSlot* slot = acquire(shapes, false);
  slot->given = std::move(given);
  try {
    return submit(slot, std::move(options));
  } catch (...) {
    slot->given = {};
    return_input(slot);
    throw;
  }
}

}  // namespace headrace::pipeline
