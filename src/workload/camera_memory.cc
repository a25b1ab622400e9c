#include "workload/camera_memory.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/sched.h"
#include "workload/units.h"
#include "workload/warm_up.h"

namespace headrace {
namespace workload {
namespace {

using Kind = CameraBuffers::Kind;
const std::pair<const char*, Kind> kNames[] = {
    {"pageable", Kind::pageable}, {"pinned", Kind::pinned}, {"arena", Kind::arena}, {"u8", Kind::arena}};
constexpr int kRepeats = 30;

}  // namespace

CameraBuffers::CameraBuffers(Device& device, const runtime::Prepared& prepared, Kind kind) {
  const MemoryKind memory = kind == Kind::pageable ? MemoryKind::host : MemoryKind::pinned;
  const auto lay_out = [&](std::vector<Part>& parts, const std::vector<TensorDesc>& descs,
                           const runtime::IoLayout& layout) {
    const BufferRef block = kind == Kind::arena ? device.allocate(std::max<std::size_t>(layout.size_bytes, 1),
                                                                  memory, MemoryUse::io)
                                                : nullptr;
    for (std::size_t i = 0; i < descs.size(); ++i) {
      const std::size_t bytes = std::max<std::size_t>(descs[i].span_bytes(), 1);
      parts.push_back(block ? Part{block, layout.offsets[i]}
                            : Part{device.allocate(bytes, memory, MemoryUse::io), 0});
      std::memset(parts.back().data(), 0, bytes);
    }
    copies_ += block ? 1 : static_cast<int>(descs.size());
  };
  lay_out(inputs_, prepared.inputs, prepared.input_layout);
  lay_out(outputs_, prepared.outputs, prepared.output_layout);
  if (device.unified_memory()) copies_ = 0;
}

void CameraBuffers::bind(runtime::Context& context) const {
  for (std::size_t i = 0; i < inputs_.size(); ++i)
    context.bind_input(i, inputs_[i].buffer, inputs_[i].offset);
  for (std::size_t i = 0; i < outputs_.size(); ++i)
    context.bind_output(i, outputs_[i].buffer, outputs_[i].offset);
}

void CameraBuffers::write(const std::vector<NamedTensor>& image) const {
  for (std::size_t i = 0; i < image.size(); ++i) {
    const ConstTensorView from = image[i].tensor.view();
    std::memcpy(inputs_[i].data(), from.data(), from.size_bytes());
  }
}

Frames::Outputs CameraBuffers::outputs(const runtime::Prepared& prepared) const {
  return [this, &prepared](std::size_t i) {
    return ConstTensorView(prepared.outputs[i].dtype, prepared.outputs[i].shape, outputs_[i].data());
  };
}

std::optional<Kind> find_camera_memory(const std::string& name) {
  for (const auto& [known, kind] : kNames)
    if (name == known) return kind;
  return std::nullopt;
}

std::string camera_memory_names() {
  std::string names;
  for (const auto& [known, kind] : kNames) names += (names.empty() ? "" : ", ") + std::string(known);
  return names;
}

CameraMemory measure_camera_memory(const std::string& name, const Engine& engine, const ShapeMap& shapes,
                                   const Frames& frames) {
  CameraMemory result{.name = name, .end_to_end = {}};
  Device& device = engine.data()->device();
  runtime::Context context(engine.data());
  const runtime::Prepared& prepared = context.prepare(shapes);
  for (const TensorDesc& desc : prepared.inputs) result.upload_bytes += desc.span_bytes();
  const CameraBuffers buffers(device, prepared, *find_camera_memory(name));
  result.copies = buffers.copies();
  const auto stream = device.make_stream({.name = "camera", .threads = engine.threads()});
  const EventRef done = device.make_event();
  WarmUp warm_up;
  for (std::uint64_t k = 0; result.end_to_end.size() < kRepeats; ++k) {
    buffers.bind(context);
    buffers.write(frames.image(k));
    const auto begin = sched::Clock::now();
    context.enqueue(*stream, *done);
    done->wait();
    const auto took = sched::Clock::now() - begin;
    if (!warm_up.over()) {
      warm_up.add(took);
      continue;
    }
    result.end_to_end.push_back(took);
    result.wrong += frames.judge(k, buffers.outputs(prepared)) != Frames::Verdict::right;
  }
  if (!device.unified_memory())
    result.device = summarize(from_us(context.device_times_us(*stream, kRepeats))).median;
  return result;
}

}  // namespace workload

std::chrono::nanoseconds CameraMemory::overhead() const {
  return device.count() > 0 ? summarize(end_to_end).median - device : std::chrono::nanoseconds(0);
}

}  // namespace headrace
