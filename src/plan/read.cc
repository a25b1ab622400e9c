#include <cstring>

#include <flatbuffers/flatbuffers.h>
#include <fmt/format.h>

#include <headrace/error.h>

#include "base/file.h"
#include "base/hash.h"
#include "plan/header.h"
#include "plan/plan.h"
#include "plan_generated.h"

namespace headrace {
namespace {

using plan_file::Header;

[[noreturn]] void bad(std::string message) { throw Error(ErrorCode::invalid_plan, std::move(message)); }

/// The enumerator with this number; `last` is the greatest one.
template <class E>
E enumerator(std::uint8_t value, E last, const char* what) {
  if (value > static_cast<std::uint8_t>(last))
    bad(fmt::format("bad plan content: {} {} is unknown", what, value));
  return static_cast<E>(value);
}

Dim to_dim(const fb::Dim& d) {
  Dim dim(d.value());
  if (d.expr() < -1) bad(fmt::format("bad plan content: a dimension refers to expression {}", d.expr()));
  dim.expr = d.expr();
  if (dim.expr >= 0 && dim.value != 0)
    bad("bad plan content: a dimension is both a number and an expression");
  return dim;
}

/// Turns the verified flatbuffer into plain structs. Offsets in it may point many times at one big vector, so
/// what is decoded is kept in proportion to what was read.
class Decoder {
 public:
  explicit Decoder(std::size_t metadata_bytes) : left_(metadata_bytes * 64 + (1 << 16)) {}

  // The library's verifier looks at the alignment of a vector's length only, not at that of its elements.
  template <class T, class Vector>
  const Vector* aligned(const Vector* v) {
    if (v && v->size() != 0 && reinterpret_cast<std::uintptr_t>(v->Data()) % alignof(T) != 0)
      bad("bad plan content: a list in its metadata is not aligned");
    return v;
  }

  std::string text(const flatbuffers::String* s) {
    if (!s) return {};
    spend(s->size());
    return s->str();
  }

  template <class Out, class In>
  std::vector<Out> numbers(const flatbuffers::Vector<In>* v) {
    std::vector<Out> out;
    if (aligned<In>(v)) {
      spend(v->size() * sizeof(Out));
      for (std::size_t i = 0; i < v->size(); ++i)
        out.push_back(v->Get(static_cast<flatbuffers::uoffset_t>(i)));
    }
    return out;
  }

  std::vector<std::string> texts(const flatbuffers::Vector<flatbuffers::Offset<flatbuffers::String>>* v) {
    std::vector<std::string> out;
    if (v)
      for (const auto* s : *v) out.push_back(text(s));
    return out;
  }

  Dims to_dims(const flatbuffers::Vector<const fb::Dim*>* v) {
    Dims dims;
    if (aligned<fb::Dim>(v)) {
      spend(v->size() * sizeof(Dim));
      for (const fb::Dim* d : *v) dims.push_back(to_dim(*d));
    }
    return dims;
  }

  PlanTensor to_tensor(const fb::Tensor& t) {
    spend(sizeof(PlanTensor));
    PlanTensor tensor;
    tensor.name = text(t.name());
    tensor.role = enumerator(t.role(), TensorRole::weight, "tensor role");
    tensor.dtype = enumerator(t.dtype(), DType::bf16, "element type");
    tensor.layout = enumerator(t.layout(), Layout::packed, "layout");
    tensor.view = enumerator(t.view(), ViewKind::window, "view kind");
    tensor.shape = to_dims(t.shape());
    tensor.format = text(t.format());
    tensor.weight_offset = t.weight_offset();
    tensor.weight_bytes = t.weight_bytes();
    tensor.parent = t.parent();
    tensor.offsets = to_dims(t.offsets());
    return tensor;
  }

  PlanStep to_step(const fb::Step& s) {
    spend(sizeof(PlanStep));
    PlanStep step;
    step.tactic = text(s.tactic());
    step.choice = text(s.choice());
    if (!s.op()) bad("bad plan content: a step has no operator");
    step.op = {text(s.op()->id()), numbers<std::int64_t>(s.op()->ints()), numbers<double>(s.op()->reals()),
               texts(s.op()->strings())};
    step.inputs = numbers<std::int32_t>(s.inputs());
    step.outputs = numbers<std::int32_t>(s.outputs());
    step.origins = texts(s.origins());
    read_records(s, step);
    if (s.variants())
      for (const auto* v : *s.variants()) {
        spend(sizeof(StepVariant));
        StepVariant variant{.profile = v->profile(),
                            .tactic = text(v->tactic()),
                            .choice = text(v->choice()),
                            .inputs = numbers<std::int32_t>(v->inputs()),
                            .refused = {},
                            .tried = {}};
        read_records(*v, variant);
        step.variants.push_back(std::move(variant));
      }
    return step;
  }

