#include <cstdlib>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include <headrace/tensor.h>

#include "base/checked.h"

namespace headrace {

namespace detail {
void throw_wrong_dtype(DType have, DType asked) {
  throw Error(ErrorCode::invalid_argument,
              fmt::format("this tensor holds {}, not {}; ask for its own element type", to_string(have),
                          to_string(asked)));
}
}  // namespace detail

std::size_t tensor_bytes(DType dtype, const Shape& shape) {
  const auto count = static_cast<std::size_t>(element_count(shape));
  const std::size_t size = size_bytes(dtype);
  if (count > SIZE_MAX / size)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("a {} tensor of shape {} has more bytes than can be counted", to_string(dtype),
                            to_string(shape)));
  return count * size;
}

void ConstTensorView::check_length(std::size_t elements) const {
  if (static_cast<std::size_t>(element_count(shape_)) != elements)
    throw Error(ErrorCode::invalid_argument, fmt::format("shape {} has {} elements, but the array has {}",
                                                         to_string(shape_), element_count(shape_), elements));
}

void Tensor::Free::operator()(std::byte* p) const { std::free(p); }

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  const std::size_t bytes = tensor_bytes(dtype_, shape_);
  const std::size_t rounded = (bytes / 64 + 1) * 64;
  data_.reset(static_cast<std::byte*>(std::aligned_alloc(64, rounded)));
  if (!data_)
    throw Error(ErrorCode::out_of_memory, fmt::format("could not allocate {} bytes for a tensor of shape {}",
                                                      bytes, to_string(shape_)));
  std::memset(data_.get(), 0, rounded);
}

}  // namespace headrace
