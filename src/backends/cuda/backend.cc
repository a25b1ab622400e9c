#include "backends/backend.h"

#include "backends/cuda/device.h"
#include "backends/cuda/listing.h"
#include "backends/cuda/tactics.h"

namespace headrace {

Backend make_cuda_backend() {
  Backend backend;
  backend.name = "cuda";
  backend.make_device = [](std::string_view text) { return cuda::make_device(text); };
  backend.list_devices = cuda::list_devices;
#define X(factory) backend.tactics.push_back(cuda::make_##factory());
#include "backends/cuda/tactics.inc"
#undef X
  return backend;
}

}  // namespace headrace