  /// What was refused and tried, of a step or a variant.
  template <class In, class Out>
  void read_records(const In& in, Out& out) {
    if (in.refused())
      for (const auto* r : *in.refused())
        spend(sizeof(RefusalRecord)), out.refused.push_back({text(r->tactic()), text(r->reason())});
    if (in.tried())
      for (const auto* t : *in.tried())
        spend(sizeof(TimingRecord)), out.tried.push_back({text(t->tactic()), text(t->choice()), t->us()});
  }

  ShapeProgram to_program(const fb::Plan& p) {
    std::vector<Symbol> symbols;
    if (p.symbols())
      for (const auto* s : *p.symbols()) {
        spend(sizeof(Symbol));
        Symbol symbol{.name = text(s->name()), .sources = {}};
        if (aligned<fb::SymbolSource>(s->sources()))
          for (const fb::SymbolSource* source : *s->sources())
            spend(sizeof(SymbolSource)),
                symbol.sources.push_back({enumerator(source->kind(), SymbolSource::real, "symbol source"),
                                          source->input(), source->index()});
        symbols.push_back(std::move(symbol));
      }
    std::vector<DimExpr> exprs;
    if (aligned<fb::DimExpr>(p.exprs()))
      for (const fb::DimExpr* e : *p.exprs())
        exprs.push_back({enumerator(e->op(), kLastDimOp, "shape operation"), to_dim(e->a()), to_dim(e->b()),
                         to_dim(e->c())});
    std::vector<Condition> conditions;
    if (p.conditions())
      for (const auto* c : *p.conditions()) {
        spend(sizeof(Condition));
        conditions.push_back({c->holds() ? to_dim(*c->holds()) : Dim(1), text(c->message())});
      }
    return ShapeProgram::from_data(std::move(symbols), std::move(exprs), std::move(conditions));
  }

  Plan to_plan(const fb::Plan& p) {
    Plan plan;
    plan.device = text(p.device());
    plan.device_model = text(p.device_model());
    plan.threads = p.threads();
    if (p.provenance())
      for (const auto* e : *p.provenance()) plan.provenance[text(e->key())] = text(e->value());
    plan.shapes = to_program(p);
    if (p.tensors())
      for (const auto* t : *p.tensors()) plan.tensors.push_back(to_tensor(*t));
    if (p.steps())
      for (const auto* s : *p.steps()) plan.steps.push_back(to_step(*s));
    plan.inputs = numbers<std::int32_t>(p.inputs());
    plan.outputs = numbers<std::int32_t>(p.outputs());
    if (p.profiles())
      for (const auto* profile : *p.profiles()) {
        spend(sizeof(Profile));
        Profile& ranges = plan.profiles.emplace_back();
        if (profile->ranges())
          for (const auto* r : *profile->ranges())
            spend(sizeof(ProfileRange)),
                ranges.push_back({text(r->input()), numbers<std::int64_t>(r->min()),
                                  numbers<std::int64_t>(r->opt()), numbers<std::int64_t>(r->max())});
      }
    return plan;
  }

