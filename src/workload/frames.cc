#include "workload/frames.h"

#include <algorithm>
#include <cstring>

#include <headrace/error.h>

#include "api/build_layers.h"
#include "ladder/rig.h"

namespace headrace::workload {
namespace {

constexpr std::size_t kBudgetBytes = 256u << 20;  // of all images

}  // namespace

Frames::Frames(const Engine& engine, const ShapeMap& shapes, std::uint64_t seed, int shown) {
  Context context(engine);
  std::size_t bytes = 1;
  for (const TensorInfo& input : engine.inputs()) bytes += tensor_bytes(input.dtype, shapes.at(input.name));
  const auto wanted =
      static_cast<std::size_t>(std::clamp(shown, 2, kBudgetBytes / bytes >= kMost ? kMost : kLeast));
  for (std::uint64_t turn = 0; images_.size() < wanted && turn < 4 * wanted; ++turn) {
    std::vector<NamedTensor> image;
    std::vector<NamedView> views;
    for (const TensorInfo& input : engine.inputs()) {
      image.push_back({input.name, Tensor(input.dtype, shapes.at(input.name))});
      Tensor& tensor = image.back().tensor;
      ladder::fill_values(tensor.view().data(), static_cast<std::size_t>(element_count(tensor.shape())),
                          input.dtype, input.format.has_value(), seed + 1000 * turn + image.size());
    }
    for (const NamedTensor& t : image) views.push_back({t.name, t.tensor.view()});
    std::vector<NamedTensor> result = context.infer(views);
    const Outputs outputs = [&](std::size_t i) { return result[i].tensor.view(); };
    bool known = false;
    for (std::size_t i = 0; i < images_.size(); ++i) known = known || shows(i, outputs, 2 * kTolerance);
    if (known) continue;
    images_.push_back(std::move(image));
    results_.push_back(std::move(result));
  }
  if (images_.size() < 2)
    throw Error(ErrorCode::invalid_argument,
                "this network makes the same of every image, so that nobody can tell whose result is whose; "
                "choose a model whose outputs depend on its inputs");
}

const std::vector<NamedTensor>& Frames::image(std::uint64_t frame) const {
  return images_[frame % images_.size()];
}

void Frames::write(std::uint64_t frame, const InputLease& lease) const {
  for (const NamedTensor& t : image(frame)) {
    const TensorView to = lease[t.name];
    std::memcpy(to.data(), t.tensor.view().data(), to.size_bytes());
  }
}

bool Frames::shows(std::size_t image, const Outputs& outputs, double tolerance) const {
  for (std::size_t o = 0; o < results_[image].size(); ++o) {
    const Tensor& want = results_[image][o].tensor;
    const ConstTensorView got = outputs(o);
    if (got.shape() != want.shape()) return false;
    if (std::equal(got.data(), got.data() + got.size_bytes(), want.view().data())) continue;
    if (!is_float(got.dtype()) ||
        !(api::deviation(api::as_host(got), api::as_host(want.view())).largest <= tolerance))
      return false;
  }
  return true;
}

Frames::Verdict Frames::judge(std::uint64_t frame, const Outputs& outputs) const {
  const std::size_t own = frame % images_.size();
  if (shows(own, outputs, kTolerance)) return Verdict::right;
  for (std::size_t i = 0; i < images_.size(); ++i)
    if (i != own && shows(i, outputs, kTolerance)) return Verdict::wrong;
  return Verdict::torn;
}

}  // namespace headrace::workload
