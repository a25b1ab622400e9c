// Plans to test with: small ones, random ones, damaged ones.
#pragma once

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "backends/backend.h"
#include "base/hash.h"
#include "compiler/compiler.h"
#include "graph/graph.h"
#include "plan/header.h"
#include "plan/plan.h"
#include "runtime/engine.h"

namespace headrace::test {

inline const Registry& reference_registry() {
  static const Registry* registry = [] {
    auto* r = new Registry;
    r->add(make_reference_backend());
    return r;
  }();
  return *registry;
}

/// Dynamic batch; conv, pointwise, concat, slice, reshape, gather, softmax and a matmul: something of every
/// kind.
inline Graph small_graph() {
  Graph g;
  const Dim n = g.shapes().symbol("N", {SymbolSource::dim, 0, 0});
  const ValueId x = g.add_input("x", {DType::f32, {n, 2, 4, 4}});
  const ValueId i = g.add_input("i", {DType::i64, {3}});
  HostTensor weights(DType::f32, {3, 2, 3, 3});
  for (std::int64_t k = 0; k < weights.elements(); ++k)
    weights.set_double(k, 0.01 * static_cast<double>(k % 17) - 0.05);
  const ValueId w = g.add_constant(std::move(weights), "w");
  const ValueId conv =
      g.add1(Conv{.strides = {1, 1}, .dilations = {1, 1}, .pads_begin = {1, 1}, .pads_end = {1, 1}}, {x, w},
             {"conv1 (Conv)"});
  PwExpr relu;
  relu.op(PwOp::relu, DType::f32, relu.load(0, DType::f32));
  const ValueId r = g.add1(Pointwise{relu}, {conv});
  const ValueId joined = g.add1(Concat{1}, {r, x});
  const ValueId part =
      g.add1(Slice{.starts = {0, 1, 0, 0}, .steps = {1, 1, 1, 1}, .sizes = {n, 3, 4, 4}}, {joined});
  const ValueId flat = g.add1(Reshape{{n, 48}}, {part});
  const ValueId soft = g.add1(Softmax{.axis = 1}, {flat});
  const ValueId picked = g.add1(Gather{.axis = 1}, {soft, i});
  g.add_output("y", picked);
  g.add_output("z", joined);
  return g;
}

/// A Resize whose factors are known at run time only, with a condition on them.
inline Graph scaled_graph() {
  Graph g;
  const ValueId x = g.add_input("x", {DType::f32, {2, 6}});
  g.add_input("scale", {DType::f32, {1}});
  ShapeProgram& s = g.shapes();
  const Real scale = Real::of_bits(s.symbol("scale[0]", {SymbolSource::real, 1, 0}));
  s.require(s.lt(0, scale.bits()), "the scale must be positive");
  Resize resize{.coord = ResizeCoord::asymmetric, .nearest = ResizeNearest::floor};
  resize.sizes = {2, s.scale(6, scale)};
  resize.scales = {1, scale};
  g.add_output("y", g.add1(resize, {x}));
  return g;
}

inline Plan compile_small(int opt_level = 0) {
  compiler::Options options;
  options.device = "reference";
  options.opt_level = opt_level;
  options.threads = 1;
  return compiler::compile(small_graph(), reference_registry(), options);
}

/// Makes every checksum of a damaged plan right again, as a stranger could.
inline void repair(std::vector<std::byte>& bytes) {
  using plan_file::Header;
  if (bytes.size() < sizeof(Header)) return;
  Header h;
  std::memcpy(&h, bytes.data(), sizeof h);
  std::memcpy(h.magic, plan_file::kMagic, sizeof h.magic);
  h.version = kPlanVersion;
  h.endian_mark = plan_file::kEndianMark;
  h.file_bytes = bytes.size();
  const std::span<const std::byte> all(bytes);
  if (h.metadata_bytes > bytes.size() - sizeof h) h.metadata_bytes = bytes.size() - sizeof h;
  const Hash128 metadata = hash128(all.subspan(sizeof h, h.metadata_bytes));
  h.metadata_hash[0] = metadata.low;
  h.metadata_hash[1] = metadata.high;
  if (h.weights_offset > bytes.size()) h.weights_offset = bytes.size();
  h.weights_bytes = bytes.size() - h.weights_offset;
  const Hash128 weights = hash128(all.subspan(h.weights_offset));
  h.weights_hash[0] = weights.low;
  h.weights_hash[1] = weights.high;
  h.header_hash = hash64(std::as_bytes(std::span(&h, 1)).first(offsetof(Header, header_hash)));
  std::memcpy(bytes.data(), &h, sizeof h);
}

/// Runs a plan once at its own idea of shapes. True when it ran, false when it was refused with an Error;
/// anything else is a bug (and is what the sanitizers are there for).
inline bool run_or_refuse(std::shared_ptr<const Plan> plan, std::uint64_t budget_bytes = 16 << 20) {
  try {
    const auto engine = runtime::Engine::create(
        plan, reference_registry(), {.device = {}, .threads = 1, .memory_budget_bytes = budget_bytes});
    runtime::Context context(engine);
    ShapeMap shapes;
    std::map<std::string, HostTensor, std::less<>> values;
    for (const ProfileRange& range : plan->profiles.front()) shapes[range.input] = range.opt;
    const std::vector<runtime::IoInfo> infos(engine->inputs().begin(), engine->inputs().end());
    std::vector<BufferRef> keep;
    const auto small = [&](DType dtype, const Shape& shape) {
      const std::int64_t n = element_count(shape);
      return n <= (1 << 20) && static_cast<std::uint64_t>(n) * size_bytes(dtype) <= budget_bytes;
    };
    for (std::size_t i = 0; i < infos.size(); ++i) {
      const Shape& shape = shapes[infos[i].name];
      if (!small(infos[i].dtype, shape)) return false;
      HostTensor value(infos[i].dtype, shape);
      if (is_float(infos[i].dtype) && value.elements() <= 64)  // a scale of 0 would be refused
        for (std::int64_t k = 0; k < value.elements(); ++k) value.set_double(k, 1);
      values.emplace(infos[i].name, std::move(value));
    }
    const runtime::Prepared& prepared = context.prepare(shapes, values);
    const auto stream =
        engine->device().make_stream({.name = "test", .inline_execution = true, .threads = 1});
    const auto done = engine->device().make_event();
    const auto make = [&](const TensorDesc& desc) {
      if (!small(desc.dtype, desc.shape)) throw Error(ErrorCode::out_of_memory, "too large for this test");
      keep.push_back(engine->device().allocate(std::max<std::size_t>(1, desc.span_bytes()), MemoryKind::host,
                                               MemoryUse::io));
      std::memset(keep.back()->host_data(), 0, keep.back()->size_bytes());
      return keep.back();
    };
    for (std::size_t i = 0; i < prepared.inputs.size(); ++i) context.bind_input(i, make(prepared.inputs[i]));
    for (std::size_t i = 0; i < prepared.outputs.size(); ++i)
      context.bind_output(i, make(prepared.outputs[i]));
    context.enqueue(*stream, *done);
    done->wait();
    return true;
  } catch (const Error&) {
    return false;
  }
}

}  // namespace headrace::test
