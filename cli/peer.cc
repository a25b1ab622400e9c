#include "peer.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef HEADRACE_SOURCE_DIR
#define HEADRACE_SOURCE_DIR "."
#endif

namespace headrace::cli {
namespace fs = std::filesystem;

namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }

}  // namespace

Peer::Peer(const std::string& name, const std::string& onnx, int threads) : name_(name) {
  if (name != "onnxruntime" && name != "openvino")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}' is no known peer; use onnxruntime, openvino", name));
  const fs::path root = HEADRACE_SOURCE_DIR;
  const fs::path script = root / "bench/peer.py";
  if (!fs::exists(script))
    throw Error(ErrorCode::unsupported,
                fmt::format("peers run from a source tree, and '{}' is not there", script.string()));
  const fs::path venv = root / ".deps/venv/bin/python";
  const std::string python = fs::exists(venv) ? venv.string() : "python3";
  int to[2], from[2];
  if (pipe(to) != 0 || pipe(from) != 0)
    throw Error(ErrorCode::io, "could not make a pipe for the peer's process");
  std::signal(SIGPIPE, SIG_IGN);
  pid_ = fork();
  if (pid_ < 0) throw Error(ErrorCode::io, "could not start the peer's process");
  if (pid_ == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    for (int fd : {to[0], to[1], from[0], from[1]}) close(fd);
    const std::string count = std::to_string(threads), file = script.string();
    execlp(python.c_str(), python.c_str(), file.c_str(), name.c_str(), onnx.c_str(), "--threads",
           count.c_str(), nullptr);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  to_ = fdopen(to[1], "w");
  from_ = fdopen(from[0], "r");
  std::string pattern = (fs::temp_directory_path() / "headrace-peer-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    throw Error(ErrorCode::io, "could not make a temporary folder for the peer's inputs");
  folder_ = pattern;
  version_ = answer().value("version", "");
}

Peer::~Peer() {
  if (to_) std::fclose(to_);
  if (from_) std::fclose(from_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

Json Peer::answer() {
  std::string line;
  for (int c; (c = std::fgetc(from_)) != EOF && c != '\n';) line += static_cast<char>(c);
  const Json json = Json::parse(line, nullptr, false);
  if (json.is_discarded())
    throw Error(ErrorCode::unsupported, fmt::format("the peer '{}' did not start or stopped; `./dev bench` "
                                                    "installs it into the project's Python environment",
                                                    name_));
  if (json.contains("error"))
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}", name_, json["error"].get<std::string>()));
  return json;
}

Json Peer::ask(const std::string& line) {
  std::fputs((line + "\n").c_str(), to_);
  std::fflush(to_);
  return answer();
}

void Peer::prepare(const std::vector<NamedTensor>& inputs) {
  std::string line = "prepare";
  for (const NamedTensor& t : inputs) {
    const std::string path = (fs::path(folder_) / (file_name(t.name) + ".npy")).string();
    save_npy(path, t.tensor.view());
    line += " " + quoted(t.name + "=" + path);
  }
  ask(line);
}

std::vector<double> Peer::run(int count) {
  return ask(fmt::format("run {}", count)).at("ms").get<std::vector<double>>();
}

std::map<std::string, Tensor> Peer::outputs() {
  std::map<std::string, Tensor> result;
  const Json json = ask("outputs " + quoted((fs::path(folder_) / "out").string()));
  for (const auto& [name, path] : json.at("files").items())
    result.emplace(name, load_npy(path.get<std::string>()));
  return result;
}

}  // namespace headrace::cli
