// cpu.pointwise: fused f32/bool expressions, a block of elements at a time through SIMD loops.
//
// Registers of the expression are blocks of kBlock floats on the stack (booleans as 0 or 1); an operand that
// is contiguous over the block is used where it lies, the last instruction writes where dst lies. Small inner
// axes are taken several rows at a time. Operands may broadcast and have any strides.
#include <algorithm>
#include <cstring>

#include "backends/cpu/parallel.h"
#include "backends/cpu/tactics.h"
#include "backends/cpu/vec.h"
#include "backends/nest.h"

namespace headrace::cpu {
namespace {

constexpr std::int64_t kBlock = 512;
constexpr int kMaxBuffers = 24, kMaxValues = 96;

bool loads(DType t) {
  switch (t) {
    case DType::f32:
    case DType::boolean:
    case DType::u8:
    case DType::i8:
    case DType::u16:
    case DType::i16:
    case DType::i32:
    case DType::i64:
    case DType::f16: return true;
    default: return false;
  }
}

struct Load {
  std::size_t operand = 0;  ///< index of src; dst is operand 0 of the nest
  DType dtype = DType::f32;
  int value = 0, buffer = 0;
};
struct Fill {
  int value = 0, buffer = 0;
  float constant = 0;
};
struct Program {
  std::vector<VecOp> ops;  ///< operands are indices of values
  std::vector<Load> loads;
  std::vector<Fill> fills;
  std::vector<int> buffer_of;  ///< by value
  int buffers = 0, result = 0;
  DType dst_dtype = DType::f32;
};

std::optional<std::string> compile(const Problem& p, const PwExpr& expr, Program& program) {
  const auto& code = expr.code;
  const int count = static_cast<int>(code.size());
  if (count == 0 || count > kMaxValues) return "expression of " + std::to_string(count) + " steps";
  program.dst_dtype = p.dsts[0].dtype;
  if (program.dst_dtype != DType::f32 && program.dst_dtype != DType::boolean) {
    return "dst is " + std::string(to_string(program.dst_dtype)) + ", not f32 or bool";
  }
  std::vector<int> last_use(code.size(), 0);
  last_use.back() = count;
  for (int i = 0; i < count; ++i) {
    if (code[static_cast<std::size_t>(i)].op == PwOp::load) continue;
    for (int o : {code[static_cast<std::size_t>(i)].a, code[static_cast<std::size_t>(i)].b,
                  code[static_cast<std::size_t>(i)].c}) {
      if (o >= 0) last_use[static_cast<std::size_t>(o)] = std::max(last_use[static_cast<std::size_t>(o)], i);
    }
  }
  std::vector<int> free_buffers;
  const auto take = [&] {
    if (free_buffers.empty()) return program.buffers++;
    const int b = free_buffers.back();
    free_buffers.pop_back();
    return b;
  };
  program.buffer_of.resize(code.size() + 1);
  for (int i = 0; i < count; ++i) {
    const PwInstr& in = code[static_cast<std::size_t>(i)];
    int& buffer = program.buffer_of[static_cast<std::size_t>(i)];
    const bool register_dtype = in.dtype == DType::f32 || in.dtype == DType::boolean;
    if (in.op == PwOp::load) {
      if (!loads(in.dtype)) return "input of dtype " + std::string(to_string(in.dtype));
      if (!register_dtype) {  // converted as it is read: right when only casts to f32 or bool read it
        for (const PwInstr& user : code) {
          const bool reads = user.op != PwOp::load && (user.a == i || user.b == i || user.c == i);
          const bool ok = user.op == PwOp::cast && (user.dtype == DType::f32 || user.dtype == DType::boolean);
          if (reads && !ok) return "arithmetic in " + std::string(to_string(in.dtype));
        }
      }
      // Loads and constants are made before the first step: their buffers are never shared.
      buffer = program.buffers++;
      program.loads.push_back({static_cast<std::size_t>(in.a), in.dtype, i, buffer});
      continue;
    }
    if (!register_dtype) return "arithmetic in " + std::string(to_string(in.dtype));
    if (in.op == PwOp::constant) {
      buffer = program.buffers++;
      program.fills.push_back(
          {i, buffer, in.dtype == DType::boolean ? (in.imm ? 1.0f : 0.0f) : static_cast<float>(in.alpha)});
      continue;
    }
    VecOp op{in.op,
             i,
             in.a,
             in.b < 0 ? in.a : in.b,
             in.c < 0 ? in.a : in.c,
             static_cast<float>(in.alpha),
             static_cast<float>(in.beta)};
    if (in.op == PwOp::cast) {
      if (in.dtype == DType::boolean && code[static_cast<std::size_t>(in.a)].dtype != DType::boolean) {
        op.op = PwOp::logical_not;  // twice: x != 0
        program.ops.push_back(op);
        op.a = op.b = op.c = i;
      } else {
        op.op = PwOp::load;  // the same numbers
      }
    } else if (!vec_supports(in.op)) {
      return "step " + std::string(to_string(in.op));
    }
    if (in.op == PwOp::pow) {
      const PwInstr& e = code[static_cast<std::size_t>(in.b)];
      if (e.op == PwOp::constant && e.alpha == 2) op.op = PwOp::mul, op.b = op.a;
    }
    // An operand that dies here gives its buffer to the result: steps work in place.
    for (int o : {in.a, in.b, in.c}) {
      if (o < 0 || last_use[static_cast<std::size_t>(o)] != i) continue;
      const PwInstr& source = code[static_cast<std::size_t>(o)];
      if (source.op == PwOp::load || source.op == PwOp::constant) continue;
      const int b = program.buffer_of[static_cast<std::size_t>(o)];
      if (std::find(free_buffers.begin(), free_buffers.end(), b) == free_buffers.end())
        free_buffers.push_back(b);
    }
    buffer = take();
    program.ops.push_back(op);
  }
  if (program.buffers >= kMaxBuffers)
    return "expression needs " + std::to_string(program.buffers) + " registers";
  program.result = count - 1;
  if (program.ops.empty() ||
      program.ops.back().dst != program.result) {  // the result is an input or a constant
    program.ops.push_back({PwOp::load, count, count - 1});
    program.buffer_of[code.size()] = program.buffers++;
    program.result = count;
  }
  return std::nullopt;
}

template <class T>
void convert(float* out, const std::byte* base, std::int64_t stride, std::int64_t n) {
  const T* in = reinterpret_cast<const T*>(base);
  for (std::int64_t i = 0; i < n; ++i) {
    if constexpr (std::is_same_v<T, Half>)
      out[i] = to_float(in[i * stride]);
    else
      out[i] = static_cast<float>(in[i * stride]);
  }
}
void read(float* out, const std::byte* base, DType dtype, std::int64_t stride, std::int64_t n) {
  if (dtype == DType::f32 && stride == 1) {
    std::memcpy(out, base, static_cast<std::size_t>(n) * 4);
    return;
  }
  if (stride == 1 && dtype == DType::u8)
    return vec().widen_u8(out, reinterpret_cast<const std::uint8_t*>(base), n);
  if (stride == 1 && dtype == DType::f16)
    return vec().widen_f16(out, reinterpret_cast<const std::uint16_t*>(base), n);
  switch (dtype) {
    case DType::f32: return convert<float>(out, base, stride, n);
    case DType::boolean:
    case DType::u8: return convert<std::uint8_t>(out, base, stride, n);
    case DType::i8: return convert<std::int8_t>(out, base, stride, n);
    case DType::u16: return convert<std::uint16_t>(out, base, stride, n);
    case DType::i16: return convert<std::int16_t>(out, base, stride, n);
    case DType::i32: return convert<std::int32_t>(out, base, stride, n);
    case DType::i64: return convert<std::int64_t>(out, base, stride, n);
    case DType::f16: return convert<Half>(out, base, stride, n);
    default: return;
  }
}

struct Loop {
  Program program;
  Nest nest;  ///< operand 0: dst; then one per load
  std::int64_t inner = 1, rows = 1, chunk = 1, rows_per_block = 1, row_blocks = 1, chunks = 1, outer = 1;
  bool has_rows = false;

