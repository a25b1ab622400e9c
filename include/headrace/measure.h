// What a machine gives at most, measured: to be compared with what a plan takes of it.
//
//   for (const hr::CopySpeed& c : hr::measure_copies("cuda:0", {1 << 20}).speeds) ...
//   hr::Roofline best = hr::measure_roofline(engine);
//
// Contract: takes some seconds and memory of its own (up to 2 GiB on a GPU, 200 MB on a host), which is given
// back at the end. Awaited times; figures mean nothing on a machine that does other work meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <headrace/runtime.h>

namespace headrace {

/// One way of copying, at one size.
struct CopySpeed {
  std::string path;         ///< "pinned to device", "both ways at once, pinned", ...
  std::uint64_t bytes = 0;  ///< of one copy; both ways: of each direction
  double us = 0;            ///< median of one copy (or pair) of many that are queued, the submission included
  double bytes_per_s = 0;   ///< both ways: of the two together
};
struct CopySpeeds {
  std::string device, model;
  bool separate_memory = false;  ///< false: device memory is host memory, copies are those of the host
  std::vector<CopySpeed> speeds;
};
CopySpeeds measure_copies(const std::string& device, const std::vector<std::uint64_t>& sizes,
                          int repeats = 15);

/// The most bytes and floating-point operations per second that were reached.
struct Roofline {
  struct Arithmetic {
    DType dtype = DType::f32;  ///< of the factors
    double flops_per_s = 0;    ///< a multiplication and an addition are two
    std::string how;           ///< "cuda.cublaslt.matmul of 8192 x 8192"
  };
  double bytes_per_s = 0;
  std::string bytes_how;
  std::vector<Arithmetic> arithmetic;  ///< for f32 and f16, where the device has a matrix product for it
  /// The shortest time that the machine allows for so many bytes and operations; 0 when it is not known.
  double least_us(double bytes, double flops, DType dtype) const;
  /// Whether no kernel can have taken only so long, and the time is one of something else: more than 1.2
  /// times the arithmetic that was reached, or 20 times the bytes (caches are faster than memory, but not so
  /// much).
  bool impossible(double us, double bytes, double flops, DType dtype) const;
};
Roofline measure_roofline(const Engine& engine);

}  // namespace headrace
