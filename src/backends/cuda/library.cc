#include "backends/cuda/library.h"

#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

namespace headrace::cuda {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> folders() {
  std::vector<fs::path> result;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* home = std::getenv(variable); home && *home) {
      result.push_back(fs::path(home) / "lib64");
      result.push_back(fs::path(home) / "lib");
    }
  result.push_back("/usr/local/cuda/lib64");
  result.push_back("/usr/local/cuda/lib");
  if (const char* venv = std::getenv("VIRTUAL_ENV"); venv && *venv) {
    std::error_code ignored;  // VENV/lib/python3.x/site-packages/nvidia/PACKAGE/lib
    for (const auto& python : fs::directory_iterator(fs::path(venv) / "lib", ignored))
      for (const auto& package : fs::directory_iterator(python.path() / "site-packages/nvidia", ignored))
        result.push_back(package.path() / "lib");
  }
  return result;
}

std::string path_of(void* handle, const std::string& name) {
  link_map* map = nullptr;
  if (dlinfo(handle, RTLD_DI_LINKMAP, &map) == 0 && map && map->l_name && *map->l_name) return map->l_name;
  return name;
}

}  // namespace

Library::Library(std::vector<std::string> names) {
  for (const std::string& name : names) {
    handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle_)
      if (const char* why = dlerror(); why && error_.empty()) error_ = why;
    for (const fs::path& folder : folders()) {
      if (handle_) break;
      std::error_code ignored;
      const fs::path file = folder / name;
      if (fs::exists(file, ignored)) handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!handle_) dlerror();
    }
    if (handle_) {
      path_ = path_of(handle_, name);
      error_.clear();
      return;
    }
  }
  error_ = fmt::format("{} was not found ({})", names.front(), error_);
}

void* Library::symbol(const char* name) const { return handle_ ? dlsym(handle_, name) : nullptr; }

}  // namespace headrace::cuda
