// The CUDA driver API as a table of functions, and checked calls.
//
// headrace uses the driver API only (no CUDA runtime library): libcuda.so.1 comes with the driver and is
// opened at run time. `driver()` gives the table; a call reads as in C: check(driver().cuStreamCreate(&s,
// flags)). cuda.h renames some functions by macro (cuMemAlloc is cuMemAlloc_v2); the table follows by itself.
// Threads: the table is immutable. Calls act on the current context: see ContextScope.
#pragma once

#include <source_location>
#include <string>

#include <cuda.h>

namespace headrace::cuda {

// One line for each function that headrace uses.
// clang-format off
#define HEADRACE_CUDA_FUNCTIONS(F) \
  F(cuInit) F(cuCtxGetDevice) F(cuDriverGetVersion) F(cuGetErrorName) F(cuGetErrorString) F(cuDeviceGet) \
  F(cuDeviceGetCount) F(cuDeviceGetName) F(cuDeviceGetAttribute) F(cuDeviceTotalMem) \
  F(cuDeviceGetPCIBusId) \
  F(cuDevicePrimaryCtxRetain) F(cuDevicePrimaryCtxRelease) F(cuCtxSetCurrent) F(cuCtxGetCurrent) \
  F(cuCtxPushCurrent) F(cuCtxPopCurrent) F(cuCtxSynchronize) F(cuMemAlloc) F(cuMemFree) F(cuMemGetInfo) \
  F(cuMemHostAlloc) F(cuMemFreeHost) F(cuPointerGetAttribute) F(cuMemHostRegister) F(cuMemHostUnregister) \
  F(cuMemHostGetDevicePointer) F(cuMemcpyAsync) F(cuMemcpyHtoDAsync) F(cuMemcpyDtoHAsync) \
  F(cuMemcpyDtoDAsync) F(cuMemcpyHtoD) F(cuMemcpyDtoH) F(cuMemsetD8Async) F(cuMemsetD32Async) \
  F(cuStreamCreate) F(cuStreamDestroy) F(cuStreamSynchronize) F(cuStreamWaitEvent) F(cuStreamQuery) \
  F(cuStreamBeginCapture) F(cuStreamEndCapture) F(cuStreamIsCapturing) \
  F(cuThreadExchangeStreamCaptureMode) F(cuLaunchHostFunc) F(cuEventCreate) F(cuEventDestroy) \
  F(cuEventRecord) F(cuEventSynchronize) F(cuEventQuery) F(cuEventElapsedTime) \
  F(cuGraphInstantiateWithFlags) F(cuGraphLaunch) F(cuGraphExecDestroy) F(cuGraphDestroy) \
  F(cuGraphGetNodes) F(cuGraphUpload) F(cuGraphClone) F(cuGraphCreate) F(cuGraphAddChildGraphNode) \
  F(cuModuleLoadData) F(cuModuleUnload) F(cuModuleGetFunction) F(cuFuncSetAttribute) \
  F(cuFuncGetAttribute) F(cuOccupancyMaxActiveBlocksPerMultiprocessor) F(cuLaunchKernel) \
  F(cuLaunchKernelEx) F(cuTensorMapEncodeTiled) F(cuTensorMapEncodeIm2col)
// clang-format on

struct Driver {
#define HEADRACE_CUDA_MEMBER(name) decltype(&::name) name = nullptr;
  HEADRACE_CUDA_FUNCTIONS(HEADRACE_CUDA_MEMBER)
#undef HEADRACE_CUDA_MEMBER
};

/// The table, after cuInit; null where there is no usable driver, and `why` (if given) says so for people.
const Driver* try_driver(std::string* why = nullptr);
/// The table; Error(unsupported) where there is no usable driver.
const Driver& driver();

/// Throws Error for a failed call: out_of_memory for CUDA_ERROR_OUT_OF_MEMORY, else device, with the name of
/// the CUDA error, its text and the place in our source.
void check(CUresult result, std::source_location where = std::source_location::current());
/// For destructors: logs instead.
void check_quietly(CUresult result, std::source_location where = std::source_location::current()) noexcept;

/// Makes `context` current on this thread for a scope.
class ContextScope {
 public:
  explicit ContextScope(CUcontext context);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;
};

}  // namespace headrace::cuda
