// expect: no match for call
#include <string>

#include <headrace/pipeline.h>
void f() {
  auto stage = headrace::make_pipeline<int>().then("to text", [](int v) { return std::to_string(v); });
#ifdef HEADRACE_CONTROL
  auto pipeline = std::move(stage).sink("use", [](std::string) {});
#else
  auto pipeline = std::move(stage).sink("use", [](int) {});
#endif
}
