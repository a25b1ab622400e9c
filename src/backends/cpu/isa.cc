#include "backends/cpu/isa.h"

#include <cstring>

#include <cpuid.h>

namespace headrace::cpu {

Isa isa() {
  static const Isa found = [] {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
      return Isa::avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Isa::avx2;
    return Isa::baseline;
  }();
  return found;
}

std::string model_name() {
  unsigned words[12] = {};
  char text[sizeof words + 1] = {};
  unsigned a = 0, b = 0, c = 0, d = 0;
  std::string name = "x86-64";
  if (__get_cpuid(0x80000000, &a, &b, &c, &d) && a >= 0x80000004) {
    for (unsigned i = 0; i < 3; ++i) {
      __get_cpuid(0x80000002 + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
    }
    std::memcpy(text, words, sizeof words);
    name = text;
    while (!name.empty() && name.back() == ' ') name.pop_back();
    while (!name.empty() && name.front() == ' ') name.erase(0, 1);
  }
  const char* set = isa() == Isa::avx512 ? "avx512" : isa() == Isa::avx2 ? "avx2" : "sse2";
  if (isa() == Isa::avx512 && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 24 & 1)) set = "avx512+amx";
  return name + " (" + set + ")";
}

}  // namespace headrace::cpu
