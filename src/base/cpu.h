// What the machine's processor is: for defaults (threads), for choosing kernels, for a plan's provenance.
#pragma once

#include <string>
#include <string_view>

namespace headrace {

// How many threads can run at once: the affinity mask, cut by the quota of the control group (rounded up,
// since "1.5 CPUs" keeps two threads partly busy). At least 1. Read anew at every call.
int usable_cores();

// The widest instruction set that kernels may use: "avx512" (F, BW, DQ, VL), "avx2" (with FMA), "sse4.1"
// or "generic". What the processor has and the operating system has switched on.
std::string_view isa_name() noexcept;

// "Intel(R) Xeon(R) ...", or "unknown".
const std::string& cpu_model_name();

namespace detail {
// The quota that applies to a group folder of cgroup v2 below `root`, its parents included; 0 is none.
double cgroup_quota(const std::string& root, const std::string& group);
}  // namespace detail

}  // namespace headrace
