#include "backends/cuda/codegen_elementwise.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

using Operand = Elementwise::Operand;

std::int64_t bytes_of(const Operand& o) { return static_cast<std::int64_t>(size_bytes(o.dtype)); }

struct Generator {
  const Elementwise& e;
  Nest nest;  ///< operand 0: dst, then the sources

  std::size_t sources() const { return e.srcs.size(); }
  const Operand& operand(std::size_t o) const { return o == 0 ? e.dst : e.srcs[o - 1]; }

  std::string head() const {
    std::string out(kPrelude);
    if (e.integers) out += kIntegerPrelude;
    return out + (e.function.empty() ? "template <class R> HR R f(R x) { return x; }\n" : e.function);
  }
  std::string signature(unsigned block, bool with_count) const {
    std::string out = fmt::format("extern \"C\" __global__ void __launch_bounds__({}) {}(", block, kEntry);
    for (std::size_t i = 0; i < sources(); ++i)
      out += fmt::format("const {}* p{}, ", type_name(e.srcs[i].dtype), i + 1);
    return out + fmt::format("{}* p0{}) {{\n", type_name(e.dst.dtype), with_count ? ", i64 n" : "");
  }
  std::string shifts() const {
    std::string out;
    for (std::size_t o = 0; o <= sources(); ++o)
      if (operand(o).offset != 0) out += fmt::format("  p{} += {}LL;\n", o, operand(o).offset);
    return out;
  }
  KernelSource kernel(std::string source, const Geometry& geometry) const {
    KernelSource k{std::move(source), geometry, {}, {}};
    for (const Operand& o : e.srcs) k.operands.push_back(o.index);
    k.operands.push_back(e.dst.index);
    return k;
  }
  std::string call(const std::string& at) const {
    std::string out = "f(";
    for (std::size_t i = 0; i < sources(); ++i) out += fmt::format("{}reg(r{}{})", i ? ", " : "", i + 1, at);
    return out + ")";
  }
  /// Elements per thread so that the widest access is 16 bytes (32 where a narrow dst is made of wide
  /// sources).
  std::int64_t vector_length() const {
    std::int64_t narrow = bytes_of(e.dst), wide = narrow;
    for (std::size_t o = 0; o <= sources(); ++o) {
      if (nest.strides[o].back() != 1) continue;
      narrow = std::min(narrow, bytes_of(operand(o)));
      wide = std::max(wide, bytes_of(operand(o)));
    }
    return std::min<std::int64_t>(16 / narrow, 32 / wide);
  }

