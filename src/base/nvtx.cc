#include "base/nvtx.h"

#ifdef HEADRACE_NVTX
#include <algorithm>

#include <nvtx3/nvToolsExt.h>

namespace headrace::nvtx {
namespace {

struct Colour {
  std::string_view name;  ///< what a range's name begins with
  std::uint32_t argb;
};
constexpr Colour kColours[] = {
    {"Total Elapsed Time", 0xffffa500},  // orange
    {"infer", 0xff800080},               // purple
    {"Print Result", 0xff008000},        // green
};
constexpr std::uint32_t kOther = 0xff4682b4;  // blue

nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t handle = nvtxDomainCreateA("headrace");
  return handle;
}

}  // namespace

void push(std::string_view name) noexcept {
  char text[64] = {};  // names need not end with a 0
  std::copy_n(name.data(), std::min(name.size(), sizeof text - 1), text);
  nvtxEventAttributes_t attributes{};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.colorType = NVTX_COLOR_ARGB;
  attributes.color = kOther;
  for (const Colour& colour : kColours)
    if (name.starts_with(colour.name)) attributes.color = colour.argb;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = text;
  nvtxDomainRangePushEx(domain(), &attributes);
}

void pop() noexcept { nvtxDomainRangePop(domain()); }

}  // namespace headrace::nvtx
#endif
