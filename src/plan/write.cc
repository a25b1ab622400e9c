#include <cstring>

#include <flatbuffers/flatbuffers.h>

#include "base/file.h"
#include "base/hash.h"
#include "plan/header.h"
#include "plan/plan.h"
#include "plan_generated.h"

namespace headrace {
namespace {

using flatbuffers::FlatBufferBuilder;
using flatbuffers::Offset;

fb::Dim to_fb(const Dim& d) { return fb::Dim(d.value, d.expr); }

auto to_fb(FlatBufferBuilder& b, const Dims& dims) {
  std::vector<fb::Dim> v;
  for (const Dim& d : dims) v.push_back(to_fb(d));
  return b.CreateVectorOfStructs(v);
}

Offset<fb::OpRecord> to_fb(FlatBufferBuilder& b, const OpRecord& r) {
  const auto id = b.CreateString(r.id);
  const auto ints = b.CreateVector(r.ints);
  const auto reals = b.CreateVector(r.reals);
  const auto strings = b.CreateVectorOfStrings(r.strings);
  return fb::CreateOpRecord(b, id, ints, reals, strings);
}

Offset<fb::Tensor> to_fb(FlatBufferBuilder& b, const PlanTensor& t) {
  const auto name = b.CreateString(t.name);
  const auto shape = to_fb(b, t.shape);
  const auto format = b.CreateString(t.format);
  const auto offsets = to_fb(b, t.offsets);
  return fb::CreateTensor(b, name, static_cast<std::uint8_t>(t.role), static_cast<std::uint8_t>(t.dtype),
                          static_cast<std::uint8_t>(t.layout), static_cast<std::uint8_t>(t.view), shape,
                          format, t.weight_offset, t.weight_bytes, t.parent, offsets);
}

auto to_fb(FlatBufferBuilder& b, const std::vector<RefusalRecord>& records) {
  std::vector<Offset<fb::Refusal>> refused;
  for (const RefusalRecord& r : records) {
    const auto tactic = b.CreateString(r.tactic);
    refused.push_back(fb::CreateRefusal(b, tactic, b.CreateString(r.reason)));
  }
  return b.CreateVector(refused);
}

auto to_fb(FlatBufferBuilder& b, const std::vector<TimingRecord>& records) {
  std::vector<Offset<fb::Timing>> tried;
  for (const TimingRecord& t : records) {
    const auto tactic = b.CreateString(t.tactic);
    const auto choice = b.CreateString(t.choice);
    tried.push_back(fb::CreateTiming(b, tactic, choice, t.us));
  }
  return b.CreateVector(tried);
}

Offset<fb::Variant> to_fb(FlatBufferBuilder& b, const StepVariant& v) {
  const auto tactic = b.CreateString(v.tactic);
  const auto choice = b.CreateString(v.choice);
  const auto inputs = b.CreateVector(v.inputs);
  const auto refused = to_fb(b, v.refused);
  const auto tried = to_fb(b, v.tried);
  return fb::CreateVariant(b, v.profile, tactic, choice, inputs, refused, tried);
}

Offset<fb::Step> to_fb(FlatBufferBuilder& b, const PlanStep& s) {
  std::vector<Offset<fb::Variant>> variants;
  for (const StepVariant& v : s.variants) variants.push_back(to_fb(b, v));
  const auto tactic = b.CreateString(s.tactic);
  const auto choice = b.CreateString(s.choice);
  const auto op = to_fb(b, s.op);
  const auto inputs = b.CreateVector(s.inputs);
  const auto outputs = b.CreateVector(s.outputs);
  const auto origins = b.CreateVectorOfStrings(s.origins);
  const auto refused = to_fb(b, s.refused);
  const auto tried = to_fb(b, s.tried);
  return fb::CreateStep(b, tactic, choice, op, inputs, outputs, origins, refused, tried,
                        b.CreateVector(variants));
}

Offset<fb::Profile> to_fb(FlatBufferBuilder& b, const Profile& profile) {
  std::vector<Offset<fb::Range>> ranges;
  for (const auto& r : profile) {
    const auto input = b.CreateString(r.input);
    const auto min = b.CreateVector(r.min);
    const auto opt = b.CreateVector(r.opt);
    const auto max = b.CreateVector(r.max);
    ranges.push_back(fb::CreateRange(b, input, min, opt, max));
  }
  return fb::CreateProfile(b, b.CreateVector(ranges));
}

void write_metadata(FlatBufferBuilder& b, const Plan& plan) {
  std::vector<Offset<fb::Entry>> provenance;
  for (const auto& [key, value] : plan.provenance) {
    const auto k = b.CreateString(key);
    provenance.push_back(fb::CreateEntry(b, k, b.CreateString(value)));
  }
  std::vector<Offset<fb::Symbol>> symbols;
  for (const Symbol& s : plan.shapes.symbols()) {
    std::vector<fb::SymbolSource> sources;
    for (const SymbolSource& source : s.sources)
      sources.emplace_back(source.input, source.index, static_cast<std::uint8_t>(source.kind));
    const auto name = b.CreateString(s.name);
    symbols.push_back(fb::CreateSymbol(b, name, b.CreateVectorOfStructs(sources)));
  }
  std::vector<fb::DimExpr> exprs;
  for (const DimExpr& e : plan.shapes.exprs())
    exprs.emplace_back(to_fb(e.a), to_fb(e.b), to_fb(e.c), static_cast<std::uint8_t>(e.op));
  std::vector<Offset<fb::Condition>> conditions;
  for (const Condition& c : plan.shapes.conditions()) {
    const auto message = b.CreateString(c.message);
    const fb::Dim holds = to_fb(c.holds);
    conditions.push_back(fb::CreateCondition(b, &holds, message));
  }
  std::vector<Offset<fb::Tensor>> tensors;
  for (const PlanTensor& t : plan.tensors) tensors.push_back(to_fb(b, t));
  std::vector<Offset<fb::Step>> steps;
  for (const PlanStep& s : plan.steps) steps.push_back(to_fb(b, s));
  std::vector<Offset<fb::Profile>> profiles;
  for (const Profile& p : plan.profiles) profiles.push_back(to_fb(b, p));

  const auto device = b.CreateString(plan.device);
  const auto model = b.CreateString(plan.device_model);
  const auto provenance_at = b.CreateVector(provenance);
  const auto symbols_at = b.CreateVector(symbols);
  const auto exprs_at = b.CreateVectorOfStructs(exprs);
  const auto tensors_at = b.CreateVector(tensors);
  const auto steps_at = b.CreateVector(steps);
  const auto inputs_at = b.CreateVector(plan.inputs);
  const auto outputs_at = b.CreateVector(plan.outputs);
  const auto profiles_at = b.CreateVector(profiles);
  const auto conditions_at = b.CreateVector(conditions);
  b.Finish(fb::CreatePlan(b, device, model, provenance_at, symbols_at, exprs_at, tensors_at, steps_at,
                          inputs_at, outputs_at, profiles_at, plan.threads, conditions_at),
           fb::PlanIdentifier());
}

std::vector<std::byte> head_of(const Plan& plan) {  // header, metadata, padding: all before the weights
  FlatBufferBuilder builder(1 << 16);
  write_metadata(builder, plan);
  plan_file::Header header{};
  std::memcpy(header.magic, plan_file::kMagic, sizeof header.magic);
  header.version = kPlanVersion;
  header.endian_mark = plan_file::kEndianMark;
  header.metadata_bytes = builder.GetSize();
  header.weights_offset = plan_file::aligned(sizeof header + header.metadata_bytes);
  header.weights_bytes = plan.weights.size();
  header.file_bytes = header.weights_offset + header.weights_bytes;
  const std::span metadata(reinterpret_cast<const std::byte*>(builder.GetBufferPointer()), builder.GetSize());
  const Hash128 metadata_hash = hash128(metadata), weights_hash = hash128(plan.weights);
  header.metadata_hash[0] = metadata_hash.low;
  header.metadata_hash[1] = metadata_hash.high;
  header.weights_hash[0] = weights_hash.low;
  header.weights_hash[1] = weights_hash.high;
  header.header_hash =
      hash64(std::as_bytes(std::span(&header, 1)).first(offsetof(plan_file::Header, header_hash)));
  std::vector<std::byte> bytes(header.weights_offset);
  std::memcpy(bytes.data(), &header, sizeof header);
  std::memcpy(bytes.data() + sizeof header, metadata.data(), metadata.size());
  return bytes;
}

}  // namespace

std::vector<std::byte> write_plan(const Plan& plan) {
  std::vector<std::byte> bytes = head_of(plan);
  bytes.insert(bytes.end(), plan.weights.begin(), plan.weights.end());
  return bytes;
}

void save_plan(const Plan& plan, const std::string& path) {
  const std::vector<std::byte> head = head_of(plan);
  const std::span<const std::byte> pieces[] = {head, plan.weights};
  write_file_atomic(path, pieces);
}

}  // namespace headrace
