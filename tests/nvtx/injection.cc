// What a profiler would load: NVTX calls this library once and then its functions. It appends one line for
// each call to the file that HEADRACE_NVTX_LOG names: "push DOMAIN COLOUR NAME" or "pop DOMAIN".
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <nvtx3/nvToolsExt.h>

namespace {

std::FILE* log_file() {
  static std::FILE* file = [] {
    const char* path = std::getenv("HEADRACE_NVTX_LOG");
    std::FILE* opened = path ? std::fopen(path, "a") : nullptr;
    if (opened) std::setvbuf(opened, nullptr, _IOLBF, 0);
    return opened;
  }();
  return file;
}
const char* name_of(nvtxDomainHandle_t domain) { return reinterpret_cast<const char*>(domain); }

nvtxDomainHandle_t create(const char* name) { return reinterpret_cast<nvtxDomainHandle_t>(strdup(name)); }
int push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* attributes) {
  if (log_file())
    std::fprintf(log_file(), "push %s %08x %s\n", name_of(domain), attributes->color,
                 attributes->message.ascii);
  return 0;
}
int pop(nvtxDomainHandle_t domain) {
  if (log_file()) std::fprintf(log_file(), "pop %s\n", name_of(domain));
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size)) return 0;
  *table[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(create);
  *table[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(push);
  *table[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(pop);
  return 1;
}
