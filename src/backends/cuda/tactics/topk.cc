// cuda.topk: TopK along any axis, any dtype and strides; equal values in the order of their places, NaN is
// the greatest.
//
// A block per row. Elements become keys: unsigned integers, larger ones first. A row that fits is sorted
// whole; of a longer one a radix selection finds the k-th key digit by digit, and the k elements are sorted:
// in shared memory, or in the workspace where k is large.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/kernels/prelude.h"

namespace headrace::cuda {
namespace {

constexpr std::int64_t kInShared = 2048;  ///< entries that are sorted in shared memory

/// Statements that return the key of element `e`, and how many bytes of it count.
struct Key {
  std::string text;
  int digits = 4;
};
Key key_of(DType dtype, bool largest) {
  Key key;
  if (dtype == DType::f64) {
    key.digits = 8;
    key.text =
        "const double r = reg(e); u64 k = r == 0 ? 0 : (u64)__double_as_longlong(r);\n"
        "  k = k >> 63 ? ~k : k | 0x8000000000000000ULL; if (r != r) k = ~0ULL;\n";
  } else if (is_float(dtype)) {
    key.text =
        "const float r = reg(e); u32 b = r == 0 ? 0 : __float_as_uint(r);\n"
        "  b = b >> 31 ? ~b : b | 0x80000000u; if (r != r) b = ~0u; u64 k = b;\n";
  } else {
    key.digits = static_cast<int>(size_bytes(dtype));
    const bool is_signed = !is_unsigned_int(dtype) && dtype != DType::boolean;
    key.text = fmt::format("u64 k = (u64)reg(e) + 0x{:x}ULL;\n",
                           is_signed ? std::uint64_t{1} << (8 * key.digits - 1) : std::uint64_t{0});
  }
  const std::uint64_t all = key.digits == 8 ? ~std::uint64_t{0} : (std::uint64_t{1} << (8 * key.digits)) - 1;
  key.text += fmt::format("  return {}k & 0x{:x}ULL;", largest ? "" : "~", all);
  return key;
}

// Leaves the K first elements of the row in keys, places; the rest of the N slots is filled up.
constexpr std::string_view kSelect = R"cuda(
  __shared__ u32 bins[256], counts[B / 32], chosen, above, filled;
  u64 prefix = 0, mask = 0;
  u32 left = K;  // elements to take among those whose key begins with the prefix
  for (int shift = 8 * ($DIGITS$ - 1); shift >= 0; shift -= 8) {
    for (u32 i = threadIdx.x; i < 256; i += B) bins[i] = 0;
    __syncthreads();
    for (u32 i = threadIdx.x; i < LENGTH; i += B) {
      const u64 key = key_of(src[from + (idx)i * (idx)$STEP$]);
      if ((key & mask) == prefix) atomicAdd(&bins[(u32)(key >> shift) & 255u], 1u);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      above = 0;
      for (chosen = 255; above + bins[chosen] < left; --chosen) above += bins[chosen];
    }
    __syncthreads();
    left -= above;
    prefix |= (u64)chosen << shift;
    mask |= 255ULL << shift;
    __syncthreads();
  }
  for (u32 i = K + threadIdx.x; i < N; i += B) { keys[i] = 0; places[i] = 0xffffffffu; }
  if (threadIdx.x == 0) filled = 0;
  __syncthreads();
  u32 equals = 0;  // before this tile
  for (u32 first = 0; first < LENGTH; first += B) {
    const u32 i = first + threadIdx.x;
    const u64 key = i < LENGTH ? key_of(src[from + (idx)i * (idx)$STEP$]) : 0;
    if (i < LENGTH && key > prefix) {
      const u32 slot = atomicAdd(&filled, 1u);
      keys[slot] = key;
      places[slot] = i;
    }
    if (equals < left) {  // of those equal to the k-th the first ones
      const bool equal = i < LENGTH && key == prefix;
      const u32 ballot = __ballot_sync(0xffffffffu, equal);
      if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = __popc(ballot);
      __syncthreads();
      u32 rank = equals + __popc(ballot & ((1u << threadIdx.x % 32) - 1));
      for (u32 w = 0; w < B / 32; ++w) {
        if (w < threadIdx.x / 32) rank += counts[w];
        equals += counts[w];
      }
      if (equal && rank < left) {
        keys[K - left + rank] = key;
        places[K - left + rank] = i;
      }
      __syncthreads();
    }
  }
)cuda";

constexpr std::string_view kTakeAll = R"cuda(
  for (u32 i = threadIdx.x; i < N; i += B) {
    keys[i] = i < LENGTH ? key_of(src[from + (idx)i * (idx)$STEP$]) : 0;
    places[i] = i < LENGTH ? i : 0xffffffffu;
  }
)cuda";

