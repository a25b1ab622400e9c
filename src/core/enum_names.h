// Spellings of the operators' enumerations in text forms.
#pragma once

#include <span>
#include <string_view>

#include "core/op.h"

namespace headrace {

template <class E>
std::span<const std::string_view> enum_names();  ///< in the order of the values

template <>
std::span<const std::string_view> enum_names<PoolKind>();
template <>
std::span<const std::string_view> enum_names<ReduceKind>();
template <>
std::span<const std::string_view> enum_names<ResizeMode>();
template <>
std::span<const std::string_view> enum_names<ResizeCoord>();
template <>
std::span<const std::string_view> enum_names<ResizeNearest>();
template <>
std::span<const std::string_view> enum_names<PadMode>();
template <>
std::span<const std::string_view> enum_names<ScatterReduce>();
template <>
std::span<const std::string_view> enum_names<DType>();

}  // namespace headrace
