#if __has_include(<cublasLt.h>)
#include "backends/cuda/cublaslt.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include <headrace/error.h>

#include "backends/cuda/context_local.h"
#include "backends/cuda/library.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kMaxAlgorithms = 24;

struct Loaded {
  CublasLt table;
  std::string why;  ///< empty: usable
};

Loaded load() {
  Loaded result;
  static const Library library({"libcublasLt.so.13", "libcublasLt.so.12"});
  if (!library.found()) {
    result.why =
        "no cuBLASLt: " + library.error() + "; matrix products have no fast kernels on the GPU without it";
    return result;
  }
  result.table.path = library.path();
  std::string missing;
#define HEADRACE_CUBLASLT_LOAD(name) library.bind(result.table.name, #name, missing);
  HEADRACE_CUBLASLT_FUNCTIONS(HEADRACE_CUBLASLT_LOAD)
#undef HEADRACE_CUBLASLT_LOAD
  if (!missing.empty()) result.why = fmt::format("{} lacks {}", library.path(), missing);
  return result;
}

const Loaded& loaded() {
  static const Loaded result = load();
  return result;
}

cudaDataType_t to_cuda(DType dtype) {
  return dtype == DType::f16 ? CUDA_R_16F : dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F;
}

template <class T>
void set(cublasLtMatmulDescOpaque_t& desc, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check_cublaslt(cublaslt().cublasLtMatmulDescSetAttribute(&desc, attribute, &value, sizeof value),
                 "describing a product");
}
template <class T>
void set(cublasLtMatrixLayoutOpaque_t& layout, cublasLtMatrixLayoutAttribute_t attribute, const T& value) {
  check_cublaslt(cublaslt().cublasLtMatrixLayoutSetAttribute(&layout, attribute, &value, sizeof value),
                 "describing a matrix");
}
template <class T>
void set(cublasLtMatmulPreferenceOpaque_t& preference, cublasLtMatmulPreferenceAttributes_t attribute,
         const T& value) {
  check_cublaslt(
      cublaslt().cublasLtMatmulPreferenceSetAttribute(&preference, attribute, &value, sizeof value),
      "describing what is wanted of a product");
}

void describe(cublasLtMatrixLayoutOpaque_t& layout, const LtMatrix& m, DType dtype, std::int32_t batch) {
  check_cublaslt(cublaslt().cublasLtMatrixLayoutInit_internal(&layout, sizeof layout, to_cuda(dtype),
                                                              static_cast<std::uint64_t>(m.rows),
                                                              static_cast<std::uint64_t>(m.cols), m.ld),
                 "describing a matrix");
  if (batch == 1) return;
  set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, batch);
  set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.batch_stride);
}

/// The C interface takes layouts by pointer to non-const, and only reads them.
cublasLtMatrixLayout_t raw(const cublasLtMatrixLayoutOpaque_t& layout) {
  return const_cast<cublasLtMatrixLayout_t>(&layout);
}

std::string to_hex(const cublasLtMatmulAlgo_t& algorithm) {
  std::string text;
  for (std::uint64_t word : algorithm.data) text += fmt::format("{:016x}", word);
  return text;
}

}  // namespace

const CublasLt* try_cublaslt(std::string* why) {
  const Loaded& l = loaded();
  if (why) *why = l.why;
  return l.why.empty() ? &l.table : nullptr;
}

const CublasLt& cublaslt() {
  const Loaded& l = loaded();
  if (!l.why.empty()) throw Error(ErrorCode::unsupported, l.why);
  return l.table;
}

void check_cublaslt(cublasStatus_t status, std::string_view what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("cuBLASLt: {}: {}", what, cublaslt().cublasLtGetStatusString(status)));
}

void destroy_lt_handle(cublasLtHandle_t handle) noexcept {
  if (loaded().table.cublasLtDestroy(handle) != CUBLAS_STATUS_SUCCESS)
    log(LogSeverity::error, "cuBLASLt: cublasLtDestroy failed");
}

LtHandle::LtHandle() { check_cublaslt(cublaslt().cublasLtCreate(handle.out()), "making a handle"); }

