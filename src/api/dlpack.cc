// DLPack tensors to and from DeviceTensor.
#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <headrace/dlpack.h>
#include <headrace/runtime.h>

#include "api/device_state.h"
#include "api/dlpack_abi.h"
#include "runtime/engine_state.h"

namespace headrace {
namespace {

struct TypeRow {
  DType dtype;
  std::uint8_t code;
};
constexpr TypeRow kTypes[] = {{DType::f16, kDLFloat},   {DType::f32, kDLFloat}, {DType::f64, kDLFloat},
                              {DType::bf16, kDLBfloat}, {DType::i8, kDLInt},    {DType::i16, kDLInt},
                              {DType::i32, kDLInt},     {DType::i64, kDLInt},   {DType::u8, kDLUInt},
                              {DType::u16, kDLUInt},    {DType::u32, kDLUInt},  {DType::u64, kDLUInt},
                              {DType::boolean, kDLBool}};

[[noreturn]] void refuse_tensor(const std::string& why) {
  throw Error(ErrorCode::invalid_argument, "a DLPack tensor cannot be used: " + why);
}

DType to_dtype(const DLDataType& type) {
  if (type.lanes == 1)
    for (const TypeRow& row : kTypes)
      if (row.code == type.code && size_bytes(row.dtype) * 8 == type.bits) return row.dtype;
  refuse_tensor(fmt::format("headrace has no element type of DLPack's code {}, {} bits, {} lanes", type.code,
                            type.bits, type.lanes));
}

DLDataType to_dl(DType dtype) {
  for (const TypeRow& row : kTypes)
    if (row.dtype == dtype) return {row.code, static_cast<std::uint8_t>(size_bytes(dtype) * 8), 1};
  throw Error(ErrorCode::internal, "an element type is missing in kTypes");
}

DLDevice to_dl(const Device& device) {
  if (device.unified_memory()) return {kDLCPU, 0};
  return {device.kind() == "cuda" ? kDLCUDA : kDLExtDev, device.ordinal()};
}

void check_device(const DLDevice& have, const DLDevice& want, const std::string& name) {
  const bool same = have.device_type == want.device_type ||
                    (want.device_type == kDLCUDA && have.device_type == kDLCUDAManaged);
  if (!same || have.device_id != want.device_id)
    refuse_tensor(
        fmt::format("it lies on DLPack's device type {}, number {}, but '{}' is type {}, number {}; copy "
                    "it there first",
                    static_cast<int>(have.device_type), have.device_id, name,
                    static_cast<int>(want.device_type), want.device_id));
}

Shape dense_shape(const DLTensor& tensor) {
  if (tensor.ndim < 0 || tensor.ndim > 64) refuse_tensor(fmt::format("it has {} axes", tensor.ndim));
  if (tensor.ndim > 0 && !tensor.shape) refuse_tensor("it has no shape (null pointer)");
  const Shape shape(tensor.shape, tensor.shape + tensor.ndim);
  for (const std::int64_t extent : shape)
    if (extent < 0) refuse_tensor(fmt::format("its shape is {}", to_string(shape)));
  if (!tensor.strides || std::find(shape.begin(), shape.end(), 0) != shape.end()) return shape;
  std::int64_t dense = 1;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    if (shape[axis] != 1 && tensor.strides[axis] != dense)
      refuse_tensor(fmt::format("axis {} of {} has the stride {}, dense would be {}; make a contiguous copy",
                                axis, to_string(shape), tensor.strides[axis], dense));
    if (__builtin_mul_overflow(dense, shape[axis], &dense)) refuse_tensor("its size overflows");
  }
  return shape;
}

struct Imported {
  std::shared_ptr<detail::Memory> memory;
  detail::Range range;
  DType dtype;
  Shape shape;
};

/// The tensor is handed over last, when nothing more can go wrong.
template <class Managed>
Imported import(const Engine& engine, Managed* managed) {
  const DLTensor& tensor = managed->dl_tensor;
  const DeviceRef device = api::device_of(engine);
  check_device(tensor.device, to_dl(*device), engine.device());
  const DType dtype = to_dtype(tensor.dtype);
  Shape shape = dense_shape(tensor);
  const std::size_t bytes = tensor_bytes(dtype, shape);
  if (!tensor.data && bytes > 0) refuse_tensor("it has no data (null pointer)");
  auto* data = static_cast<std::byte*>(tensor.data) + (bytes > 0 ? tensor.byte_offset : 0);
  struct Owner {
    Managed* managed = nullptr;
    ~Owner() {
      if (managed && managed->deleter) managed->deleter(managed);
    }
  };
  const auto owner = std::make_shared<Owner>();
  BufferRef buffer = device->wrap(data, bytes, owner, MemoryKind::device);
  auto memory = std::make_shared<detail::Memory>(detail::Memory{std::move(buffer), device});
  detail::Range range{memory, 0, bytes};
  owner->managed = managed;
  return {std::move(memory), std::move(range), dtype, std::move(shape)};
}

/// What an exported tensor owns.
template <class Managed>
struct Exported {
  Managed managed{};
  Shape shape, strides;
  std::shared_ptr<detail::Memory> memory;
};

template <class Managed>
Managed* make_export(const detail::Range& range, DType dtype, const Shape& shape) {
  std::shared_ptr<detail::Memory> memory = range.memory.lock();
  if (!memory) throw Error(ErrorCode::misuse, "to_dlpack: this DeviceTensor is empty");
  const Device& device = *memory->device;
  auto exported = std::make_unique<Exported<Managed>>();
  exported->shape = shape;
  exported->strides.assign(shape.size(), 1);
  for (std::size_t axis = shape.size(); axis-- > 1;)
    exported->strides[axis - 1] = exported->strides[axis] * shape[axis];
  std::byte* data = memory->buffer->device_data();
  Managed& managed = exported->managed;
  managed.dl_tensor = {.data = range.size > 0 ? data + range.offset : nullptr,
                       .device = to_dl(device),
                       .ndim = static_cast<std::int32_t>(shape.size()),
                       .dtype = to_dl(dtype),
                       .shape = exported->shape.data(),
                       .strides = exported->strides.data(),
                       .byte_offset = 0};
  managed.manager_ctx = exported.get();
  managed.deleter = [](Managed* self) { delete static_cast<Exported<Managed>*>(self->manager_ctx); };
  exported->memory = std::move(memory);
  return &exported.release()->managed;
}

}  // namespace

