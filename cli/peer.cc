#include "peer.h"

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef HEADRACE_SOURCE_DIR
#define HEADRACE_SOURCE_DIR "."
#endif

namespace headrace::cli {
namespace fs = std::filesystem;

namespace {

std::string quoted(const std::string& text) { return "'" + text + "'"; }

// The last line with something in it; that is where Python says what went wrong.
std::string last_line(const std::string& path) {
  std::ifstream file(path);
  std::string last;
  for (std::string line; std::getline(file, line);)
    if (line.find_first_not_of(" \t\r") != std::string::npos) last = line;
  return last;
}

}  // namespace

std::string default_peer_script() {
  const fs::path script = fs::path(HEADRACE_SOURCE_DIR) / "bench/peer.py";
  if (!fs::exists(script))
    throw Error(ErrorCode::unsupported,
                fmt::format("peers run from a source tree, and '{}' is not there", script.string()));
  return script.string();
}

Peer::Peer(const std::string& name, const std::string& script, const std::string& onnx, int threads,
           const std::vector<std::string>& outputs)
    : Peer(name) {
  // Everything is prepared before the fork: other threads may hold locks of the allocator in that moment.
  const fs::path venv = fs::path(HEADRACE_SOURCE_DIR) / ".deps/venv/bin/python";
  const std::string python = fs::exists(venv) ? venv.string() : "python3", count = std::to_string(threads);
  const std::string wanted = fmt::format("--outputs={}", fmt::join(outputs, "\n"));
  const char* const arguments[] = {python.c_str(),
                                   script.c_str(),
                                   name.c_str(),
                                   onnx.c_str(),
                                   "--threads",
                                   count.c_str(),
                                   outputs.empty() ? nullptr : wanted.c_str(),
                                   nullptr};
  std::string pattern = (fs::temp_directory_path() / "headrace-peer-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    throw Error(ErrorCode::io, "could not make a temporary folder for the peer's inputs");
  folder_ = pattern;
  const std::string complaints = folder_ + "/stderr.txt", no_python = "could not run " + python + "\n";
  // Closed on exec: a peer that held another's pipe would keep it waiting for the end of its input.
  int to[2], from[2];
  if (pipe2(to, O_CLOEXEC) != 0) throw Error(ErrorCode::io, "could not make a pipe for the peer's process");
  to_ = fdopen(to[1], "w");
  if (pipe2(from, O_CLOEXEC) != 0) {
    close(to[0]);
    throw Error(ErrorCode::io, "could not make a pipe for the peer's process");
  }
  from_ = fdopen(from[0], "r");
  std::signal(SIGPIPE, SIG_IGN);
  pid_ = fork();
  if (pid_ == 0) {
    const int err = open(complaints.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (dup2(to[0], 0) == 0 && dup2(from[1], 1) == 1 && dup2(err, 2) == 2)
      execvp(arguments[0], const_cast<char* const*>(arguments));
    static_cast<void>(!write(2, no_python.data(), no_python.size()));
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  if (pid_ < 0) throw Error(ErrorCode::io, "could not start the peer's process");
  version_ = answer().value("version", "");
}

Peer::~Peer() {
  if (to_) std::fclose(to_);  // the end of its input ends the peer
  if (from_) std::fclose(from_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  if (!folder_.empty()) fs::remove_all(folder_, ignored);
}

Json Peer::answer() {
  std::string line;
  for (int c; (c = std::fgetc(from_)) != EOF && c != '\n';) line += static_cast<char>(c);
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) {
    const std::string said = last_line(folder_ + "/stderr.txt");
    throw Error(ErrorCode::unsupported,
                fmt::format("the peer '{}' did not start or stopped ({}); `./dev bench` "
                            "installs it into the project's Python environment",
                            name_, said.empty() ? "it gave no reason" : said));
  }
  if (json.contains("error")) {
    const std::string why = json["error"].is_string() ? json["error"].get<std::string>() : line;
    const bool missing = why.find("No module named") != std::string::npos;
    throw Error(ErrorCode::unsupported, fmt::format("the peer '{}' failed: {}{}", name_, why,
                                                    missing ? "; `./dev bench` installs the peers" : ""));
  }
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