  void plan() {
    const std::size_t axes = nest.extents.size();
    inner = nest.extents.back();
    has_rows = axes >= 2;
    rows = has_rows ? nest.extents[axes - 2] : 1;
    chunk = std::min(inner, kBlock);
    rows_per_block = inner >= kBlock ? 1 : std::min(rows, kBlock / std::max<std::int64_t>(1, inner));
    row_blocks = (rows + rows_per_block - 1) / std::max<std::int64_t>(1, rows_per_block);
    chunks = (inner + chunk - 1) / std::max<std::int64_t>(1, chunk);
    outer = 1;
    for (std::size_t a = 0; a + 2 < axes; ++a) outer *= nest.extents[a];
  }

  void blocks(std::span<std::byte* const> data, std::int64_t begin, std::int64_t end) const {
    alignas(64) float buffers[kMaxBuffers][kBlock];
    const VecTable& table = vec();
    const std::size_t axes = nest.extents.size(), inner_axis = axes - 1;
    const std::size_t sources = data.size() - 1;
    const float* at[kMaxValues + 1];
    for (const Fill& fill : program.fills) {
      std::fill_n(buffers[fill.buffer], std::min(kBlock, chunk * rows_per_block), fill.constant);
      at[fill.value] = buffers[fill.buffer];
    }
    const float* cached[kMaxValues] = {};
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t k = task % chunks, rest = task / chunks, rb = rest % row_blocks,
                         o = rest / row_blocks;
      const std::int64_t c0 = k * chunk, nc = std::min(chunk, inner - c0);
      const std::int64_t r0 = rb * rows_per_block, nr = std::min(rows_per_block, rows - r0), n = nc * nr;
      const auto place = [&](std::size_t operand) {
        return (axes > 2 ? nest.offset(operand, o, axes - 2) : 0) +
               (has_rows ? r0 * nest.strides[operand][axes - 2] : 0) + c0 * nest.strides[operand][inner_axis];
      };
      const auto row_stride = [&](std::size_t operand) {
        return has_rows ? nest.strides[operand][axes - 2] : 0;
      };
      for (std::size_t l = 0; l < program.loads.size(); ++l) {
        const Load& load = program.loads[l];
        const std::int64_t stride = nest.strides[l + 1][inner_axis], row = row_stride(l + 1);
        const std::byte* base =
            data[load.operand] + place(l + 1) * static_cast<std::int64_t>(size_bytes(load.dtype));
        float* out = buffers[load.buffer];
        if (load.dtype == DType::f32 && stride == 1 && (nr == 1 || row == nc)) {
          at[load.value] = reinterpret_cast<const float*>(base);
          continue;
        }
        at[load.value] = out;
        // A repeated small operand (a bias) is spread once and then found in place.
        const bool repeats = (nr > 1 || !has_rows) && row == 0 && chunks == 1;
        if (repeats && cached[l] == reinterpret_cast<const float*>(base) && nr == rows_per_block) continue;
        cached[l] = repeats && nr == rows_per_block ? reinterpret_cast<const float*>(base) : nullptr;
        if (stride == 1 && row == nc) {
          read(out, base, load.dtype, 1, n);
          continue;
        }
        for (std::int64_t r = 0; r < nr; ++r) {
          if (r > 0 && row == 0) {
            std::memcpy(out + r * nc, out, static_cast<std::size_t>(nc) * 4);
            continue;
          }
          const std::byte* from = base + r * row * static_cast<std::int64_t>(size_bytes(load.dtype));
          if (stride == 0) {
            read(out + r * nc, from, load.dtype, 1, 1);
            std::fill_n(out + r * nc + 1, nc - 1, out[r * nc]);
          } else {
            read(out + r * nc, from, load.dtype, stride, nc);
          }
        }
      }
      const bool direct = program.dst_dtype == DType::f32 && nest.strides[0][inner_axis] == 1 &&
                          (nr == 1 || row_stride(0) == nc);
      std::byte* dst = data[sources] + place(0) * static_cast<std::int64_t>(size_bytes(program.dst_dtype));
      for (const VecOp& op : program.ops) {
        float* out = op.dst == program.result && direct
                         ? reinterpret_cast<float*>(dst)
                         : buffers[program.buffer_of[static_cast<std::size_t>(op.dst)]];
        if (op.op == PwOp::load) {
          std::memmove(out, at[op.a], static_cast<std::size_t>(n) * 4);
        } else {
          table.run(op, out, at[op.a], at[op.b], at[op.c], n);
        }
        at[op.dst] = out;
      }
      const float* result = at[program.result];
      if (!direct) write(dst, result, row_stride(0), nest.strides[0][inner_axis], nr, nc);
    }
  }

