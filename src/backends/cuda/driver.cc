#include "backends/cuda/driver.h"

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/library.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

#define HEADRACE_CUDA_TEXT(name) #name
#define HEADRACE_CUDA_EXPANDED(name) HEADRACE_CUDA_TEXT(name)

struct Loaded {
  Driver table;
  std::string why;  ///< empty: usable
};

Loaded load() {
  Loaded result;
  static const Library library({"libcuda.so.1", "libcuda.so"});
  if (!library.found()) {
    result.why = "no CUDA driver: " + library.error();
    return result;
  }
  std::string missing;
#define HEADRACE_CUDA_LOAD(name) library.bind(result.table.name, HEADRACE_CUDA_EXPANDED(name), missing);
  HEADRACE_CUDA_FUNCTIONS(HEADRACE_CUDA_LOAD)
#undef HEADRACE_CUDA_LOAD
  if (!missing.empty()) {
    result.why =
        fmt::format("the CUDA driver ({}) is too old: it lacks {}; install a driver for CUDA 13 or newer",
                    library.path(), missing);
    return result;
  }
  if (const CUresult status = result.table.cuInit(0); status != CUDA_SUCCESS) {
    const char* name = nullptr;
    result.table.cuGetErrorName(status, &name);
    result.why =
        fmt::format("the CUDA driver ({}) did not start: {}", library.path(), name ? name : "unknown error");
    return result;
  }
  return result;
}

const Loaded& loaded() {
  static const Loaded result = load();
  return result;
}

std::string describe(CUresult result, const std::source_location& where) {
  const char *name = nullptr, *text = nullptr;
  if (const Driver* d = try_driver()) {
    d->cuGetErrorName(result, &name);
    d->cuGetErrorString(result, &text);
  }
  return fmt::format("CUDA: {} ({}) in {}, {}:{}", name ? name : "error", text ? text : "no text",
                     where.function_name(), where.file_name(), where.line());
}

}  // namespace

const Driver* try_driver(std::string* why) {
  const Loaded& l = loaded();
  if (why) *why = l.why;
  return l.why.empty() ? &l.table : nullptr;
}

const Driver& driver() {
  const Loaded& l = loaded();
  if (!l.why.empty()) throw Error(ErrorCode::device, l.why);
  return l.table;
}

void check(CUresult result, std::source_location where) {
  if (result == CUDA_SUCCESS) return;
  throw Error(result == CUDA_ERROR_OUT_OF_MEMORY ? ErrorCode::out_of_memory : ErrorCode::device,
              describe(result, where));
}

void check_quietly(CUresult result, std::source_location where) noexcept {
  if (result == CUDA_SUCCESS || result == CUDA_ERROR_DEINITIALIZED) return;
  try {
    log(LogSeverity::error, describe(result, where));
  } catch (...) {  // no memory for the message: nothing is left to do
  }
}

ContextScope::ContextScope(CUcontext context) { check(driver().cuCtxPushCurrent(context)); }
ContextScope::~ContextScope() {
  CUcontext former = nullptr;
  check_quietly(driver().cuCtxPopCurrent(&former));
}

}  // namespace headrace::cuda
