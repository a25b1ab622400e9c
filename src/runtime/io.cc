#include "runtime/io.h"

#include <algorithm>
#include <set>
#include <vector>

namespace headrace::runtime {

IoLayout make_layout(std::span<const std::size_t> sizes) {
  constexpr std::size_t kAlignment = 256;
  IoLayout layout;
  for (const std::size_t size : sizes) {
    layout.offsets.push_back((layout.size_bytes + kAlignment - 1) / kAlignment * kAlignment);
    layout.size_bytes = layout.offsets.back() + size;
  }
  return layout;
}

bool reads_input_values(const Plan& plan) {
  for (const Symbol& symbol : plan.shapes.symbols())
    for (const SymbolSource& source : symbol.sources)
      if (source.reads_data()) return true;
  return false;
}

HostValues collect_input_values(const Engine& engine, std::span<const std::byte* const> data,
                                std::span<const Shape> shapes) {
  std::set<std::int32_t> wanted;
  for (const Symbol& symbol : engine.plan().shapes.symbols())
    for (const SymbolSource& source : symbol.sources)
      if (source.reads_data()) wanted.insert(source.input);
  HostValues values;
  for (std::int32_t index : wanted) {
    const auto i = static_cast<std::size_t>(index);
    const IoInfo& info = engine.inputs()[i];
    HostTensor copy(info.dtype, shapes[i]);
    const std::span<std::byte> bytes = copy.mutable_bytes();
    std::copy_n(data[i], bytes.size(), bytes.data());
    values.emplace(info.name, std::move(copy));
  }
  return values;
}

}  // namespace headrace::runtime
