// Loads the plan named on the command line; without one, checks that a missing plan is reported as such.
#include <cstdio>

#include <headrace/runtime.h>
#include <headrace/session.h>

int main(int argc, char** argv) {
  try {
    headrace::Engine engine = headrace::Engine::load(argc > 1 ? argv[1] : "no_such.plan");
    for (const headrace::TensorInfo& input : engine.inputs()) {
      std::printf("%s %s\n", input.name.c_str(), input.shape_text.c_str());
    }
    return 0;
  } catch (const headrace::Error& error) {
    std::printf("%s\n", error.what());
    return argc == 1 && error.code() == headrace::ErrorCode::io ? 0 : 1;
  }
}
