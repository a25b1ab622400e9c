// What the compiler makes of the test networks for a GPU, checked without one: cuDNN accepts every
// convolution (the device is described in JSON), and every generated kernel compiles for each architecture
// that its tactic is written for. Networks that were not generated, and missing libraries, are skipped with
// the reason.
#if defined(HEADRACE_CUDA) && defined(HEADRACE_CUDNN)
#include <filesystem>
#include <set>

#include <gtest/gtest.h>

#include "backends/cuda/codegen_tactic.h"
#include "backends/cuda/cudnn_conv.h"
#include "backends/cuda/nvrtc.h"
#include "compiler/compiler.h"
#include "device/host_device.h"
#include "onnx/import.h"
#include "support/described_gpu.h"
#include "support/paths.h"

namespace headrace::cuda {
namespace {

struct Asked {
  const Tactic* tactic;
  Problem problem;
};

/// A tactic of the backend that notes what it is chosen for; nothing of it needs the machine.
class Noting final : public Tactic {
 public:
  Noting(const Tactic& inner, std::vector<Asked>& asked) : inner_(inner), asked_(asked) {}
  std::string_view id() const override { return inner_.id(); }
  std::optional<Refusal> refuses(const Problem& p) const override { return inner_.refuses(p); }
  Layout preferred_layout(const Problem& p) const override { return inner_.preferred_layout(p); }
  bool in_place(const Problem& p, std::size_t src, std::size_t dst) const override {
    return inner_.in_place(p, src, dst);
  }
  std::optional<Packed> pack(const Problem& p, const Choice& choice, std::size_t index,
                             const HostTensor& data) const override {
    return inner_.pack(p, choice, index, data);
  }
  Choice by_rule(const Problem& p) const override {
    asked_.push_back({&inner_, p});
    return dynamic_cast<const GeneratedTactic*>(&inner_) ? inner_.by_rule(p) : Choice{};
  }
  std::unique_ptr<Kernel> make(const Problem&, const Choice&) const override {
    throw Error(ErrorCode::internal, "nothing is run here");
  }

 private:
  const Tactic& inner_;
  std::vector<Asked>& asked_;
};

struct Network {
  const char *folder, *file;
  std::vector<compiler::InputRange> shapes;
};

compiler::InputRange fixed(const char* input, const Shape& shape) { return {input, shape, shape, shape}; }

std::vector<Network> networks() {
  const auto batch = fixed("*", {8});
  return {{"models", "resnet18", {batch}},
          {"models", "resnet50", {batch}},
          {"models", "mobilenet_v2", {batch}},
          {"models", "mobilenet9", {}},
          {"models", "pointpillars_rpn", {}},
          {"models", "yolox_m", {batch}},
          {"ocr", "ch_PP-OCRv4_det_infer", {fixed("x", {1, 3, 640, 640})}},
          {"ocr", "ch_PP-OCRv4_rec_infer", {fixed("x", {1, 3, 48, 320})}},
          {"ocr", "ch_ppocr_mobile_v2.0_cls_infer", {fixed("x", {1, 3, 48, 192})}}};
}

class CudaNetworks : public testing::TestWithParam<Network> {
 protected:
  void SetUp() override {
    const Network& n = GetParam();
    file_ = test::source_dir() + "/.deps/" + n.folder + "/" + n.file + ".onnx";
    if (!std::filesystem::exists(file_))
      GTEST_SKIP() << n.file << ".onnx was not generated (./dev setup makes the test networks)";
  }
  /// What is chosen for the network by rule.
  std::vector<Asked> compile() {
    std::vector<Asked> asked;
    Backend noting{.name = "cuda", .make_device = {}, .list_devices = {}, .tactics = {}};
    noting.make_device = [](std::string_view) {
      HostDeviceOptions options;
      options.separate_memory = true;
      return make_host_device(options);
    };
    for (const auto& tactic : backend_.tactics)
      noting.tactics.push_back(std::make_unique<Noting>(*tactic, asked));
    Registry registry;
    registry.add(std::move(noting));
    compiler::Options options;
    options.device = "cuda:0";
    options.precision = Precision::fp16;
    options.opt_level = 0;
    if (!GetParam().shapes.empty()) options.profiles = {GetParam().shapes};
    static_cast<void>(compiler::compile(onnx::import_file(file_), registry, options));
    EXPECT_GT(asked.size(), 10u);
    return asked;
  }
  std::string file_;
  Backend backend_ = make_cuda_backend();
};
INSTANTIATE_TEST_SUITE_P(All, CudaNetworks, testing::ValuesIn(networks()), [](const auto& info) {
  std::string name = info.param.file;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

TEST_P(CudaNetworks, CudnnTakesEveryConvolution) {
  std::string why;
  if (!try_cudnn(&why)) GTEST_SKIP() << why;
  const CudnnTarget target = CudnnTarget::described(test::kDescribedGpu);
  std::set<std::string> seen;
  for (const Asked& a : compile()) {
    if (!dynamic_cast<const CudnnConvTactic*>(a.tactic)) continue;
    std::string text = to_string(a.problem.op, ShapeProgram());
    for (const TensorDesc& d : a.problem.srcs) text += " " + to_string(d);
    if (!seen.insert(text).second) continue;
    SCOPED_TRACE(text);
    const auto by_rule = rule_choice(a.problem, target);
    if (!by_rule) {
      ADD_FAILURE() << "cuDNN has no plan";
      continue;
    }
    auto graph = lower_conv(a.problem, by_rule->form);
    ASSERT_TRUE(graph && graph->graph.finalize(target));
    const auto engine = find_engine(graph->graph, target, by_rule->config.engine);
    EXPECT_TRUE(engine && !engine->traits.runtime_compiled) << to_string(*by_rule);
    // Of what the tuner would look at first, a good part can be made.
    std::size_t works = 0;
    for (const ConvChoice& choice : conv_choices(a.problem, target)) {
      if (choice.form != by_rule->form) continue;
      works += try_plan(graph->graph, target, choice.config).has_value();
      if (works == 5) break;
    }
    EXPECT_GE(works, 1u);
  }
  EXPECT_GT(seen.size(), 5u);
  RecordProperty("convolutions", static_cast<int>(seen.size()));
}

TEST_P(CudaNetworks, EveryGeneratedKernelCompiles) {
  std::string why;
  if (!nvrtc_found(&why)) GTEST_SKIP() << why;
  std::set<std::pair<std::string, std::string>> seen;
  for (const Asked& a : compile()) {
    const auto* tactic = dynamic_cast<const GeneratedTactic*>(a.tactic);
    if (!tactic) continue;
    for (const KernelSource& kernel : tactic->generate(a.problem, tactic->by_rule(a.problem)).launches)
      for (const std::string& arch : tactic->architectures()) {
        if (!seen.insert({kernel.source, arch}).second) continue;
        try {
          EXPECT_FALSE(compile_uncached(kernel.source, std::string(tactic->id()), arch).empty());
        } catch (const Error& e) {
          ADD_FAILURE() << tactic->id() << " for " << arch << ": " << e.what();
        }
      }
  }
  EXPECT_GT(seen.size(), 0u);
}

}  // namespace
}  // namespace headrace::cuda
#endif
