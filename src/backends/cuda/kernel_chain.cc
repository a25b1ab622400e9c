#include "backends/cuda/kernel_chain.h"

#include <algorithm>
#include <array>

#include <headrace/error.h>

namespace headrace::cuda {

KernelChain::Arg KernelChain::reserve(std::size_t bytes) {
  const Arg place{-1, reserved_};
  reserved_ += (bytes + 255) / 256 * 256;
  return place;
}

void KernelChain::add(std::unique_ptr<Kernel> kernel, std::vector<Arg> args) {
  if (args.size() > kMaxArgs) throw Error(ErrorCode::unsupported, name_ + ": more than 16 operands");
  scratch_ = std::max(scratch_, kernel->workspace_bytes());
  steps_.push_back({std::move(kernel), std::move(args)});
}

void KernelChain::launch(NativeStream stream, std::span<std::byte* const> data, std::byte* workspace) const {
  std::array<std::byte*, kMaxArgs> pointers;
  for (const Step& step : steps_) {
    for (std::size_t i = 0; i < step.args.size(); ++i) {
      const Arg& arg = step.args[i];
      pointers[i] = arg.operand < 0 ? workspace + arg.offset : data[static_cast<std::size_t>(arg.operand)];
    }
    step.kernel->launch(stream, std::span(pointers).first(step.args.size()),
                        workspace ? workspace + reserved_ : nullptr);
  }
}

}  // namespace headrace::cuda
