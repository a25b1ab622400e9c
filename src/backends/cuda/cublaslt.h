// cuBLASLt: the library found at run time, checked calls, and matrix products ready to be launched.
//
// Contract: LtProduct is D = epilogue(alpha op(A) op(B) + beta C + bias) on column-major matrices with one
// algorithm; immutable, capture-safe, launched by any number of threads. A row-major product is the
// column-major product of the transposed matrices in the other order: the caller does that.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cublasLt.h>

#include <headrace/types.h>

#include "base/handle.h"

namespace headrace::cuda {

// clang-format off
#define HEADRACE_CUBLASLT_FUNCTIONS(F) \
  F(cublasLtGetVersion) F(cublasLtGetStatusString) F(cublasLtCreate) F(cublasLtDestroy) F(cublasLtMatmul) \
  F(cublasLtMatmulDescInit_internal) F(cublasLtMatmulDescSetAttribute) \
  F(cublasLtMatrixLayoutInit_internal) F(cublasLtMatrixLayoutSetAttribute) \
  F(cublasLtMatmulPreferenceInit_internal) F(cublasLtMatmulPreferenceSetAttribute) \
  F(cublasLtMatmulAlgoGetHeuristic) F(cublasLtMatmulAlgoCheck)
// clang-format on

struct CublasLt {
#define HEADRACE_CUBLASLT_MEMBER(name) decltype(&::name) name = nullptr;
  HEADRACE_CUBLASLT_FUNCTIONS(HEADRACE_CUBLASLT_MEMBER)
#undef HEADRACE_CUBLASLT_MEMBER
  std::string path;  ///< of the library
};

/// The functions; null where there is no usable cuBLASLt, and `why` (if given) says so for people.
const CublasLt* try_cublaslt(std::string* why = nullptr);
const CublasLt& cublaslt();  ///< Error(unsupported) where there is none
void check_cublaslt(cublasStatus_t status, std::string_view what);

void destroy_lt_handle(cublasLtHandle_t handle) noexcept;
/// The library's context; context_local<LtHandle>(). Used by many threads at once.
struct LtHandle {
  LtHandle();
  Handle<cublasLtHandle_t, destroy_lt_handle> handle;
};

/// A column-major matrix, or a batch of them.
struct LtMatrix {
  std::int64_t rows = 0, cols = 0, ld = 0, batch_stride = 0;
  std::uint32_t alignment = 16;  ///< bytes, of the address
};

struct LtProblem {
  DType dtype = DType::f32;  ///< of all matrices and the bias
  bool tf32 = false;         ///< f32 only: factors may be rounded to tf32
  bool transpose_a = false, transpose_b = false;
  LtMatrix a, b, c, d;
  std::int32_t batch = 1;
  float alpha = 1, beta = 0;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  bool has_bias() const { return (epilogue & CUBLASLT_EPILOGUE_BIAS) != 0; }
};

class LtProduct {
 public:
  explicit LtProduct(const LtProblem& problem);
  /// Algorithms in the heuristics' order, for workspaces of 32 MiB, 4 MiB and none; without repetition. As
  /// text: "VERSION:HEX", the library's own 64 bytes, which mean something to that version only.
  std::vector<std::string> algorithms() const;
  /// Takes an algorithm of `algorithms`; the heuristics' first for "", one of another version, and one that
  /// was chosen for other extents and does not fit these.
  void choose(std::string_view algorithm);
  std::size_t workspace_bytes() const { return workspace_; }
  void launch(CUstream_st* stream, const void* a, const void* b, const void* c, void* d, const void* bias,
              std::byte* workspace) const;

 private:
  bool take(std::string_view text);
  std::vector<cublasLtMatmulHeuristicResult_t> heuristic(std::size_t workspace, int count) const;
  LtProblem problem_;
  std::shared_ptr<LtHandle> handle_;
  cublasLtMatmulDescOpaque_t desc_{};
  cublasLtMatrixLayoutOpaque_t a_{}, b_{}, c_{}, d_{};
  cublasLtMatmulAlgo_t algorithm_{};
  std::size_t workspace_ = 0;
};

}  // namespace headrace::cuda
