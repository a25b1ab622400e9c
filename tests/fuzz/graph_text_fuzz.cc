// Any text as a graph: what parses verifies, and prints to text that parses to the same.
#include <cstdlib>

#include <headrace/error.h>

#include "graph/graph.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headrace;
  std::string text;
  try {
    const Graph graph = parse_graph({reinterpret_cast<const char*>(data), size});
    verify(graph);
    text = print(graph);
  } catch (const Error&) {
    return 0;
  }
  if (print(parse_graph(text)) != text) std::abort();
  return 0;
}
