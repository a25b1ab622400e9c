// Which instruction set the own kernels use on this machine: decided once, by cpuid.
#pragma once

#include <string>

namespace headrace::cpu {

enum class Isa { baseline, avx2, avx512 };
Isa isa();
/// "AMD EPYC 9B14 (avx512)": the device model that plans record.
std::string model_name();

}  // namespace headrace::cpu
