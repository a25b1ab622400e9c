#include "backends/cuda/nvrtc.h"

#include <cstring>

#include <fmt/format.h>
#include <nvrtc.h>

#include <headrace/error.h>

#include "backends/cuda/library.h"
#include "base/handle.h"

namespace headrace::cuda {
namespace {

// clang-format off
#define HEADRACE_NVRTC_FUNCTIONS(F)                                                             \
  F(nvrtcVersion) F(nvrtcGetErrorString) F(nvrtcCreateProgram) F(nvrtcDestroyProgram)           \
  F(nvrtcCompileProgram) F(nvrtcGetProgramLogSize) F(nvrtcGetProgramLog) F(nvrtcGetCUBINSize)   \
  F(nvrtcGetCUBIN)
// clang-format on

struct Nvrtc {
#define HEADRACE_NVRTC_MEMBER(name) decltype(&::name) name = nullptr;
  HEADRACE_NVRTC_FUNCTIONS(HEADRACE_NVRTC_MEMBER)
#undef HEADRACE_NVRTC_MEMBER
  std::string why;  ///< empty: usable
};

Nvrtc load() {
  Nvrtc table;
  static const Library library({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"});
  if (!library.found()) {
    table.why = "no NVRTC, which compiles headrace's own kernels: " + library.error() +
                "; install it with the CUDA toolkit or as the package nvidia-cuda-nvrtc";
    return table;
  }
  std::string missing;
#define HEADRACE_NVRTC_LOAD(name) library.bind(table.name, #name, missing);
  HEADRACE_NVRTC_FUNCTIONS(HEADRACE_NVRTC_LOAD)
#undef HEADRACE_NVRTC_LOAD
  if (!missing.empty()) table.why = library.path() + " is too old: it lacks " + missing;
  return table;
}

const Nvrtc& try_nvrtc() {
  static const Nvrtc table = load();
  return table;
}
const Nvrtc& nvrtc() {
  const Nvrtc& table = try_nvrtc();
  if (!table.why.empty()) throw Error(ErrorCode::device, table.why);
  return table;
}

void check_nvrtc(nvrtcResult result, const char* call) {
  if (result != NVRTC_SUCCESS)
    throw Error(ErrorCode::internal, fmt::format("{}: {}", call, nvrtc().nvrtcGetErrorString(result)));
}

void destroy_program(nvrtcProgram program) { nvrtc().nvrtcDestroyProgram(&program); }
using ProgramHandle = Handle<nvrtcProgram, destroy_program>;

}  // namespace

bool nvrtc_found(std::string* why) {
  const Nvrtc& table = try_nvrtc();
  if (why) *why = table.why;
  return table.why.empty();
}

std::string nvrtc_version() {
  int major = 0, minor = 0;
  check_nvrtc(nvrtc().nvrtcVersion(&major, &minor), "nvrtcVersion");
  return fmt::format("{}.{}", major, minor);
}

Cubin compile_uncached(const std::string& source, const std::string& name, const std::string& arch) {
  const Nvrtc& n = nvrtc();
  ProgramHandle program;
  check_nvrtc(n.nvrtcCreateProgram(program.out(), source.c_str(), name.c_str(), 0, nullptr, nullptr),
              "nvrtcCreateProgram");
  const std::string architecture = "--gpu-architecture=" + arch;
  const char* options[] = {architecture.c_str(), "--std=c++17", "-default-device"};
  const nvrtcResult result = n.nvrtcCompileProgram(program.get(), 3, options);
  if (result != NVRTC_SUCCESS) {
    std::size_t size = 0;
    std::string text;
    if (n.nvrtcGetProgramLogSize(program.get(), &size) == NVRTC_SUCCESS && size > 1) {
      text.resize(size);
      n.nvrtcGetProgramLog(program.get(), text.data());
      text.resize(std::strlen(text.c_str()));
    }
    throw Error(ErrorCode::internal,
                fmt::format("NVRTC {} refuses the kernel '{}' for {}: {}\n{}", nvrtc_version(), name, arch,
                            n.nvrtcGetErrorString(result), text));
  }
  std::size_t size = 0;
  check_nvrtc(n.nvrtcGetCUBINSize(program.get(), &size), "nvrtcGetCUBINSize");
  Cubin cubin(size);
  check_nvrtc(n.nvrtcGetCUBIN(program.get(), reinterpret_cast<char*>(cubin.data())), "nvrtcGetCUBIN");
  return cubin;
}

Cubin KernelCache::compile(const std::string& source, const std::string& name,
                           const std::string& arch) const {
  const std::string key = fmt::format("{}\n{}\n{}", nvrtc_version(), arch, source);
  if (auto found = disk_.find(key, "cubin")) return std::move(*found);
  Cubin cubin = compile_uncached(source, name, arch);
  disk_.keep(key, "cubin", cubin);
  return cubin;
}

}  // namespace headrace::cuda
