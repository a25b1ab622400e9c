// What the oneDNN tactics share: descriptors, post-ops, weight formats by name, and the kernel that runs a
// primitive.
//
// A weights format is stored in plans as oneDNN's own name of the blocked layout ("ABcd16b16a"): the layout
// that the primitive chose at build time. At run time the primitive is made for exactly that layout.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <oneapi/dnnl/dnnl.hpp>

#include "backends/cpu/tactics.h"

namespace headrace::cpu {

const dnnl::engine& onednn_engine();

/// Runs f and turns dnnl::error into Error(internal) that names `what`.
template <class F>
auto onednn_guard(std::string_view what, F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const dnnl::error& e) {
    throw Error(ErrorCode::internal, std::string(what) + ": oneDNN: " + e.what());
  }
}

dnnl::memory::desc md_of(const TensorDesc& desc);            ///< f32, plain, channels_last or strided
dnnl::memory::desc md_of(const TensorDesc& desc, int rank);  ///< with leading 1s up to `rank`
/// The blocked layout called `name` for these dims; an empty desc when there is none of that name.
dnnl::memory::desc md_of_format(const dnnl::memory::dims& dims, const std::string& name);
/// The name of a layout, or "" when it has none (then it cannot be stored).
std::string format_of(const dnnl::memory::desc& md);

/// Bytes of these dims in the layout called `name`; SIZE_MAX when there is none of that name.
std::size_t packed_size(const dnnl::memory::dims& dims, const std::string& name);

/// Why these posts cannot become oneDNN post-ops, or nothing. `first`: index of the first operand in
/// problem.srcs.
std::optional<Refusal> refuse_posts(const Problem& problem, const std::vector<Post>& posts,
                                    std::size_t first);

/// One argument of a primitive, taken from the launch's operands (or the workspace: kWorkspace + byte
/// offset).
struct OnednnArg {
  int arg = 0;
  dnnl::memory::desc md;
  int operand = 0;
  std::size_t offset = 0;
};
inline constexpr int kWorkspace = -1;

/// Appends post-ops and their arguments. View: how a binary operand is described (default: by rank of dst).
/// Whether a NaN survives these steps in oneDNN, whose max, min and clip drop it.
bool posts_keep_nan(const std::vector<Post>& posts);

void append_posts(dnnl::post_ops& ops, std::vector<OnednnArg>& args, const Problem& problem,
                  const std::vector<Post>& posts, std::size_t first,
                  const std::function<dnnl::memory::desc(const TensorDesc&)>& view);

/// Packs host data described by `user` into `packed`.
Packed pack_weights(const dnnl::memory::desc& user, const dnnl::memory::desc& packed, const HostTensor& data);

bool is_reference_impl(std::string_view impl);

/// A chain of primitives as one kernel. Argument sets are kept in a small lock-free pool, so that several
/// streams may run the kernel at once and a launch makes no memory objects.
class OnednnKernel final : public Kernel {
 public:
  struct Step {
    dnnl::primitive primitive;
    std::vector<OnednnArg> args;
  };
  OnednnKernel(std::string name, std::vector<Step> steps, std::size_t workspace);
  ~OnednnKernel() override;
  std::size_t workspace_bytes() const override { return workspace_; }
  std::string_view name() const override { return name_; }
  void launch(NativeStream, std::span<std::byte* const> data, std::byte* workspace) const override;

 private:
  struct ArgSet;
  std::unique_ptr<ArgSet> make_set() const;
  std::string name_;
  std::vector<Step> steps_;
  std::size_t workspace_;
  mutable std::array<std::atomic<ArgSet*>, 8> free_{};
};

inline std::size_t align64(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace headrace::cpu
