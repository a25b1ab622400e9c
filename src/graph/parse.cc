// Text -> graph, one line at a time. The text may be anybody's: depth and sizes are bounded.
#include <cmath>
#include <map>

#include <headrace/error.h>

#include "core/enum_names.h"
#include "core/op_fields.h"
#include "graph/graph.h"
#include "graph/text.h"
#include "graph/text_cursor.h"

namespace headrace {

namespace {

class Parser : TextCursor {
 public:
  Graph run(std::string_view text) {
    int line = 0;
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      line_ = text.substr(0, end);
      text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
      ++line;
      at_ = 0;
      try {
        statement();
      } catch (Error& error) {
        throw error.add_context("in line " + std::to_string(line) +
                                " of the graph text: " + std::string(line_));
      }
    }
    return std::move(graph_);
  }

 private:
  // ---- statements
  void statement() {
    if (peek() == '\0' || peek() == '#') return;
    if (accept("metadata ")) {
      std::string key = quoted();
      graph_.metadata[std::move(key)] = quoted();
    } else if (accept("symbol ")) {
      const std::string name = quoted();
      const SymbolSource::Kind kind = accept("value")  ? SymbolSource::value
                                      : accept("real") ? SymbolSource::real
                                                       : (expect("dim"), SymbolSource::dim);
      expect("(");
      const auto input = number<std::int32_t>();
      expect(",");
      const auto index = number<std::int32_t>();
      expect(")");
      graph_.shapes().symbol(name, {kind, input, index});
    } else if (accept("require ")) {
      const std::string message = quoted();
      graph_.shapes().require(sum(0), message);
    } else if (accept("output ")) {
      std::string name = quoted();
      graph_.add_output(std::move(name), use());
    } else {
      definition();
    }
    if (peek() != '\0') fail("unexpected text");
  }

  std::int32_t value_number() {
    expect("%");
    return number<std::int32_t>();
  }
  ValueId use() {
    const auto it = values_.find(value_number());
    if (it == values_.end()) fail("this value is not defined before");
    return it->second;
  }
  void define(std::int32_t number, ValueId id) {
    if (!values_.emplace(number, id).second) fail("%" + std::to_string(number) + " is defined twice");
  }

  void definition() {
    std::vector<std::int32_t> numbers;
    do numbers.push_back(value_number());
    while (accept(","));
    expect("=");
    if (accept("input ")) {
      std::string name = quoted();
      new_symbols_ = true;
      const ValueType type = value_type();
      new_symbols_ = false;
      define(numbers[0], graph_.add_input(std::move(name), type));
      return;
    }
    if (accept("constant ")) {
      const std::string name = peek() == '"' ? quoted() : std::string();
      define(numbers[0], graph_.add_constant(constant(), name));
      return;
    }
    Op op = operation();
    std::vector<ValueId> inputs;
    if (peek() == '%') {
      do inputs.push_back(use());
      while (accept(","));
    }
    std::vector<ValueType> types;
    if (accept(":")) {
      do types.push_back(value_type());
      while (accept(","));
    }
    std::vector<std::string> origins;
    while (peek() == '"') origins.push_back(quoted());
    const NodeId id = graph_.add(std::move(op), std::move(inputs), std::move(origins));
    const std::vector<ValueId> outputs = graph_.node(id).outputs;
    if (numbers.size() > outputs.size())
      fail("the operator has only " + std::to_string(outputs.size()) + " results");
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      define(numbers[i], outputs[i]);
      if (i >= types.size()) continue;
      const std::string have = text(graph_.value(outputs[i]).type), said = text(types[i]);
      if (have != said) fail("result " + std::to_string(i) + " is " + have + ", the text says " + said);
    }
  }

  std::string text(const ValueType& type) {
    return std::string(to_string(type.dtype)) + "[" + graph_.shapes().to_string(type.shape) + "]";
  }

  HostTensor constant() {
    const ValueType type = value_type();
    if (!all_constant(type.shape)) fail("a constant needs a shape of numbers");
    const Shape shape = to_shape(type.shape);
    const std::int64_t count = element_count(shape);
    if (count > kMaxParsedElements) fail("too large a constant");
    if (accept("random(")) {
      const auto seed = number<std::uint64_t>();
      expect(")");
      return random_tensor(type.dtype, shape, seed);
    }
    if (peek() == 'd') fail("only a digest of this constant was printed; write random(seed) or its values");
    HostTensor out(type.dtype, shape);
    expect("{");
    for (std::int64_t i = 0; i < count; ++i) {
      if (i > 0) expect(",");
      if (is_float(type.dtype))
        out.set_double(i, number<double>());
      else if (type.dtype == DType::u64)
        out.set_int(i, static_cast<std::int64_t>(number<std::uint64_t>()));
      else
        out.set_int(i, number<std::int64_t>());
    }
    expect("}");
    return out;
  }