 private:
  void spend(std::uint64_t bytes) {
    if (bytes > left_) bad("bad plan content: its tables refer to the same data again and again");
    left_ -= bytes;
  }
  std::uint64_t left_;
};

Header read_header(std::span<const std::byte> bytes) {
  const std::size_t seen = std::min(bytes.size(), sizeof plan_file::kMagic);
  if (seen == 0 || std::memcmp(bytes.data(), plan_file::kMagic, seen) != 0)
    bad("this is not a headrace plan (its first bytes are not \"HEADRACE\"); make one with `headrace build`");
  if (bytes.size() < sizeof(Header))
    bad(fmt::format("the plan is truncated: {} bytes, but its header alone has {}; copy or build it again",
                    bytes.size(), sizeof(Header)));
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.endian_mark != plan_file::kEndianMark)
    bad("the plan was written with another byte order, or its header is damaged; build it again on this "
        "machine");
  if (header.version != kPlanVersion)
    bad(fmt::format("the plan has format version {}, but this headrace reads version {}; build it again",
                    header.version, kPlanVersion));
  if (header.header_hash != hash64(bytes.first(offsetof(Header, header_hash))))
    bad("the plan's header is damaged (checksum); copy or build it again");
  if (bytes.size() < header.file_bytes)
    bad(fmt::format("the plan is truncated: {} of {} bytes; copy or build it again", bytes.size(),
                    header.file_bytes));
  if (bytes.size() > header.file_bytes)
    bad(fmt::format("the plan has {} bytes after its end; copy or build it again",
                    bytes.size() - header.file_bytes));
  const std::uint64_t size = header.file_bytes;
  if (header.metadata_bytes > size - sizeof header || header.weights_bytes > size ||
      header.weights_offset != plan_file::aligned(sizeof header + header.metadata_bytes) ||
      header.weights_offset > size || header.weights_bytes != size - header.weights_offset)
    bad("bad plan content: the sizes in the header contradict each other");
  for (std::uint64_t r : header.reserved)
    if (r != 0) bad("bad plan content: reserved bytes of the header are in use");
  if (header.spare != 0) bad("bad plan content: reserved bytes of the header are in use");
  return header;
}

std::shared_ptr<std::byte> aligned_copy(std::span<const std::byte> bytes) {
  auto* p = static_cast<std::byte*>(
      ::operator new(std::max<std::size_t>(1, bytes.size()), std::align_val_t(plan_file::kAlignment)));
  if (!bytes.empty()) std::memcpy(p, bytes.data(), bytes.size());
  return {p, [](std::byte* q) { ::operator delete(q, std::align_val_t(plan_file::kAlignment)); }};
}

}  // namespace

Plan read_plan(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
               const PlanLimits& limits) {
  const Header header = read_header(bytes);
  if (header.weights_bytes > limits.memory_budget_bytes)
    throw Error(
        ErrorCode::out_of_memory,
        fmt::format("the plan's weights need {} bytes, but the memory budget is {} bytes; raise the budget",
                    header.weights_bytes, limits.memory_budget_bytes));
  std::shared_ptr<const void> metadata_owner;
  auto metadata = bytes.subspan(sizeof header, header.metadata_bytes);
  auto weights = bytes.subspan(header.weights_offset, header.weights_bytes);
  const auto is_aligned = [](const std::byte* p) {
    return reinterpret_cast<std::uintptr_t>(p) % plan_file::kAlignment == 0;
  };
  if (!is_aligned(bytes.data())) {
    auto copy = aligned_copy(metadata);
    metadata = {copy.get(), metadata.size()};
    metadata_owner = std::move(copy);
    auto weights_copy = aligned_copy(weights);
    weights = {weights_copy.get(), weights.size()};
    owner = std::move(weights_copy);
  }
  if (hash128(metadata) != Hash128{header.metadata_hash[0], header.metadata_hash[1]})
    bad("the plan is damaged: its metadata does not match its checksum; copy or build it again");
  for (std::byte b : bytes.subspan(sizeof header + header.metadata_bytes,
                                   header.weights_offset - sizeof header - header.metadata_bytes))
    if (b != std::byte{0}) bad("the plan is damaged: its padding is not zero; copy or build it again");
  if (hash128(weights) != Hash128{header.weights_hash[0], header.weights_hash[1]})
    bad("the plan is damaged: its weights do not match their checksum; copy or build it again");

  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(metadata.data()), metadata.size(),
                                 /*max_depth=*/16, /*max_tables=*/50'000'000);
  if (!fb::VerifyPlanBuffer(verifier)) bad("bad plan content: the metadata is not a well-formed flatbuffer");
  Plan plan = Decoder(metadata.size()).to_plan(*fb::GetPlan(metadata.data()));
  plan.weights = weights;
  plan.weights_owner = std::move(owner);
  verify_plan(plan);
  return plan;
}

Plan load_plan(const std::string& path, const PlanLimits& limits) {
  auto file = std::make_shared<const MappedFile>(path);
  return read_plan(file->bytes(), file, limits);
}

}  // namespace headrace
