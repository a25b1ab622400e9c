// Graph -> text.
#include <charconv>
#include <sstream>

#include "base/hash.h"
#include "graph/graph.h"
#include "graph/text.h"

namespace headrace {

HostTensor random_tensor(DType dtype, const Shape& shape, std::uint64_t seed) {
  HostTensor out(dtype, shape);
  const std::int64_t n = out.elements();
  for (std::int64_t i = 0; i < n; ++i) {
    std::uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(i) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    if (is_float(dtype))
      out.set_double(i, static_cast<double>(z >> 43) / (1 << 20) - 1);  // [-1, 1)
    else if (is_unsigned_int(dtype))
      out.set_int(i, static_cast<std::int64_t>(z % 8));
    else if (dtype == DType::boolean)
      out.set_int(i, static_cast<std::int64_t>(z & 1));
    else
      out.set_int(i, static_cast<std::int64_t>(z % 16) - 8);
  }
  return out;
}

namespace {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return out + "\"";
}

std::string type_text(const Graph& graph, const ValueType& type) {
  return std::string(to_string(type.dtype)) + "[" + graph.shapes().to_string(type.shape) + "]";
}

std::string element(const HostTensor& t, std::int64_t i) {
  char buffer[40];
  char* end;
  if (t.dtype() == DType::f64)
    end = std::to_chars(buffer, buffer + sizeof buffer, t.at_double(i)).ptr;
  else if (is_float(t.dtype())) {
    end = std::to_chars(buffer, buffer + sizeof buffer, static_cast<float>(t.at_double(i))).ptr;
  } else if (t.dtype() == DType::u64) {
    end = std::to_chars(buffer, buffer + sizeof buffer, static_cast<std::uint64_t>(t.at_int(i))).ptr;
  } else {
    end = std::to_chars(buffer, buffer + sizeof buffer, t.at_int(i)).ptr;
  }
  return {buffer, end};
}

std::string data_text(const HostTensor& t) {
  if (t.elements() <= kMaxPrinted) {
    std::string out = "{";
    for (std::int64_t i = 0; i < t.elements(); ++i) out += (i == 0 ? "" : ", ") + element(t, i);
    return out + "}";
  }
  for (std::uint64_t seed = 0; seed < kMaxSeed; ++seed) {  // rejected by the first elements as a rule
    const HostTensor probe = random_tensor(t.dtype(), {4}, seed);
    const std::size_t bytes = probe.bytes().size();
    if (!std::equal(probe.bytes().begin(), probe.bytes().end(), t.bytes().begin(), t.bytes().begin() + bytes))
      continue;
    if (random_tensor(t.dtype(), t.shape(), seed) == t) return "random(" + std::to_string(seed) + ")";
  }
  return "data(" + to_string(hash128(t.bytes())) + ")";
}

class Printer {
 public:
  explicit Printer(const Graph& graph) : graph_(graph), numbers_(graph.value_count(), -1) {}

  std::string run() {
    for (const auto& [key, value] : graph_.metadata)
      out_ << "metadata " << quoted(key) << ' ' << quoted(value) << '\n';
    symbols();
    for (const ValueId id : graph_.inputs()) {
      const Value& v = graph_.value(id);
      out_ << number(id) << " = input " << quoted(v.names.empty() ? "" : v.names[0]) << ' '
           << type_text(graph_, v.type) << '\n';
    }
    for (const NodeId id : graph_.nodes()) {
      const Node& n = graph_.node(id);
      for (const ValueId in : n.inputs) constant(in);
      for (std::size_t i = 0; i < n.outputs.size(); ++i) out_ << (i == 0 ? "" : ", ") << number(n.outputs[i]);
      out_ << " = " << to_string(n.op, graph_.shapes());
      for (std::size_t i = 0; i < n.inputs.size(); ++i) out_ << (i == 0 ? " " : ", ") << number(n.inputs[i]);
      for (std::size_t i = 0; i < n.outputs.size(); ++i) {
        out_ << (i == 0 ? " : " : ", ") << type_text(graph_, graph_.value(n.outputs[i]).type);
      }
      for (const std::string& origin : n.origins) out_ << ' ' << quoted(origin);
      out_ << '\n';
    }
    for (const GraphOutput& o : graph_.outputs()) constant(o.value);
    for (const GraphOutput& o : graph_.outputs()) {
      out_ << "output " << quoted(o.name) << ' ' << number(o.value) << '\n';
    }
    for (const Condition& c : graph_.shapes().conditions())
      out_ << "require " << quoted(c.message) << ' ' << graph_.shapes().to_string(c.holds) << '\n';
    return out_.str();
  }

 private:
  std::string number(ValueId id) {
    std::int32_t& n = numbers_[static_cast<std::size_t>(id)];
    if (n < 0) n = next_++;
    return "%" + std::to_string(n);
  }
  void constant(ValueId id) {
    const Value& v = graph_.value(id);
    if (!v.constant || numbers_[static_cast<std::size_t>(id)] >= 0) return;
    out_ << number(id) << " = constant ";
    if (!v.names.empty()) out_ << quoted(v.names[0]) << ' ';
    out_ << type_text(graph_, v.type) << ' ' << data_text(*v.constant) << '\n';
  }
  /// Sources that the types of inputs do not tell.
  void symbols() {
    const ShapeProgram& p = graph_.shapes();
    const auto told = [&](std::size_t symbol, const SymbolSource& s) {
      if (s.kind != SymbolSource::dim || static_cast<std::size_t>(s.input) >= graph_.inputs().size())
        return false;
      const Dims& shape = graph_.value(graph_.inputs()[static_cast<std::size_t>(s.input)]).type.shape;
      if (static_cast<std::size_t>(s.index) >= shape.size()) return false;
      const Dim d = shape[static_cast<std::size_t>(s.index)];
      if (d.is_constant()) return false;
      const DimExpr& e = p.exprs()[static_cast<std::size_t>(d.expr)];
      return e.op == DimOp::symbol && e.a.value == static_cast<std::int64_t>(symbol);
    };
    for (std::size_t i = 0; i < p.symbols().size(); ++i) {
      for (const SymbolSource& s : p.symbols()[i].sources) {
        if (told(i, s)) continue;
        out_ << "symbol " << quoted(p.symbols()[i].name)
             << (s.kind == SymbolSource::dim     ? " dim("
                 : s.kind == SymbolSource::value ? " value("
                                                 : " real(")
             << s.input << ", " << s.index << ")\n";
      }
    }
  }

  const Graph& graph_;
  std::vector<std::int32_t> numbers_;
  std::int32_t next_ = 0;
  std::ostringstream out_;
};

}  // namespace

std::string print(const Graph& graph) { return Printer(graph).run(); }

}  // namespace headrace