DeviceTensor::DeviceTensor(const Engine& engine, DType dtype, Shape shape)
    : memory_(detail::allocate(engine, tensor_bytes(dtype, shape), 1, detail::Place::device)),
      range_{memory_, 0, tensor_bytes(dtype, shape)},
      dtype_(dtype),
      shape_(std::move(shape)) {}

DeviceTensor DeviceTensor::from_dlpack(const Engine& engine, DLManagedTensor* tensor) {
  if (!tensor) refuse_tensor("it is a null pointer");
  Imported imported = import(engine, tensor);
  return {std::move(imported.memory), std::move(imported.range), imported.dtype, std::move(imported.shape)};
}

DeviceTensor DeviceTensor::from_dlpack(const Engine& engine, DLManagedTensorVersioned* tensor) {
  if (!tensor) refuse_tensor("it is a null pointer");
  if (tensor->version.major != 1)
    refuse_tensor(fmt::format("it is of version {}.{} of the ABI, headrace knows version 1",
                              tensor->version.major, tensor->version.minor));
  Imported imported = import(engine, tensor);
  DeviceTensor result{std::move(imported.memory), std::move(imported.range), imported.dtype,
                      std::move(imported.shape)};
  result.read_only_ = (tensor->flags & kDLFlagReadOnly) != 0;
  return result;
}

void DeviceTensor::check_access(DType dtype, bool writes) const {
  if (dtype != dtype_) detail::throw_wrong_dtype(dtype_, dtype);
  if (writes && read_only_)
    throw Error(ErrorCode::misuse, "this DeviceTensor is read-only; ask for const elements");
}

DLManagedTensor* DeviceTensor::to_dlpack() const {
  if (read_only_)
    throw Error(ErrorCode::misuse,
                "to_dlpack: this DeviceTensor is read-only, which only to_dlpack_versioned can say");
  return make_export<DLManagedTensor>(range_, dtype_, shape_);
}

DLManagedTensorVersioned* DeviceTensor::to_dlpack_versioned() const {
  DLManagedTensorVersioned* managed = make_export<DLManagedTensorVersioned>(range_, dtype_, shape_);
  managed->version = {1, 0};
  managed->flags = read_only_ ? kDLFlagReadOnly : 0;
  return managed;
}

}  // namespace headrace
