// Nodes that reach no output go.
#include "passes/pass.h"

namespace headrace::passes {

bool dead_code(Graph& graph, const PassContext&) { return graph.erase_dead(); }

}  // namespace headrace::passes