 private:
  void write(std::byte* dst, const float* from, std::int64_t row, std::int64_t stride, std::int64_t nr,
             std::int64_t nc) const {
    for (std::int64_t r = 0; r < nr; ++r) {
      for (std::int64_t c = 0; c < nc; ++c) {
        const std::int64_t i = r * row + c * stride;
        if (program.dst_dtype == DType::f32)
          reinterpret_cast<float*>(dst)[i] = from[r * nc + c];
        else
          dst[i] = static_cast<std::byte>(from[r * nc + c] != 0);
      }
    }
  }
};

class PointwiseTactic final : public Tactic {
 public:
  std::string_view id() const override { return "cpu.pointwise"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const Pointwise* op = op_as<Pointwise>(p);
    if (!op) return refuse("not a Pointwise");
    Program program;
    if (auto reason = compile(p, op->expr, program)) return refuse(*reason);
    return std::nullopt;
  }
  bool in_place(const Problem& p, std::size_t src, std::size_t dst) const override {
    return dst == 0 && p.srcs[src] == p.dsts[0] && p.dsts[0].dtype == DType::f32;
  }
  std::unique_ptr<Kernel> make(const Problem& p, const Choice&) const override {
    Loop loop;
    if (auto reason = compile(p, op_as<Pointwise>(p)->expr, loop.program)) {
      throw Error(ErrorCode::invalid_plan, "cpu.pointwise: " + *reason);
    }
    std::vector<Strides> strides{p.dsts[0].strides};
    for (const Load& load : loop.program.loads)
      strides.push_back(broadcast_strides(p.srcs[load.operand], p.dsts[0].shape));
    loop.nest = make_nest(p.dsts[0].shape, strides);
    loop.plan();
    const std::int64_t elements = p.dsts[0].elements();
    const std::int64_t cost = elements * static_cast<std::int64_t>(1 + loop.program.ops.size());
    return make_kernel(
        "cpu.pointwise " + to_string(op_as<Pointwise>(p)->expr),
        [loop = std::move(loop), elements, cost](std::span<std::byte* const> data, std::byte*) {
          if (elements == 0) return;
          parallel_for(loop.outer * loop.row_blocks * loop.chunks, cost,
                       [&](std::int64_t begin, std::int64_t end) { loop.blocks(data, begin, end); });
        });
  }
};

}  // namespace

std::unique_ptr<Tactic> make_pointwise() { return std::make_unique<PointwiseTactic>(); }

}  // namespace headrace::cpu
