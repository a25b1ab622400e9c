#include "backends/cuda/nvrtc.h"

#include <cstdlib>
#include <cstring>

#include <fmt/format.h>
#include <nvrtc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <headrace/error.h>

#include "backends/cuda/library.h"
#include "base/file.h"
#include "base/handle.h"
#include "base/hash.h"
#include "base/log.h"

namespace headrace::cuda {
namespace {

namespace fs = std::filesystem;

// clang-format off
#define HEADRACE_NVRTC_FUNCTIONS(F)                                                             \
  F(nvrtcVersion) F(nvrtcGetErrorString) F(nvrtcCreateProgram) F(nvrtcDestroyProgram)           \
  F(nvrtcCompileProgram) F(nvrtcGetProgramLogSize) F(nvrtcGetProgramLog) F(nvrtcGetCUBINSize)   \
  F(nvrtcGetCUBIN)
// clang-format on

struct Nvrtc {
#define HEADRACE_NVRTC_MEMBER(name) decltype(&::name) name = nullptr;
  HEADRACE_NVRTC_FUNCTIONS(HEADRACE_NVRTC_MEMBER)
#undef HEADRACE_NVRTC_MEMBER
  std::string why;  ///< empty: usable
};

Nvrtc load() {
  Nvrtc table;
  static const Library library({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2"});
  if (!library.found()) {
    table.why = "no NVRTC, which compiles headrace's own kernels: " + library.error() +
                "; install it with the CUDA toolkit or as the package nvidia-cuda-nvrtc";
    return table;
  }
  std::string missing;
#define HEADRACE_NVRTC_LOAD(name) library.bind(table.name, #name, missing);
  HEADRACE_NVRTC_FUNCTIONS(HEADRACE_NVRTC_LOAD)
#undef HEADRACE_NVRTC_LOAD
  if (!missing.empty()) table.why = library.path() + " is too old: it lacks " + missing;
  return table;
}

const Nvrtc& try_nvrtc() {
  static const Nvrtc table = load();
  return table;
}
const Nvrtc& nvrtc() {
  const Nvrtc& table = try_nvrtc();
  if (!table.why.empty()) throw Error(ErrorCode::device, table.why);
  return table;
}

void check_nvrtc(nvrtcResult result, const char* call) {
  if (result != NVRTC_SUCCESS)
    throw Error(ErrorCode::internal, fmt::format("{}: {}", call, nvrtc().nvrtcGetErrorString(result)));
}

void destroy_program(nvrtcProgram program) { nvrtc().nvrtcDestroyProgram(&program); }
using ProgramHandle = Handle<nvrtcProgram, destroy_program>;

// ---- files of the cache: this header, then the cubin -----------------------------------------------------

struct FileHeader {
  char magic[8] = {'H', 'R', 'K', 'E', 'R', 'N', '0', '1'};
  Hash128 key, content;
  std::uint64_t size = 0;
};
static_assert(sizeof(FileHeader) == 48);

/// The folder, made when it is not there; false when it is not safe to use.
bool usable(const fs::path& folder) {
  std::error_code ignored;
  fs::create_directories(folder.parent_path(), ignored);
  ::mkdir(folder.c_str(), 0700);
  struct stat info {};
  if (::lstat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
  return info.st_uid == ::geteuid() && (info.st_mode & 077) == 0;
}

bool mine(const fs::path& file) {
  struct stat info {};
  return ::lstat(file.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == ::geteuid();
}

/// Empty when there is none, or it is damaged.
Cubin read_entry(const fs::path& file, const Hash128& key) {
  try {
    if (!mine(file)) return {};
    const std::vector<std::byte> bytes = read_file(file, std::size_t{64} << 20);
    FileHeader have;
    const FileHeader want;
    if (bytes.size() < sizeof have) return {};
    std::memcpy(&have, bytes.data(), sizeof have);
    if (std::memcmp(have.magic, want.magic, sizeof want.magic) != 0 || have.key != key) return {};
    Cubin cubin(bytes.begin() + sizeof have, bytes.end());
    if (cubin.size() != have.size || hash128(std::span<const std::byte>(cubin)) != have.content) return {};
    return cubin;
  } catch (const Error&) {
    return {};
  }
}

void write_entry(const fs::path& file, const Hash128& key, const Cubin& cubin) {
  FileHeader header;
  header.key = key;
  header.content = hash128(std::span<const std::byte>(cubin));
  header.size = cubin.size();
  const std::span<const std::byte> pieces[] = {std::as_bytes(std::span(&header, 1)), cubin};
  try {
    write_file_atomic(file, pieces);
  } catch (const Error& e) {
    log(LogSeverity::warning, std::string("a compiled kernel was not kept: ") + e.what());
  }
}

}  // namespace

bool nvrtc_found(std::string* why) {
  const Nvrtc& table = try_nvrtc();
  if (why) *why = table.why;
  return table.why.empty();
}

std::string nvrtc_version() {
  int major = 0, minor = 0;
  check_nvrtc(nvrtc().nvrtcVersion(&major, &minor), "nvrtcVersion");
  return fmt::format("{}.{}", major, minor);
}

Cubin compile_uncached(const std::string& source, const std::string& name, const std::string& arch) {
  const Nvrtc& n = nvrtc();
  ProgramHandle program;
  check_nvrtc(n.nvrtcCreateProgram(program.out(), source.c_str(), name.c_str(), 0, nullptr, nullptr),
              "nvrtcCreateProgram");
  const std::string architecture = "--gpu-architecture=" + arch;
  const char* options[] = {architecture.c_str(), "--std=c++17", "-default-device"};
  const nvrtcResult result = n.nvrtcCompileProgram(program.get(), 3, options);
  if (result != NVRTC_SUCCESS) {
    std::size_t size = 0;
    std::string text;
    if (n.nvrtcGetProgramLogSize(program.get(), &size) == NVRTC_SUCCESS && size > 1) {
      text.resize(size);
      n.nvrtcGetProgramLog(program.get(), text.data());
      text.resize(std::strlen(text.c_str()));
    }
    throw Error(ErrorCode::internal,
                fmt::format("NVRTC {} refuses the kernel '{}' for {}: {}\n{}", nvrtc_version(), name, arch,
                            n.nvrtcGetErrorString(result), text));
  }
  std::size_t size = 0;
  check_nvrtc(n.nvrtcGetCUBINSize(program.get(), &size), "nvrtcGetCUBINSize");
  Cubin cubin(size);
  check_nvrtc(n.nvrtcGetCUBIN(program.get(), reinterpret_cast<char*>(cubin.data())), "nvrtcGetCUBIN");
  return cubin;
}

fs::path KernelCache::default_folder() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache == '/')
    return fs::path(cache) / "headrace" / "kernels";
  if (const char* home = std::getenv("HOME"); home && *home == '/')
    return fs::path(home) / ".cache" / "headrace" / "kernels";
  return {};
}

Cubin KernelCache::compile(const std::string& source, const std::string& name,
                           const std::string& arch) const {
  if (folder_.empty() || !usable(folder_)) return compile_uncached(source, name, arch);
  const Hash128 key = hash128(fmt::format("{}\n{}\n{}", nvrtc_version(), arch, source));
  const fs::path file = folder_ / (to_string(key) + ".cubin");
  if (Cubin cubin = read_entry(file, key); !cubin.empty()) return cubin;
  Cubin cubin = compile_uncached(source, name, arch);
  write_entry(file, key, cubin);
  return cubin;
}

}  // namespace headrace::cuda
