// Builds a plan from the model named on the command line; without one, counts the operators that can be read.
#include <cstdio>

#include <headrace/headrace.h>

int main(int argc, char** argv) {
  try {
    if (argc > 2) {
      headrace::build(argv[1]).save(argv[2]);
      return 0;
    }
    std::printf("%zu operators\n", headrace::supported_operators().size());
    return headrace::supported_operators().empty() ? 1 : 0;
  } catch (const headrace::Error& error) {
    std::printf("%s\n", error.what());
    return 1;
  }
}