  // ---- types and extents
  ValueType value_type() {
    ValueType type;
    type.dtype = enumerator<DType>();
    expect("[");
    if (accept("scalar")) {
      expect("]");
      return type;
    }
    do {
      axis_ = static_cast<std::int32_t>(type.shape.size());
      Dim d;
      if (accept("(")) {
        d = sum(0);
        expect(")");
      } else {
        d = atom(0, new_symbols_);
      }
      type.shape.push_back(d);
    } while (accept("x"));
    expect("]");
    return type;
  }

  Dim sum(int depth) {
    if (depth > 64) fail("too deep an expression");
    ShapeProgram& p = graph_.shapes();
    Dim out = accept("-") ? p.sub(0, product(depth)) : product(depth);
    while (true) {
      if (accept("+"))
        out = p.add(out, product(depth));
      else if (accept("-"))
        out = p.sub(out, product(depth));
      else
        return out;
    }
  }
  Dim product(int depth) {
    Dim out = atom(depth, false);
    while (accept("*")) out = graph_.shapes().mul(out, atom(depth, false));
    return out;
  }
  Dim atom(int depth, bool defines) {
    const char c = peek();
    if (std::isdigit(static_cast<unsigned char>(c)) || c == '-') return number<std::int64_t>();
    if (accept("(")) {
      const Dim out = sum(depth + 1);
      expect(")");
      return out;
    }
    if (accept("real(")) {
      const auto value = number<double>();
      expect(")");
      return to_bits(value);
    }
    static constexpr std::pair<std::string_view, DimOp> functions[] = {{"floor_div(", DimOp::floor_div},
                                                                       {"ceil_div(", DimOp::ceil_div},
                                                                       {"trunc_div(", DimOp::trunc_div},
                                                                       {"mod(", DimOp::mod},
                                                                       {"min(", DimOp::min},
                                                                       {"max(", DimOp::max},
                                                                       {"eq(", DimOp::eq},
                                                                       {"lt(", DimOp::lt},
                                                                       {"select(", DimOp::select},
                                                                       {"to_fixed(", DimOp::to_fixed},
                                                                       {"to_real(", DimOp::to_real},
                                                                       {"scale(", DimOp::scale},
                                                                       {"range_count(", DimOp::range_count}};
    for (const auto& [start, op] : functions) {
      if (!accept(start)) continue;
      Dim operands[3];
      for (int k = 0; k < arity(op); ++k) {
        if (k > 0) expect(",");
        operands[k] = sum(depth + 1);
      }
      expect(")");
      return graph_.shapes().make(op, operands[0], operands[1], operands[2]);
    }
    std::string name;
    if (c == '\'') {
      name = quoted('\'');
    } else {
      while (at_ < line_.size() && line_[at_] != 'x' &&
             (std::isalnum(static_cast<unsigned char>(line_[at_])) || line_[at_] == '_')) {
        name += line_[at_++];
      }
    }
    if (name.empty()) fail("expected an extent");
    if (defines) {
      const auto input = static_cast<std::int32_t>(graph_.inputs().size());
      return graph_.shapes().symbol(name, {SymbolSource::dim, input, axis_});
    }
    const auto& symbols = graph_.shapes().symbols();
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      if (symbols[i].name == name)
        return graph_.shapes().make(DimOp::symbol, static_cast<std::int64_t>(i), {});
    }
    fail("unknown symbol '" + name + "'");
  }

  // ---- operators
  template <std::size_t I = 0>
  Op operation_named(const std::string& wanted) {
    if constexpr (I == std::variant_size_v<Op>) {
      fail("unknown operator '" + wanted + "'");
    } else {
      Op op{std::in_place_index<I>};
      return name(op) == wanted ? op : operation_named<I + 1>(wanted);
    }
  }
  Op operation() {
    Op op = operation_named(word());
    expect("(");
    if (auto* pointwise = std::get_if<Pointwise>(&op)) {
      expression(pointwise->expr);
      expect(")");
      return op;
    }
    if (accept(")")) return op;
    do {
      const std::string field = word();
      expect("=");
      bool known = false;
      std::visit(
          [&](auto& o) {
            fields(o, [&](std::string_view name, auto& member) {
              if (name != field) return;
              known = true;
              read(member);
            });
          },
          op);
      if (!known) fail("unknown field '" + field + "'");
    } while (accept(","));
    expect(")");
    return op;
  }
  void read(bool& v) { v = accept("true") || (expect("false"), false); }
  void read(std::int64_t& v) { v = number<std::int64_t>(); }
  void read(double& v) { v = number<double>(); }
  void read(std::string& v) { v = quoted(); }
  void read(Dim& v) { v = sum(0); }
  void read(Real& v) {
    if (accept("real(")) {
      v = Real::of_bits(sum(0));
      expect(")");
    } else {
      v = number<double>();
    }
  }
  void read(Post& v) {
    v.op = to_pw_op(word());
    if (!accept("(")) return;
    v.alpha = number<double>();
    if (accept(",")) v.beta = number<double>();
    expect(")");
  }
  void read(PwExpr& v) { expression(v); }
  template <class E>
  requires std::is_enum_v<E>
  void read(E& v) { v = enumerator<E>(); }
  template <class T>
  void read(std::vector<T>& v) {
    v.clear();
    expect("[");
    if (accept("]")) return;
    do read(v.emplace_back());
    while (accept(","));
    expect("]");
  }

  // ---- pointwise expressions
  void expression(PwExpr& out) {
    std::map<std::string, std::int32_t> names;
    loads_.clear();
    while (true) {
      const std::size_t begin = at_;
      const std::string name = word();
      if (!name.empty() && name[0] == 't' && accept("=")) {
        names[name] = term(out, names, 0);
        expect(";");
      } else {
        at_ = begin;
        break;
      }
    }
    const std::int32_t result = term(out, names, 0);
    if (result + 1 != static_cast<std::int32_t>(out.code.size())) fail("the last term must be the result");
  }
  DType suffix(DType usual) { return accept(":") ? enumerator<DType>() : usual; }
  std::int32_t term(PwExpr& out, const std::map<std::string, std::int32_t>& names, int depth) {
    if (depth > 200) fail("too deep an expression");
    blanks();
    const std::size_t begin = at_;
    const std::string name = word();
    const bool index = name.size() > 1 && name.find_first_not_of("0123456789", 1) == std::string::npos;
    if (index && name[0] == 'x') {
      const DType dtype = suffix(DType::f32);
      const auto [it, fresh] = loads_.try_emplace(name, 0);
      if (fresh) {
        std::int32_t input = 0;
        const auto result = std::from_chars(name.data() + 1, name.data() + name.size(), input);
        if (result.ec != std::errc{}) fail("bad input index");
        it->second = out.load(input, dtype);
      }
      return it->second;
    }
    if (index && name[0] == 't') {
      const auto it = names.find(name);
      if (it == names.end()) fail("'" + name + "' is not defined before");
      return it->second;
    }
    const bool numeral =
        name.empty() || std::isdigit(static_cast<unsigned char>(name[0])) || name == "inf" || name == "nan";
    if (numeral) {
      at_ = begin;
      const double value = number<double>();
      const std::size_t end = at_;
      const DType dtype = suffix(DType::f32);
      if (is_float(dtype)) return out.constant(value, dtype);
      const std::size_t after = at_;
      at_ = begin;
      const auto integer = number<std::int64_t>();
      if (at_ != end) fail("expected an integer");
      at_ = after;
      return out.constant_int(integer, dtype);
    }
    PwInstr instr;
    instr.op = to_pw_op(name);
    const bool gives_bool = instr.op == PwOp::is_nan || instr.op == PwOp::is_inf ||
                            instr.op == PwOp::logical_not ||
                            (instr.op >= PwOp::equal && instr.op <= PwOp::logical_xor);
    instr.dtype = suffix(gives_bool ? DType::boolean : DType::f32);
    expect("(");
    std::int32_t* operands[] = {&instr.a, &instr.b, &instr.c};
    for (int k = 0; k < arity(instr.op); ++k) {
      if (k > 0) expect(",");
      *operands[k] = term(out, names, depth + 1);
    }
    if (accept(",")) instr.alpha = number<double>();
    if (accept(",")) instr.beta = number<double>();
    expect(")");
    out.code.push_back(instr);
    return static_cast<std::int32_t>(out.code.size()) - 1;
  }

  Graph graph_;
  std::map<std::int32_t, ValueId> values_;
  std::map<std::string, std::int32_t> loads_;
  std::int32_t axis_ = 0;
  bool new_symbols_ = false;
};

}  // namespace

Graph parse_graph(std::string_view text) { return Parser().run(text); }

}  // namespace headrace
