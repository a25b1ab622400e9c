// How fast the simulated machine is: milliseconds per batch, from a file or the defaults.
//
// The defaults are those of a V100 with a ResNet-18 batch of 128 images. A JSON file may name any of
//   upload_pageable_ms, upload_pinned_ms   copy of one batch to the device, from pageable or pinned memory
//   compute_fp32_ms, compute_fp16_ms       kernels of one batch
//   download_ms                            copy of one batch's outputs to the host
//   post_ms                                work of the host on one batch's outputs
//   alloc_ms                               making and freeing a block of device memory
//   consumed_ms                            from the start of compute until the input may be overwritten; at
//                                          most what compute takes
//   staging_ms                             host copy of one batch into pinned memory; default: what a
//   pageable
//                                          upload takes longer than a pinned one
// Keys that are left out keep their default. Error(invalid_argument) names an unknown key or a bad number.
#pragma once

#include <string>
#include <string_view>

namespace headrace::sim {

struct Spec {
  double upload_pageable_ms = 13.429, upload_pinned_ms = 6.912;
  double compute_fp32_ms = 27.230, compute_fp16_ms = 7.957;
  double download_ms = 0, post_ms = 2.0, alloc_ms = 1.79, consumed_ms = 0.5;
  double staging_ms = -1;  ///< negative: derived

  double staging() const {
    if (staging_ms >= 0) return staging_ms;
    return upload_pageable_ms > upload_pinned_ms ? upload_pageable_ms - upload_pinned_ms : 0;
  }
  /// A machine whose operations take no time at all.
  static Spec instant() { return {0, 0, 0, 0, 0, 0, 0, 0, 0}; }
  bool operator==(const Spec&) const = default;
};

Spec parse_spec(std::string_view json);
/// Error(io) when the file cannot be read.
Spec load_spec(const std::string& path);

}  // namespace headrace::sim
