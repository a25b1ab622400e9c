// bench --compare: the peers' processes start, end and explain themselves, and leave nothing behind. The
// peers here are scripts that only speak the protocol of bench/peer.py; compare_test.py has the real ones.
#include <cerrno>
#include <csignal>

#include "cli/cli_test.h"

namespace headrace::test {
namespace {

struct CliCompare : CliTest {
  void SetUp() override {
    CliTest::SetUp();
    limit_s_ = 60;
    temporary_folder_ = path("tmp");
    fs::create_directory(temporary_folder_);
    plan_ = build_small();
  }

  /// A peer that notes its process id in FOLDER/NAME.pid and then does `body` (Python; `name`, `folder`,
  /// `say` and `serve` are there).
  CommandResult compare(const std::string& body, const std::vector<std::string>& more = {}) {
    write_all(path("peer.py"),
              "import json, os, sys\n"
              "name, folder = sys.argv[1], os.path.dirname(os.path.abspath(__file__))\n"
              "open(f'{folder}/{name}.pid', 'w').write(str(os.getpid()))\n"
              "def say(message): print(json.dumps(message), flush=True)\n"
              "def serve(files={}, runs=1000):\n"
              "  say({'ready': True, 'version': '1.2'})\n"
              "  for line in sys.stdin:\n"
              "    if line.startswith('run'):\n"
              "      if runs == 0: sys.exit('out of runs')\n"
              "      runs -= 1\n"
              "      say({'ms': [2.0] * int(line.split()[1])})\n"
              "    else:\n"
              "      say({'ok': True, 'files': files})\n" +
                  body + "\n");
    std::vector<std::string> arguments = {"bench",         plan_,
                                          "--compare",     "onnxruntime,openvino",
                                          "--onnx",        path("small.onnx"),
                                          "--peer-script", path("peer.py"),
                                          "--rounds",      "3",
                                          "--iterations",  "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return headrace(arguments);
  }

  void expect_nothing_left() const {
    EXPECT_TRUE(fs::is_empty(temporary_folder_)) << fs::directory_iterator(temporary_folder_)->path();
    for (const char* name : {"onnxruntime", "openvino"}) {
      const std::string text = read_all(path(name + std::string(".pid")));
      if (text.empty()) continue;
      EXPECT_EQ(::kill(std::stoi(text), 0), -1) << name << " still runs";
      EXPECT_EQ(errno, ESRCH) << name;
    }
  }

  void expect_refused(const CommandResult& r, const std::string& message) const {
    EXPECT_EQ(r.exit_code, 5) << r.err;
    EXPECT_THAT(r.err, HasSubstr("error (unsupported): the peer '"));
    EXPECT_THAT(r.err, HasSubstr(message));
    expect_nothing_left();
  }

  std::string plan_;
};

TEST_F(CliCompare, TwoPeersEndWithTheBench) {
  const CommandResult r = compare("serve()", {"--json", "-"});
  ASSERT_EQ(r.exit_code, 0) << (r.exit_code == 128 + SIGALRM ? "it hangs " : "") << r.err;
  const Json json = Json::parse(r.out);
  ASSERT_EQ(json["peers"].size(), 2u);
  for (const char* name : {"onnxruntime", "openvino"}) {
    const Json& peer = json["peers"][name];
    EXPECT_EQ(peer["version"], "1.2");
    EXPECT_EQ(peer["latency_ms"]["n"], 6);
    EXPECT_EQ(peer["latency_ms"]["p99"], 2.0);
    EXPECT_EQ(peer["throughput_per_s"], 500.0);
    EXPECT_EQ(peer["ratio"]["rounds"], 3);
    EXPECT_GT(peer["ratio"]["median"], 0);
    EXPECT_FALSE(read_all(path(name + std::string(".pid"))).empty()) << "it never ran";
  }
  EXPECT_EQ(json["latency_ms"]["n"], 6);
  expect_nothing_left();
}

TEST_F(CliCompare, APeerThatDoesNotStartSaysWhy) {
  expect_refused(compare("raise RuntimeError('no engine here')"), "(RuntimeError: no engine here)");
  expect_refused(compare("sys.exit()"), "(it gave no reason)");
  expect_refused(compare("print('a greeting')"), "the peer 'onnxruntime' did not start or stopped");
  expect_refused(compare("say(['no', 'object'])"), "the peer 'onnxruntime' did not start or stopped");
  expect_refused(compare("say({'error': \"No module named 'onnxruntime'\"})"),
                 "failed: No module named 'onnxruntime'; `./dev bench` installs the peers");
  expect_refused(compare("say({'error': 'the model is odd'})"), "failed: the model is odd\n");
}

TEST_F(CliCompare, TheFirstEndsWhenTheSecondDoesNotStart) {
  expect_refused(compare("if name == 'openvino': sys.exit('not today')\nserve()"),
                 "the peer 'openvino' did not start or stopped (not today)");
}

TEST_F(CliCompare, APeerThatStopsHalfWay) {
  expect_refused(compare("serve(runs=1)"), "the peer 'onnxruntime' did not start or stopped (out of runs)");
}

TEST_F(CliCompare, OtherNumbersAreAMismatch) {
  const std::string y = save_f32("y.npy", {2, 5}, std::vector<float>(10, 1e3f));
  const CommandResult r = compare("serve({'y': folder + '/y.npy'})");
  EXPECT_EQ(r.exit_code, 11) << r.err;
  EXPECT_THAT(r.err, HasSubstr("outputs differ from a peer by "));
  expect_nothing_left();
}

}  // namespace
}  // namespace headrace::test
