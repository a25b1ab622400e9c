#include <cstdio>
#include <exception>

#include <fmt/format.h>

#include "cli.h"

using namespace headrace;

int main(int argc, char** argv) {
  CLI::App app{
      "headrace: an ONNX file in, a plan out; a plan in, awaited results out.\n\n"
      "  headrace build model.onnx -o model.plan\n"
      "  headrace run model.plan --seed 1 --output results/\n"
      "  headrace bench model.plan --batch 1\n",
      "headrace"};
  app.set_version_flag("--version", std::string(version()));
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 1 internal error; 2 wrong flags; 3 invalid argument or input; 4 invalid model;\n"
      "5 unsupported model; 6 invalid plan; 7 file error; 8 out of memory or over budget; 9 device; 10 "
      "misuse;\n"
      "11 outputs differ; 12 hazards found; 13 cancelled; 14 a gate fails.\n"
      "`headrace COMMAND --help` explains each command. Every command takes --json FILE ('-': standard "
      "output).");
  int exit = cli::kOk;
  cli::add_build(app, exit);
  cli::add_run(app, exit);
  cli::add_bench(app, exit);
  cli::add_inspect(app, exit);
  cli::add_verify(app, exit);
  cli::add_env(app, exit);
  cli::add_demo(app, exit);
  cli::add_node_test(app, exit);
  try {
    app.parse(argc, argv);
    return exit;
  } catch (const CLI::ParseError& e) {
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty()) {
      fmt::print(stderr, "headrace: '{}' is no command; `headrace --help` lists them\n", argv[1]);
      return cli::kUsage;
    }
    const int code = app.exit(e);
    return code == 0 ? cli::kOk : cli::kUsage;
  } catch (const Error& e) {
    fmt::print(stderr, "headrace: error ({}): {}\n", to_string(e.code()), e.what());
    return cli::exit_code(e.code());
  } catch (const std::bad_alloc&) {
    fmt::print(
        stderr,
        "headrace: error (out_of_memory): the machine has no memory left for this; try smaller shapes\n");
    return cli::kOutOfMemory;
  } catch (const std::exception& e) {
    fmt::print(stderr, "headrace: internal error: {}\n", e.what());
    return cli::kInternal;
  }
}
