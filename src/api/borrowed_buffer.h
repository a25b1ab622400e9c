// A Buffer over memory that the caller owns for the duration of one blocking call; re-pointed without
// allocating.
#pragma once

#include "device/device.h"

namespace headrace::api {

class BorrowedBuffer final : public Buffer {
 public:
  void point_to(std::byte* data, std::size_t size) {
    data_ = data;
    size_ = size;
  }
  std::size_t size_bytes() const override { return size_; }
  MemoryKind kind() const override { return MemoryKind::host; }
  std::byte* device_data() const override { return data_; }
  std::byte* host_data() const override { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace headrace::api
