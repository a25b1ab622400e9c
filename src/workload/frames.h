// Images that a network tells apart, and what it makes of each.
//
// Frame k shows image k modulo count(). Images are seeded, and every pixel belongs to one only; an image
// whose results are those of an earlier one is left out. Thread-safe once made.
#pragma once

#include <functional>
#include <vector>

#include <headrace/session.h>

namespace headrace::workload {

class Frames {
 public:
  static constexpr int kMost = 17, kLeast = 5;  ///< images; few where they are large
  static constexpr double kTolerance = 1e-3;  ///< over a result's scale; images differ by twice that at least
  /// Error(invalid_argument) when the network makes the same of every image.
  /// `shown`: frames in all; there are no more images.
  Frames(const Engine& engine, const ShapeMap& shapes, std::uint64_t seed, int shown);
  int count() const { return static_cast<int>(images_.size()); }
  /// By input, in the engine's order.
  const std::vector<NamedTensor>& image(std::uint64_t frame) const;
  void write(std::uint64_t frame, const InputLease& lease) const;

  enum class Verdict : std::uint8_t { right, wrong, torn };  ///< wrong: another image's results
  using Outputs = std::function<ConstTensorView(std::size_t)>;
  Verdict judge(std::uint64_t frame, const Outputs& outputs) const;
  Verdict judge(std::uint64_t frame, const OutputLease& out) const {
    return judge(frame, [&](std::size_t i) { return out[i]; });
  }

 private:
  bool shows(std::size_t image, const Outputs& outputs, double tolerance) const;
  std::vector<std::vector<NamedTensor>> images_, results_;
};

}  // namespace headrace::workload
