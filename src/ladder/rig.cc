#include "ladder/rig.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/hooks.h"
#include "core/tensor.h"
#include "device/checker.h"

namespace headrace::ladder {
namespace {

constexpr std::size_t kAlign = 256;

std::chrono::nanoseconds from_ms(double ms) {
  return std::chrono::nanoseconds(static_cast<std::int64_t>(ms * 1e6 + 0.5));
}

/// Softmax and arg-max of each row: the post-processing of a classifier.
void rank(const float* values, std::size_t count, std::size_t width, Result& result) {
  for (std::size_t row = 0; width > 0 && row + width <= count; row += width) {
    const float* v = values + row;
    const std::size_t best = static_cast<std::size_t>(std::max_element(v, v + width) - v);
    float sum = 0, second = -INFINITY;
    for (std::size_t i = 0; i < width; ++i) {
      sum += std::exp(v[i] - v[best]);
      if (i != best) second = std::max(second, v[i]);
    }
    result.top.push_back(static_cast<std::int64_t>(best));
    result.probability.push_back(1 / sum);
    result.margin.push_back(v[best] - second);
  }
}

ShapeMap full_shapes(const runtime::Engine& engine, std::int64_t rows) {
  ShapeMap shapes;
  for (std::size_t i = 0; i < engine.inputs().size(); ++i) {
    const runtime::IoInfo& info = engine.inputs()[i];
    Shape shape = engine.plan().profiles.front()[i].opt;
    if (!info.shape.empty() && !info.shape[0].is_constant()) shape[0] = rows;
    shapes[info.name] = shape;
  }
  return shapes;
}

}  // namespace

void fill_values(std::byte* data, std::size_t count, DType dtype, bool narrow, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(128, 40);
  for (std::size_t i = 0; i < count; ++i) {
    const auto byte = static_cast<std::uint8_t>(std::clamp(std::lround(normal(random)), 0L, 255L));
    const float value = (static_cast<float>(byte) - 128) / 64;
    const auto put = [&](auto v) { std::memcpy(data + i * sizeof v, &v, sizeof v); };
    switch (dtype) {
      case DType::f32: put(value); break;
      case DType::f64: put(static_cast<double>(value)); break;
      case DType::f16: put(to_half(value)); break;
      case DType::bf16: put(to_bhalf(value)); break;
      case DType::u8: put(narrow ? byte : static_cast<std::uint8_t>(byte % 10)); break;
      case DType::boolean:
      case DType::i8: put(static_cast<std::uint8_t>(byte % 2)); break;
      case DType::i16:
      case DType::u16: put(static_cast<std::uint16_t>(byte % 10)); break;
      case DType::i32:
      case DType::u32: put(static_cast<std::uint32_t>(byte % 10)); break;
      case DType::i64:
      case DType::u64: put(static_cast<std::uint64_t>(byte % 10)); break;
    }
  }
}

std::size_t Io::size_bytes() const {
  std::size_t total = 0;
  for (const std::size_t size : sizes) total += size;
  return total;
}

void measure_io(Machine& machine) {
  const auto engine = runtime::Engine::create(machine.plans.at(Variant::fp32), *machine.registry,
                                              {.threads = machine.options.threads});
  runtime::Context context(engine);
  const runtime::Prepared& prepared = context.prepare(full_shapes(*engine, machine.options.batch));
  for (const TensorDesc& desc : prepared.inputs) machine.upload_bytes += desc.span_bytes();
  for (const TensorDesc& desc : prepared.outputs) machine.download_bytes += desc.span_bytes();
}

Rig::Rig(const Machine& m, Variant variant, MemoryKind kind, bool check_hazards) : machine(m) {
  const std::shared_ptr<const Plan>& plan = m.plans.at(variant);
  steps = plan->steps.size();
  const LadderOptions& o = m.options;
  const runtime::EngineOptions how{.threads = o.threads, .check_hazards = check_hazards};
  std::optional<SimSpeeds> speeds;
  if (m.spec)
    speeds = {.spec = *m.spec,
              .compute_ms = variant == Variant::fp32 ? m.spec->compute_fp32_ms : m.spec->compute_fp16_ms,
              .upload_bytes = m.upload_bytes,
              .download_bytes = m.download_bytes};
  Placed placed = place(plan, *m.registry, how, speeds);
  sim = placed.sim;
  registry_ = std::move(placed.registry);
  engine = std::move(placed.engine);
  runtime::Context context = make_context();
  const runtime::Prepared& prepared = context.prepare(shapes(o.batch));
  for (const TensorDesc& desc : prepared.inputs) inputs_.push_back(desc);
  for (const TensorDesc& desc : prepared.outputs) outputs_.push_back(desc);
  for (int k = 0; k < o.batches; ++k) {
    batches_.push_back(make_inputs(kind));
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      fill_values(batches_.back().buffers[i]->host_data(),
                  static_cast<std::size_t>(element_count(inputs_[i].shape)), inputs_[i].dtype,
                  variant == Variant::narrow, o.seed + static_cast<std::uint64_t>(k) * 1000 + i);
  }
}

ShapeMap Rig::shapes(std::int64_t rows) const { return full_shapes(*engine, rows); }

std::vector<std::size_t> Rig::sizes(bool input) const {
  std::vector<std::size_t> sizes;
  for (const TensorDesc& desc : input ? inputs_ : outputs_) sizes.push_back(desc.span_bytes());
  return sizes;
}

Io Rig::make(bool input, MemoryKind kind) const {
  Io io{.buffers = {}, .offsets = {}, .sizes = sizes(input)};
  for (const std::size_t size : io.sizes) {
    io.buffers.push_back(device().allocate(std::max<std::size_t>(size, 1), kind, MemoryUse::io));
    io.offsets.push_back(0);
  }
  return io;
}

std::pair<Io, Io> Rig::make_block() const {
  std::size_t total = 0;
  const auto lay_out = [&](bool input) {
    Io io{.buffers = {}, .offsets = {}, .sizes = sizes(input)};
    for (const std::size_t size : io.sizes) {
      io.offsets.push_back(total);
      total += (size + kAlign - 1) / kAlign * kAlign;
    }
    return io;
  };
  Io in = lay_out(true), out = lay_out(false);
  const BufferRef block = device().allocate(total, MemoryKind::device, MemoryUse::io);
  in.buffers.assign(in.sizes.size(), block);
  out.buffers.assign(out.sizes.size(), block);
  return {std::move(in), std::move(out)};
}

Io Rig::rows_of(const Io& io, std::int64_t rows) const {
  Io part = io;
  for (std::size_t& size : part.sizes)
    size = size / static_cast<std::size_t>(machine.options.batch) * static_cast<std::size_t>(rows);
  return part;
}

std::unique_ptr<Stream> Rig::stream(const std::string& name) const {
  return device().make_stream({.name = name, .threads = engine->threads()});
}

void Rig::copy(Stream& stream, const Io& dst, const Io& src) {
  for (std::size_t i = 0; i < dst.sizes.size(); ++i)
    stream.copy({dst.buffers[i].get(), dst.offsets[i], dst.sizes[i], Access::write},
                {src.buffers[i].get(), src.offsets[i], dst.sizes[i], Access::read});
}

void Rig::enqueue(runtime::Context& context, Stream& stream, const Io& in, const Io& out, Event& done,
                  Event* consumed, Delivery& delivery) {
  const hooks::Range range("infer");
  const TimePoint begin = sched::Clock::now();
  for (std::size_t i = 0; i < in.buffers.size(); ++i) context.bind_input(i, in.buffers[i], in.offsets[i]);
  for (std::size_t i = 0; i < out.buffers.size(); ++i) context.bind_output(i, out.buffers[i], out.offsets[i]);
  context.enqueue(stream, done, {.input_consumed = consumed});
  delivery.enqueuing += sched::Clock::now() - begin;
}

void Rig::stage(const Io& dst, const Io& src) const {
  for (std::size_t i = 0; i < dst.sizes.size(); ++i) {
    declare_host_access(device(), {src.buffers[i].get(), 0, dst.sizes[i], Access::read}, "staging");
    declare_host_access(device(), {dst.buffers[i].get(), 0, dst.sizes[i], Access::write}, "staging");
    std::memcpy(dst.buffers[i]->host_data(), src.buffers[i]->host_data(), dst.sizes[i]);
  }
  if (machine.spec) sched::sleep_for(from_ms(machine.spec->staging()));
}

void Rig::post(int k, std::span<const std::byte* const> outputs, std::int64_t rows,
               Delivery& delivery) const {
  Result result;
  {
    const hooks::Range range("Print Result");
    for (std::size_t o = 0; o < outputs_.size(); ++o) {
      const std::size_t bytes = outputs_[o].span_bytes() / static_cast<std::size_t>(machine.options.batch) *
                                static_cast<std::size_t>(rows);
      if (outputs_[o].dtype == DType::f32)
        rank(reinterpret_cast<const float*>(outputs[o]), bytes / sizeof(float),
             static_cast<std::size_t>(outputs_[o].shape.back()), result);
      if (delivery.keep) result.outputs.emplace_back(outputs[o], outputs[o] + bytes);
    }
    if (machine.spec)
      sched::sleep_for(from_ms(machine.spec->post_ms * static_cast<double>(rows) /
                               static_cast<double>(machine.options.batch)));
  }
  delivery.add(k, std::move(result));
}

void Rig::post(int k, const Io& outputs, std::int64_t rows, Delivery& delivery) const {
  std::vector<const std::byte*> data;
  for (std::size_t o = 0; o < outputs_.size(); ++o) {
    declare_host_access(device(), {outputs.buffers[o].get(), 0, outputs.sizes[o], Access::read}, "post");
    data.push_back(outputs.buffers[o]->host_data());
  }
  post(k, data, rows, delivery);
}

}  // namespace headrace::ladder
