#include "api/registry.h"

#include <headrace/headrace.h>

namespace headrace {

namespace api {

const Registry& registry() {
  static const Registry instance = [] {
    Registry r;
    r.add(make_cpu_backend());
    r.add(make_reference_backend());
    return r;
  }();
  return instance;
}

}  // namespace api

std::string_view version() { return "0.1.0"; }

}  // namespace headrace
