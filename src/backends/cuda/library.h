// Libraries of a GPU machine, found at run time: driver, NVRTC, cuDNN, cuBLASLt.
//
// One binary runs with and without them: nothing is linked, each library is opened with dlopen when it is
// first asked for, and stays open. Where a library is looked for, in this order: what the loader finds
// (system, LD_LIBRARY_PATH), the CUDA toolkit (CUDA_HOME, CUDA_PATH, /usr/local/cuda), and pip's nvidia-*
// packages of the Python environment in VIRTUAL_ENV.
#pragma once

#include <string>
#include <vector>

namespace headrace::cuda {

class Library {
 public:
  /// Opens the first of `names` ("libcudnn.so.9") that is found. Never throws.
  explicit Library(std::vector<std::string> names);
  bool found() const { return handle_ != nullptr; }
  const std::string& path() const { return path_; }    ///< of the file that was opened
  const std::string& error() const { return error_; }  ///< why not, for people
  /// Address of an exported function, null when the library (or this version of it) has none.
  void* symbol(const char* name) const;
  /// Points `function` at an exported function; adds its name to the list in `missing` where there is none.
  template <class F>
  void bind(F*& function, const char* name, std::string& missing) const {
    function = reinterpret_cast<F*>(symbol(name));
    if (!function) missing += (missing.empty() ? "" : ", ") + std::string(name);
  }

 private:
  void* handle_ = nullptr;
  std::string path_, error_;
};

}  // namespace headrace::cuda
