// What `headrace env` says of the GPUs and the libraries found.
#include "backends/cuda/listing.h"

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/device.h"
#include "backends/cuda/driver.h"
#include "backends/cuda/nvrtc.h"
#if __has_include(<cublasLt.h>)
#include "backends/cuda/cublaslt.h"
#endif
#ifdef HEADRACE_CUDNN
#include "backends/cuda/cudnn.h"
#endif

namespace headrace::cuda {

std::vector<DeviceListing> list_devices(std::size_t at_most) {
  const auto none = [](std::string why_not) {
    return std::vector<DeviceListing>{
        {.name = "cuda", .model = "", .why_not = std::move(why_not), .notes = {}, .lacks = ""}};
  };
  std::string why;
  const Driver* d = try_driver(&why);
  if (!d) return none(why);
  int count = 0;
  if (d->cuDeviceGetCount(&count) != CUDA_SUCCESS || count == 0) return none("the CUDA driver finds no GPU");
  std::vector<std::string> notes;
  std::string lacks;
  const auto note = [&](std::string_view library, bool found, const std::string& path,
                        std::string_view cost) {
    notes.push_back(found ? fmt::format("{} {}", library, path)
                          : fmt::format("{} is missing: {} ({})", library, cost, why));
    if (!found) lacks += (lacks.empty() ? "" : ", ") + std::string(library);
  };
  const bool nvrtc = nvrtc_found(&why);
  note("NVRTC", nvrtc, nvrtc ? nvrtc_version() : "", "no own kernels, so almost no model builds");
#ifdef HEADRACE_CUDNN
  const Cudnn* dnn = try_cudnn(&why);
  note("cuDNN", dnn != nullptr, dnn ? dnn->path : "", "no convolutions but depthwise ones");
#endif
#if __has_include(<cublasLt.h>)
  const CublasLt* blas = try_cublaslt(&why);
  note("cuBLASLt", blas != nullptr, blas ? blas->path : "", "no fully connected layers");
#endif
  std::vector<DeviceListing> result;
  for (int i = 0; i < count && result.size() < at_most; ++i) {
    DeviceListing listing{.name = fmt::format("cuda:{}", i),
                          .model = "",
                          .why_not = "",
                          .notes = i == 0 ? notes : std::vector<std::string>(),
                          .lacks = lacks};
    try {
      listing.model = make_device(listing.name)->model();
    } catch (const Error& e) {
      listing.why_not = e.message();
    }
    result.push_back(std::move(listing));
  }
  return result;
}

}  // namespace headrace::cuda
