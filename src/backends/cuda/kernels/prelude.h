// What every generated kernel begins with: element types, conversions, vector loads and stores, reductions in
// a block.
//
// Values live in registers as float (f32, f16), double (f64) or i64 (integers; bool as 0 and 1; u64 as its
// bits): `reg(x)` brings an element there, `Store<T>::of(r)` back. No header is included, so NVRTC needs no
// toolkit.
#pragma once

#include <string_view>

namespace headrace::cuda {

extern const std::string_view kPrelude;
/// Integer operations and exact conversions between integers and reals; only expressions that need them pay.
extern const std::string_view kIntegerPrelude;
/// `group_merge<G>(a)`: merges the accumulators of G neighbouring threads (a power of two up to 256, the
/// block's size) and gives every one the result, by the kernel's own `merge(A&, const A&)` and `lane(A,
/// mask)`. Every thread of the block calls it.
extern const std::string_view kGroupPrelude;

}  // namespace headrace::cuda
