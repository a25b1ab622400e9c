// Any bytes as an .onnx file: imported, compiled by rule and run once, or refused with an Error.
#include "../plan/plan_util.h"
#include "onnx/import.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headrace;
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  if (size) std::memcpy(bytes->data(), data, size);
  try {
    Graph graph = onnx::import_bytes(*bytes, bytes);
    verify(graph);
    compiler::Options options;
    options.device = "reference";
    options.opt_level = 0;
    options.threads = 1;
    options.memory_budget_bytes = 64 << 20;
    auto plan = std::make_shared<const Plan>(
        compiler::compile(std::move(graph), test::reference_registry(), options));
    test::run_or_refuse(std::move(plan), 16 << 20);
  } catch (const Error&) {
  }
  return 0;
}