LtProduct::LtProduct(const LtProblem& problem) : problem_(problem), handle_(context_local<LtHandle>()) {
  check_cublaslt(
      cublaslt().cublasLtMatmulDescInit_internal(
          &desc_, sizeof desc_, problem.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
      "describing a product");
  set(desc_, CUBLASLT_MATMUL_DESC_TRANSA, problem.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(desc_, CUBLASLT_MATMUL_DESC_TRANSB, problem.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(desc_, CUBLASLT_MATMUL_DESC_EPILOGUE, problem.epilogue);
  if (problem.has_bias()) set(desc_, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, to_cuda(problem.dtype));
  describe(a_, problem.a, problem.dtype, problem.batch);
  describe(b_, problem.b, problem.dtype, problem.batch);
  describe(c_, problem.c, problem.dtype, problem.batch);
  describe(d_, problem.d, problem.dtype, problem.batch);
}

std::vector<cublasLtMatmulHeuristicResult_t> LtProduct::heuristic(std::size_t workspace, int count) const {
  cublasLtMatmulPreferenceOpaque_t preference{};
  check_cublaslt(cublaslt().cublasLtMatmulPreferenceInit_internal(&preference, sizeof preference),
                 "describing what is wanted of a product");
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace));
  // Parts of a split sum are added in f32, in a fixed order.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem_.a.alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem_.b.alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem_.c.alignment);
  set(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem_.d.alignment);
  // Algorithms may depend on where the bias is: any address does for asking.
  cublasLtMatmulDescOpaque_t desc = desc_;
  if (problem_.has_bias()) {
    const void* const anywhere = reinterpret_cast<const void*>(std::uintptr_t{256});
    set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, anywhere);
  }
  std::vector<cublasLtMatmulHeuristicResult_t> results(static_cast<std::size_t>(count));
  int found = 0;
  const cublasStatus_t status =
      cublaslt().cublasLtMatmulAlgoGetHeuristic(handle_->handle.get(), &desc, raw(a_), raw(b_), raw(c_),
                                                raw(d_), &preference, count, results.data(), &found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED)
    found = 0;
  else
    check_cublaslt(status, "asking for algorithms");
  results.resize(static_cast<std::size_t>(found));
  std::erase_if(results, [&](const auto& r) {
    return r.state != CUBLAS_STATUS_SUCCESS || r.workspaceSize > workspace;
  });
  return results;
}

std::vector<std::string> LtProduct::algorithms() const {
  std::vector<std::string> result;
  for (std::size_t cap : {32 * kMiB, 4 * kMiB, std::size_t{0}})
    for (const auto& r : heuristic(cap, 12)) {
      std::string text = fmt::format("{}:{}", cublaslt().cublasLtGetVersion(), to_hex(r.algo));
      if (std::find(result.begin(), result.end(), text) == result.end() && result.size() < kMaxAlgorithms)
        result.push_back(std::move(text));
    }
  return result;
}

void LtProduct::choose(std::string_view text) {
  if (take(text)) return;
  for (std::size_t cap : {32 * kMiB, std::size_t{0}}) {
    const auto results = heuristic(cap, 1);
    if (results.empty()) continue;
    algorithm_ = results[0].algo;
    workspace_ = results[0].workspaceSize;
    return;
  }
  throw Error(ErrorCode::unsupported, "cuBLASLt has no algorithm for this product");
}

bool LtProduct::take(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos ||
      text.substr(0, colon) != std::to_string(cublaslt().cublasLtGetVersion()))
    return false;
  std::string_view hex = text.substr(colon + 1);
  bool good = hex.size() == 16 * std::size(algorithm_.data);
  for (std::size_t i = 0; good && i < std::size(algorithm_.data); ++i) {
    const char *begin = hex.data() + 16 * i, *end = begin + 16;
    const auto [at, error] = std::from_chars(begin, end, algorithm_.data[i], 16);
    good = error == std::errc() && at == end;
  }
  if (!good) throw Error(ErrorCode::invalid_plan, fmt::format("'{}' is no algorithm of cuBLASLt", text));
  cublasLtMatmulHeuristicResult_t result{};
  if (cublaslt().cublasLtMatmulAlgoCheck(handle_->handle.get(), &desc_, &a_, &b_, &c_, &d_, &algorithm_,
                                         &result) != CUBLAS_STATUS_SUCCESS)
    return false;  // chosen for other extents
  workspace_ = result.workspaceSize;
  return true;
}

void LtProduct::launch(CUstream_st* stream, const void* a, const void* b, const void* c, void* d,
                       const void* bias, std::byte* workspace) const {
  cublasLtMatmulDescOpaque_t desc = desc_;  // a plain value: the bias is part of it
  if (problem_.has_bias()) set(desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  check_cublaslt(cublaslt().cublasLtMatmul(handle_->handle.get(), &desc, &problem_.alpha, a, raw(a_), b,
                                           raw(b_), &problem_.beta, c, raw(c_), d, raw(d_), &algorithm_,
                                           workspace, workspace_, stream),
                 "running a product");
}

}  // namespace headrace::cuda
#endif
