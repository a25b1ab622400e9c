#include "base/cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>

#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace headrace {
namespace {

int affinity_cores() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));  // more than 1,024 processors
}

// The calling process's group in cgroup v2 ("0::/path"), or of the v1 cpu controller.
std::string own_group(bool version2) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    if (version2 ? controllers == ",," : controllers.find(",cpu,") != std::string::npos) {
      return line.substr(second + 1);
    }
  }
  return {};
}

double cgroup_v1_quota() {
  for (const std::string& group : {own_group(false), std::string()}) {
    const std::string folder = "/sys/fs/cgroup/cpu" + group + "/";
    double quota = 0, period = 0;
    if (std::ifstream(folder + "cpu.cfs_quota_us") >> quota &&
        std::ifstream(folder + "cpu.cfs_period_us") >> period && quota > 0 && period > 0) {
      return quota / period;
    }
  }
  return 0;
}

std::string read_model_name() {
#if defined(__x86_64__)
  unsigned registers[12] = {};
  if (__get_cpuid_max(0x80000000u, nullptr) >= 0x80000004u) {
    for (unsigned i = 0; i < 3; ++i) {
      unsigned* r = registers + 4 * i;
      __get_cpuid(0x80000002u + i, &r[0], &r[1], &r[2], &r[3]);
    }
    char text[sizeof registers + 1] = {};
    std::memcpy(text, registers, sizeof registers);
    std::string name = text;
    name.erase(0, std::min(name.find_first_not_of(' '), name.size()));
    name.erase(name.find_last_not_of(' ') + 1);
    if (!name.empty()) return name;
  }
#endif
  return "unknown";
}

}  // namespace

namespace detail {

double cgroup_quota(const std::string& root, const std::string& group) {
  double least = 0;
  std::string folder = group == "/" ? "" : group;
  for (;;) {
    std::ifstream file(root + folder + "/cpu.max");
    std::string quota;
    double period = 0;
    if (file >> quota >> period && quota != "max" && period > 0) {
      const double cores = std::strtod(quota.c_str(), nullptr) / period;
      if (cores > 0 && (least == 0 || cores < least)) least = cores;
    }
    if (folder.empty()) return least;
    folder.erase(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/'));
  }
}

}  // namespace detail

int usable_cores() {
  double quota = detail::cgroup_quota("/sys/fs/cgroup", own_group(true));
  if (quota == 0) quota = cgroup_v1_quota();
  int cores = affinity_cores();
  if (quota > 0) cores = std::min(cores, static_cast<int>(std::ceil(quota)));
  return std::max(cores, 1);
}

std::string_view isa_name() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return "avx512";
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "avx2";
  if (__builtin_cpu_supports("sse4.1")) return "sse4.1";
#endif
  return "generic";
}

const std::string& cpu_model_name() {
  static const std::string name = read_model_name();
  return name;
}

}  // namespace headrace