  bool is_flat() const {
    if (nest.axes() != 1 || (nest.strides[0][0] != 1 && nest.extents[0] != 1)) return false;
    for (std::size_t o = 1; o <= sources(); ++o)
      if (nest.strides[o][0] != 1 && nest.strides[o][0] != 0 && nest.extents[0] != 1) return false;
    return true;
  }
  KernelSource flat() const {
    const std::int64_t n = nest.extents[0], V = vector_length();
    const unsigned block = n / V < 132 * 256 ? 128 : 256;
    const int unroll = n / V >= std::int64_t{1} << 19 ? 2 : 1;
    std::string loads, splats, aligned = "true", body, tail;
    for (std::size_t o = 0; o <= sources(); ++o) {
      const auto chunk = access_bytes(V, bytes_of(operand(o)), {});
      const bool vector = nest.strides[o][0] == 1 || o == 0;
      if (vector) aligned += fmt::format(" && is_aligned(p{}, {})", o, chunk);
      if (o == 0) continue;
      const std::string type = type_name(operand(o).dtype);
      if (!vector) {
        splats += fmt::format("  const {0} v{1} = *p{1};\n", type, o);
        tail += fmt::format("      const {0} r{1} = v{1};\n", type, o);
        body += fmt::format("      const {0} r{1} = v{1};\n", type, o);
        continue;
      }
      loads += fmt::format("      alignas(16) {0} a{1}[U][V];\n", type, o);
      loads += fmt::format(
          "#pragma unroll\n      for (int u = 0; u < U; ++u) load<V, {1}>(a{0}[u], p{0} + first + u * "
          "step, true);\n",
          o, chunk);
      body += fmt::format("      const {0} r{1} = a{1}[u][v];\n", type, o);
      tail += fmt::format("      const {0} r{1} = p{1}[i];\n", type, o);
    }
    const std::string text = fill(R"cuda($HEAD$$SIGNATURE$$SHIFTS$  constexpr int V = $V$, U = $U$;
  constexpr i64 step = (i64)$BLOCK$ * V;
  const bool aligned = $ALIGNED$;
  const i64 begin = (i64)blockIdx.x * step * U, first = begin + (i64)threadIdx.x * V;
$SPLATS$  if (aligned && begin + step * U <= n) {
$LOADS$#pragma unroll
    for (int u = 0; u < U; ++u) {
      alignas(16) $DST$ out[V];
#pragma unroll
      for (int v = 0; v < V; ++v) {
$BODY$      out[v] = Store<$DST$>::of($CALL$);
      }
      store<V, $CHUNK$>(p0 + first + u * step, out, true);
    }
  } else {
    for (i64 i = begin + threadIdx.x; i < min(n, begin + step * U); i += $BLOCK$) {
$TAIL$      p0[i] = Store<$DST$>::of($CALL$);
    }
  }
}
)cuda",
                                  {{"HEAD", head()},
                                   {"SIGNATURE", signature(block, true)},
                                   {"SHIFTS", shifts()},
                                   {"V", std::to_string(V)},
                                   {"U", std::to_string(unroll)},
                                   {"BLOCK", std::to_string(block)},
                                   {"ALIGNED", aligned},
                                   {"SPLATS", splats},
                                   {"LOADS", loads},
                                   {"BODY", body},
                                   {"TAIL", tail},
                                   {"DST", type_name(e.dst.dtype)},
                                   {"CHUNK", std::to_string(access_bytes(V, bytes_of(e.dst), {}))},
                                   {"CALL", call("")}});
    KernelSource k = kernel(text, linear_geometry(divide_up(n, V * unroll), block));
    k.scalars = {n};
    return k;
  }

  KernelSource rows() const {
    const std::size_t last = nest.axes() - 1;
    const std::int64_t E = nest.extents[last];
    std::int64_t V = 1;
    if (nest.strides[0][last] == 1) {
      const std::int64_t limit = vector_length();
      if (E <= limit)
        V = E;
      else
        while (V < limit && E % (2 * V) == 0) V *= 2;
    }
    Nest outer = nest;  // counts vectors
    outer.extents[last] = E / V;
    for (Strides& s : outer.strides) s[last] *= V;
    const std::int64_t threads = outer.count();
    const unsigned block = threads < 132 * 256 ? 128 : 256;
    std::string offsets, loads, aligned = "true";
    std::vector<std::string> names;
    std::int64_t dst_chunk = bytes_of(e.dst);
    for (std::size_t o = 0; o <= sources(); ++o) {
      names.push_back("o" + std::to_string(o));
      offsets += fmt::format("  idx o{} = 0;\n", o);
      const std::string type = type_name(operand(o).dtype);
      const std::int64_t inner = nest.strides[o][last], size = bytes_of(operand(o));
      Strides steps = outer.strides[o];
      if (inner == 1) {
        const std::int64_t chunk = V > 1 ? access_bytes(V, size, steps) : size;
        if (chunk > size) aligned += fmt::format(" && is_aligned(p{}, {})", o, chunk);
        if (o == 0)
          dst_chunk = chunk;
        else
          loads += fmt::format("  alignas(16) {0} r{1}[V]; load<V, {2}>(r{1}, p{1} + o{1}, aligned);\n", type,
                               o, chunk);
      } else if (o > 0) {
        loads += fmt::format(
            "  {0} r{1}[V];\n#pragma unroll\n  for (int v = 0; v < V; ++v) r{1}[v] = p{1}[o{1} + v * "
            "(idx){2}];\n",
            type, o, inner);
      }
    }
    const std::string text = fill(R"cuda($HEAD$$INDEX$$SIGNATURE$$SHIFTS$  constexpr int V = $V$;
  const uidx i = (uidx)blockIdx.x * $BLOCK$u + threadIdx.x;
  if (i >= (uidx)$THREADS$ULL) return;
  const bool aligned = $ALIGNED$;
$OFFSETS$  $DECOMPOSE$$LOADS$  alignas(16) $DST$ out[V];
#pragma unroll
  for (int v = 0; v < V; ++v) out[v] = Store<$DST$>::of($CALL$);
  store<V, $CHUNK$>(p0 + o0, out, aligned);
}
)cuda",
                                  {{"HEAD", head()},
                                   {"INDEX", index_types(is_wide(nest))},
                                   {"SIGNATURE", signature(block, false)},
                                   {"SHIFTS", shifts()},
                                   {"V", std::to_string(V)},
                                   {"BLOCK", std::to_string(block)},
                                   {"THREADS", std::to_string(threads)},
                                   {"ALIGNED", aligned},
                                   {"OFFSETS", offsets},
                                   {"DECOMPOSE", decompose(outer, "i", names)},
                                   {"LOADS", loads},
                                   {"DST", type_name(e.dst.dtype)},
                                   {"CHUNK", std::to_string(dst_chunk)},
                                   {"CALL", call("[v]")}});
    return kernel(text, linear_geometry(threads, block));
  }

  /// The axis along which transposed sources are contiguous, or axes() when tiles do not help.
  std::size_t tile_axis() const {
    const std::size_t last = nest.axes() - 1, none = nest.axes();
    if (nest.strides[0][last] != 1 || nest.extents[last] <= 16 || nest.count() < 1024) return none;
    std::size_t axis = none;
    for (std::size_t o = 1; o <= sources(); ++o) {
      if (nest.strides[o][last] == 1 || nest.strides[o][last] == 0) continue;
      std::size_t own = none;
      for (std::size_t a = 0; a < last; ++a)
        if (nest.strides[o][a] == 1) own = a;
      if (own == none || (axis != none && own != axis)) return none;
      axis = own;
    }
    return axis != none && nest.extents[axis] >= 8 ? axis : none;
  }
  /// Shared memory holds T x T elements of each transposed source; lanes run along its contiguous axis (b)
  /// when they read, along dst's (a) when they write, P elements at a time.
  KernelSource tiles(std::size_t b) const {
    const std::size_t last = nest.axes() - 1;
    std::int64_t wide = bytes_of(e.dst);
    std::vector<bool> turned(sources() + 1, false);
    for (std::size_t o = 1; o <= sources(); ++o) {
      turned[o] = nest.strides[o][last] != 1 && nest.strides[o][last] != 0;
      if (turned[o]) wide = std::max(wide, bytes_of(operand(o)));
    }
    const std::int64_t P = wide <= 2 ? 2 : 1, T = 32 * P;
    const std::int64_t A = nest.extents[last], B = nest.extents[b], na = divide_up(A, T),
                       nb = divide_up(B, T);
    const Nest rest = nest.without(last).without(b);
    std::string offsets, names_a, reads, aligned = "true", values, shared, stores;
    std::vector<std::string> names;
    for (std::size_t o = 0; o <= sources(); ++o) {
      names.push_back("o" + std::to_string(o));
      offsets += fmt::format("  idx o{} = 0;\n", o);
    }
    // P elements may be read or written at once when rows begin at multiples of P and are whole.
    const auto packed = [&](std::size_t o, std::int64_t extent, std::size_t along) {
      Strides steps = nest.strides[o];
      steps[along] = P;
      const auto size = bytes_of(operand(o));
      return P > 1 && extent % P == 0 && access_bytes(P, size, steps) == P * size &&
             operand(o).offset % P == 0;
    };
    for (std::size_t o = 1; o <= sources(); ++o) {
      const std::string type = type_name(operand(o).dtype);
      const std::int64_t size = bytes_of(operand(o)), sa = nest.strides[o][last], sb = nest.strides[o][b];
      if (!turned[o]) {
        values += fmt::format(
            "        const {0} r{1} = p{1}[o{1} + (idx)(a + k) * (idx){2} + (idx)b * (idx){3}];\n", type, o,
            sa, sb);
        continue;
      }
      const bool pack = packed(o, B, b);
      if (pack) aligned += fmt::format(" && is_aligned(p{}, {})", o, P * size);
      shared += fmt::format("  __shared__ alignas(16) {} tile{}[{}][{}];\n", type, o, T, T + (P > 1 ? P : 1));
      // All loads first, so that they are under way together.
      reads += fmt::format(R"cuda(  {{
    alignas(16) {0} r[T / 8][P];
#pragma unroll
    for (int m = 0; m < T / 8; ++m) {{
      const int a = a0 + m * 8 + (int)threadIdx.y, b = b0 + (int)threadIdx.x * P;
      if (a < A && b < B) {{
        const {0}* from = p{1} + (o{1} + (idx)a * (idx){2} + (idx)b);
        if ({3} && aligned) {{
          load<P, {4}>(r[m], from, true);
        }} else {{
#pragma unroll
          for (int k = 0; k < P; ++k) if (b + k < B) r[m][k] = from[k];
        }}
      }}
    }}
#pragma unroll
    for (int m = 0; m < T / 8; ++m) {{
#pragma unroll
      for (int k = 0; k < P; ++k) tile{1}[m * 8 + threadIdx.y][threadIdx.x * P + k] = r[m][k];
    }}
  }}
)cuda",
                           type, o, sa, pack ? "true" : "false", pack ? P * size : size);
      values += fmt::format("        const {0} r{1} = tile{1}[(int)threadIdx.x * P + k][j];\n", type, o);
    }
    const bool pack_dst = packed(0, A, last);
    const std::int64_t dst_size = bytes_of(e.dst);
    if (pack_dst) aligned += fmt::format(" && is_aligned(p0, {})", P * dst_size);
    const std::string text =
        fill(R"cuda($HEAD$$INDEX$$SIGNATURE$$SHIFTS$  constexpr int P = $P$, T = $T$, A = $A$, B = $B$;
$SHARED$  const bool aligned = $ALIGNED$;
  uidx block = blockIdx.x;
  const int a0 = (int)(block % $NA$u) * T; block /= $NA$u;
  const int b0 = (int)(block % $NB$u) * T; block /= $NB$u;
$OFFSETS$  $DECOMPOSE$$READS$  __syncthreads();
  for (int j = threadIdx.y; j < T; j += 8) {
    const int a = a0 + (int)threadIdx.x * P, b = b0 + j;
    if (a < A && b < B) {
      alignas(16) $DST$ out[P];
#pragma unroll
      for (int k = 0; k < P; ++k) {
        if (a + k < A) {
$VALUES$        out[k] = Store<$DST$>::of($CALL$);
        }
      }
      $DST$* to = p0 + (o0 + (idx)b * (idx)$DB$ + (idx)a);
      if ($PACK$ && aligned) {
        store<P, $CHUNK$>(to, out, true);
      } else {
#pragma unroll
        for (int k = 0; k < P; ++k) if (a + k < A) to[k] = out[k];
      }
    }
  }
}
)cuda",
             {{"HEAD", head()},
              {"INDEX", index_types(is_wide(nest))},
              {"SIGNATURE", signature(256, false)},
              {"SHIFTS", shifts()},
              {"P", std::to_string(P)},
              {"T", std::to_string(T)},
              {"A", std::to_string(A)},
              {"B", std::to_string(B)},
              {"SHARED", shared},
              {"ALIGNED", aligned},
              {"NA", std::to_string(na)},
              {"NB", std::to_string(nb)},
              {"OFFSETS", offsets},
              {"DECOMPOSE", rest.axes() ? decompose(rest, "block", names) : "\n"},
              {"READS", reads},
              {"DST", type_name(e.dst.dtype)},
              {"VALUES", values},
              {"CALL", call("")},
              {"DB", std::to_string(nest.strides[0][b])},
              {"PACK", pack_dst ? "true" : "false"},
              {"CHUNK", std::to_string(pack_dst ? P * dst_size : dst_size)}});
    Geometry g = linear_geometry(na * nb * rest.count(), 1);
    g.block[0] = 32;
    g.block[1] = 8;
    return kernel(text, g);
  }
};

}  // namespace

std::vector<KernelSource> generate_elementwise(const Elementwise& e) {
  for (const std::int64_t extent : e.shape)
    if (extent == 0) return {};
  std::vector<Strides> strides{e.dst.strides};
  for (const Operand& o : e.srcs) strides.push_back(o.strides);
  const Generator g{e, make_nest(e.shape, strides)};
  if (g.is_flat()) return {g.flat()};
  const std::size_t axis = g.tile_axis();
  return {axis < g.nest.axes() ? g.tiles(axis) : g.rows()};
}

}  // namespace headrace::cuda