class TopKTactic final : public GeneratedTactic {
 public:
  std::string_view id() const override { return "cuda.topk"; }
  std::optional<Refusal> refuses(const Problem& p) const override {
    const TopK* op = op_as<TopK>(p);
    if (!op) return refuse("not a TopK");
    if (p.dsts.size() != 2 || p.dsts[1].dtype != DType::i64) return refuse("not values and i64 indices");
    if (p.srcs[0].shape[static_cast<std::size_t>(op->axis)] >= INT32_MAX)
      return refuse("a row of 2^31 elements");
    return refuse_operands(p);
  }
  Program generate(const Problem& p, const Choice&) const override {
    const TopK& op = *op_as<TopK>(p);
    const TensorDesc &src = p.srcs[0], &values = p.dsts[0], &indices = p.dsts[1];
    const auto axis = static_cast<std::size_t>(op.axis);
    const Nest rows = make_nest_without(op.axis, src.shape, {src.strides, values.strides, indices.strides});
    const std::int64_t length = src.shape[axis], k = std::min(op.k.value, length);
    Program program{"cuda.topk", {}};
    if (rows.count() == 0 || k == 0) return program;
    const auto padded = [](std::int64_t n) {
      return static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(n)));
    };
    const bool select = padded(length) > kInShared;
    const std::int64_t n = padded(select ? k : length),
                       block = select ? 512 : std::clamp<std::int64_t>(n / 2, 32, 256);
    const bool in_workspace = n > kInShared;
    const Key key = key_of(src.dtype, op.largest);
    KernelSource kernel;
    const std::vector<Field> fields{
        {"PRELUDE", std::string(kPrelude)},
        {"INDEX", index_types(is_wide(make_nest(src.shape, {src.strides})) || is_wide(rows))},
        {"T", type_name(src.dtype)},
        {"KEY", key.text},
        {"DIGITS", std::to_string(key.digits)},
        {"BLOCK", std::to_string(block)},
        {"ENTRY", kEntry},
        {"WORK_PARAMETER", in_workspace ? ", u64* work" : ""},
        {"MEMORY", in_workspace
                       ? "u64* const keys = work + (u64)blockIdx.x * (N + N / 2); u32* const places = "
                         "(u32*)(keys + N);"
                       : "__shared__ u64 keys[N]; __shared__ u32 places[N];"},
        {"LENGTH", std::to_string(length)},
        {"K", std::to_string(k)},
        {"N", std::to_string(n)},
        {"ROW", decompose(rows, "(uidx)blockIdx.x", {"from", "to", "to_index"})},
        {"STEP", std::to_string(src.strides[axis])},
        {"VALUE_STEP", std::to_string(values.strides[axis])},
        {"INDEX_STEP", std::to_string(indices.strides[axis])}};
    kernel.source = fill(std::string(R"cuda($PRELUDE$$INDEX$
HR u64 key_of($T$ e) {
  $KEY$
}
extern "C" __global__ void __launch_bounds__($BLOCK$) $ENTRY$(const $T$* src, $T$* values, i64* indices$WORK_PARAMETER$) {
  constexpr u32 B = $BLOCK$, LENGTH = $LENGTH$, K = $K$, N = $N$;
  $MEMORY$
  idx from = 0, to = 0, to_index = 0;
  $ROW$)cuda") + std::string(select ? kSelect : kTakeAll) +
                             R"cuda(
  for (u32 size = 2; size <= N; size *= 2) {
    for (u32 step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (u32 i = threadIdx.x; i < N / 2; i += B) {
        const u32 a = 2 * i - (i & (step - 1)), b = a + step;
        const u64 ka = keys[a], kb = keys[b];
        const u32 pa = places[a], pb = places[b];
        const bool swapped = kb > ka || (kb == ka && pb < pa);
        if (swapped == ((a & size) == 0)) {
          keys[a] = kb; keys[b] = ka;
          places[a] = pb; places[b] = pa;
        }
      }
    }
  }
  __syncthreads();
  for (u32 i = threadIdx.x; i < K; i += B) {
    values[to + (idx)i * (idx)$VALUE_STEP$] = src[from + (idx)places[i] * (idx)$STEP$];
    indices[to_index + (idx)i * (idx)$INDEX_STEP$] = places[i];
  }
}
)cuda",
                         fields);
    kernel.geometry = linear_geometry(rows.count(), 1);
    kernel.geometry.block[0] = static_cast<unsigned>(block);
    kernel.operands = {0, 1, 2};
    if (in_workspace) {
      kernel.operands.push_back(kWorkspace);
      program.workspace_bytes = static_cast<std::size_t>(rows.count()) * static_cast<std::size_t>(n) * 12;
    }
    program.launches.push_back(std::move(kernel));
    return program;
  }
};

}  // namespace

std::unique_ptr<Tactic> make_topk() { return std::make_unique<TopKTactic>(); }

}  // namespace headrace::cuda
