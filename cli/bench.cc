// headrace bench PLAN: awaited latencies and throughput, alone or against peers in interleaved rounds.
#include "bench.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include "peer.h"
#include "throughput.h"

namespace headrace::cli {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  std::string plan, json, onnx, compare, peer_script;
  LoadFlags load;
  std::vector<std::string> shapes;
  std::int64_t batch = 0;
  int rounds = 15, iterations = 0;
  SessionOptions session{};
  double seconds = 3;
  bool profile = false;
};

double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

/// A blocking inference loop on memory made once.
class Runner {
 public:
  Runner(const Engine& engine, const ShapeMap& shapes) : engine_(engine), context_(engine) {
    std::uint64_t seed = 1;
    for (const TensorInfo& info : engine.inputs())
      inputs_.push_back({info.name, random_tensor(info, shapes.at(info.name), seed++)});
    for (const NamedTensor& t : inputs_) views_.push_back({t.name, t.tensor.view()});
    const ShapeMap out = context_.prepare(shapes);
    for (const TensorInfo& info : engine.outputs())
      outputs_.push_back({info.name, Tensor(info.dtype, out.at(info.name))});
    for (NamedTensor& t : outputs_) results_.push_back(t.tensor.view());
  }
  double run_ms() {
    const auto begin = Clock::now();
    context_.infer(views_, results_);
    return ms_since(begin);
  }
  const std::vector<NamedTensor>& inputs() const { return inputs_; }
  const std::vector<NamedTensor>& outputs() const { return outputs_; }
  Context& context() { return context_; }

 private:
  const Engine& engine_;
  Context context_;
  std::vector<NamedTensor> inputs_, outputs_;
  std::vector<NamedView> views_;
  std::vector<TensorView> results_;
};

/// Largest difference over the output's scale, over all f32 outputs.
double difference(const std::vector<NamedTensor>& ours, const std::map<std::string, Tensor>& theirs) {
  double worst = 0;
  for (const NamedTensor& mine : ours) {
    const auto it = theirs.find(mine.name);
    if (it == theirs.end() || mine.tensor.dtype() != DType::f32) continue;
    const auto a = mine.tensor.as<float>();
    const auto b = it->second.as<float>();
    if (a.size() != b.size()) return INFINITY;
    double scale = 1e-12, error = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      scale = std::max<double>(scale, std::abs(b[i]));
      const double d = std::abs(static_cast<double>(a[i]) - b[i]);
      error = std::isnan(d) ? INFINITY : std::max(error, d);
    }
    worst = std::max(worst, error / scale);
  }
  return worst;
}

int run(const Options& o) {
  const auto load_begin = Clock::now();
  const Engine engine = Engine::load(o.plan, o.load.options());
  const ShapeMap shapes = choose_shapes(engine, o.shapes, o.batch);
  Runner runner(engine, shapes);
  const double first_ms = runner.run_ms();
  const double ready_ms = ms_since(load_begin);
  for (int i = 0; i < 3; ++i) runner.run_ms();

  std::vector<double> ms;
  Json peers = Json::object();
  double worst = 0;
  if (o.compare.empty()) {
    const auto begin = Clock::now();
    while (o.iterations > 0 ? ms.size() < static_cast<std::size_t>(o.iterations)
                            : ms_since(begin) < o.seconds * 1000 || ms.size() < 5)
      ms.push_back(runner.run_ms());
  } else {
    const std::string script = o.peer_script.empty() ? default_peer_script() : o.peer_script;
    std::vector<std::unique_ptr<Peer>> processes;
    for (std::size_t i = 0; i <= o.compare.size();) {
      const std::size_t end = std::min(o.compare.find(',', i), o.compare.size());
      processes.push_back(
          std::make_unique<Peer>(o.compare.substr(i, end - i), script, o.onnx, engine.threads()));
      processes.back()->prepare(as_model_inputs(engine, runner.inputs()));
      worst = std::max(worst, difference(runner.outputs(), processes.back()->outputs()));
      i = end + 1;
    }
    const double one = runner.run_ms();
    const int per_round =
        o.iterations > 0
            ? o.iterations
            : std::clamp(static_cast<int>(o.seconds * 1000 / o.rounds / std::max(one, 0.01)), 1, 200);
    std::vector<std::vector<double>> peer_ms(processes.size()), ratios(processes.size());
    for (int round = 0; round < o.rounds; ++round) {
      std::vector<double> mine;
      const auto measure_mine = [&] {
        for (int i = 0; i < per_round; ++i) mine.push_back(runner.run_ms());
      };
      if (round % 2 == 0) measure_mine();
      std::vector<double> medians;
      for (std::size_t p = 0; p < processes.size(); ++p) {
        const std::vector<double> theirs = processes[p]->run(per_round);
        peer_ms[p].insert(peer_ms[p].end(), theirs.begin(), theirs.end());
        medians.push_back(percentile(theirs, 0.5));
      }
      if (round % 2 == 1) measure_mine();
      for (std::size_t p = 0; p < processes.size(); ++p)
        ratios[p].push_back(medians[p] / percentile(mine, 0.5));
      ms.insert(ms.end(), mine.begin(), mine.end());
    }
    for (std::size_t p = 0; p < processes.size(); ++p)
      peers[processes[p]->name()] = {{"version", processes[p]->version()},
                                     {"latency_ms", latency_json(peer_ms[p])},
                                     {"throughput_per_s", 1000 / percentile(peer_ms[p], 0.5)},
                                     {"ratio",
                                      {{"median", percentile(ratios[p], 0.5)},
                                       {"p10", percentile(ratios[p], 0.1)},
                                       {"p90", percentile(ratios[p], 0.9)},
                                       {"rounds", o.rounds}}}};
  }
  runner.run_ms();
  const int repeats = o.iterations > 0 ? o.iterations : 200;
  const std::vector<double> device_us = runner.context().device_times_us(repeats);
  const std::optional<double> clock_mhz = engine.clock_mhz();  // right after work: not an idle one
  const std::vector<double> enqueue_us = runner.context().enqueue_times_us(repeats);
  const CopyTimes copies = runner.context().copy_times_us(50);
  const Throughput flight = measure_throughput(
      engine, shapes, runner.inputs(), runner.outputs(),
      {.session = o.session,
       .seconds = o.iterations > 0 ? 1e9 : std::max(0.2, o.seconds / 3),
       .iterations = o.iterations > 0 ? static_cast<std::size_t>(o.iterations) : SIZE_MAX});

  const EngineStatistics statistics = engine.statistics();
  Json json = {{"plan", o.plan},
               {"device", engine.device()},
               {"device_model", engine.device_model()},
               {"threads", engine.threads()},
               {"streams", o.session.contexts},
               {"shapes", shapes},
               {"load_and_first_inference_ms", ready_ms},
               {"first_inference_ms", first_ms},
               {"latency_ms", latency_json(ms)},
               {"throughput_per_s", flight.per_s},
               {"in_flight", flight.json},
               {"peers", peers},
               {"max_difference", worst},
               {"different_results", flight.different},
               {"launches", runner.context().launches()},
               {"tracing", !o.load.trace.empty()},
               {"hazards", engine.hazards()}};
  if (!device_us.empty()) json["device_us"] = times_json(device_us);
  if (!enqueue_us.empty()) json["enqueue_us"] = times_json(enqueue_us);
  if (clock_mhz) json["clock_mhz"] = *clock_mhz;
  json["memory"] = memory_json(statistics);
  if (!device_us.empty() && !copies.upload.empty()) {
    const double up = percentile(copies.upload, 0.5), down = percentile(copies.download, 0.5),
                 compute = percentile(device_us, 0.5), longest = std::max({up, compute, down});
    json["bound"] = {{"upload_us", up},
                     {"device_us", compute},
                     {"download_us", down},
                     {"reached", flight.per_s * longest * 1e-6},
                     {"overhead_us", flight.json["one_by_one_us"].get<double>() - up - compute - down}};
  }
  std::optional<LayerReport> layers;
  if (o.profile) {
    const double whole_us = device_us.empty() ? 1000 * percentile(ms, 0.5) : percentile(device_us, 0.5);
    layers = profile_layers(engine, runner.context(), whole_us);
    json["profile"] = layers->json();
  }
  Json trace = Json::object();
  save_trace(engine, o.load.trace, o.json == "-", trace);
  json.update(trace);
  if (o.json != "-") {
    fmt::print("device      {}\n", o.load.where(engine));
    const Json& l = json["latency_ms"];
    fmt::print(
        "latency     min {:.3f}  median {:.3f}  p90 {:.3f}  p99 {:.3f} ms, awaited, n = {}, {} threads\n",
        l["min"].get<double>(), l["median"].get<double>(), l["p90"].get<double>(), l["p99"].get<double>(),
        ms.size(), engine.threads());
    if (!device_us.empty())
      fmt::print("device      min {:.1f}  median {:.1f}  p90 {:.1f} us, without copies, n = {}\n",
                 percentile(device_us, 0), percentile(device_us, 0.5), percentile(device_us, 0.9),
                 device_us.size());
    if (!enqueue_us.empty())
      fmt::print("enqueue     min {:.1f}  median {:.1f}  p90 {:.1f} us of the host, n = {}; {} launch{}\n",
                 percentile(enqueue_us, 0), percentile(enqueue_us, 0.5), percentile(enqueue_us, 0.9),
                 enqueue_us.size(), runner.context().launches(),
                 runner.context().launches() == 1 ? "" : "es");
    if (clock_mhz) fmt::print("clock       {:.0f} MHz right after the inferences\n", *clock_mhz);
    fmt::print("throughput  {:.1f} inferences/s with {} in flight on {} contexts; submit {:.1f} us\n",
               flight.per_s, flight.slots, o.session.contexts, flight.json["submit_us"].get<double>());
    if (json.contains("bound")) {
      const Json& bound = json["bound"];
      fmt::print(
          "overlap     {:.2f} % of what max(upload {:.1f}, device {:.1f}, download {:.1f} us) allows\n",
          100 * bound["reached"].get<double>(), bound["upload_us"].get<double>(),
          bound["device_us"].get<double>(), bound["download_us"].get<double>());
      fmt::print("one by one  {:.1f} us submit to result; {:.1f} us more than upload + device + download\n",
                 flight.json["one_by_one_us"].get<double>(), bound["overhead_us"].get<double>());
    }
    fmt::print("start       load {:.1f} ms, first inference after {:.1f} ms\n", ready_ms - first_ms,
               ready_ms);
    for (const auto& [name, peer] : peers.items())
      fmt::print(
          "{:<11} median {:.3f} ms; headrace is {:.2f}x as fast (p10 {:.2f}, p90 {:.2f}, {} interleaved "
          "rounds)\n",
          name, peer["latency_ms"]["median"].get<double>(), peer["ratio"]["median"].get<double>(),
          peer["ratio"]["p10"].get<double>(), peer["ratio"]["p90"].get<double>(), o.rounds);
    if (!peers.empty())
      fmt::print("outputs     at most {:.2g} of the output's scale away from the peers\n", worst);
    print_memory(statistics);
    if (layers) layers->print();
  }
  for (const std::string& line : engine.hazards()) fmt::print(stderr, "hazard: {}\n", line);
  write_json(o.json, json);
  if (!engine.hazards().empty()) return kHazard;
  if (flight.different > 0) {
    fmt::print(stderr, "headrace: {} results with many in flight differ from the blocking ones\n",
               flight.different);
    return kMismatch;
  }
  if (worst > 1e-3) {
    fmt::print(stderr, "headrace: outputs differ from a peer by {:.3g} of their scale\n", worst);
    return kMismatch;
  }
  return kOk;
}

}  // namespace

void add_bench(CLI::App& app, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench", "Measure a plan: awaited latency, throughput, ratios to peers");
  CLI::Option* plan = sub->add_option("plan", o->plan, "the plan file");
  CLI::Option* shapes = sub->add_option("--shapes", o->shapes, "NAME=1x3x224x224, once for each input")
                            ->allow_extra_args(false);
  sub->add_option("--batch", o->batch, "batch of every dynamic input")
      ->check(CLI::PositiveNumber)
      ->excludes(shapes);
  sub->add_option("--streams", o->session.contexts, "contexts of the throughput part")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  o->session.slots = 0;
  sub->add_option("--slots", o->session.slots, "inferences in flight; 0: 4, or 2 per context")
      ->check(CLI::Range(0, 4096));
  sub->add_option("--wait", o->session.wait, "how threads wait: block, yield, spin")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, WaitPolicy>{
              {"block", WaitPolicy::block}, {"yield", WaitPolicy::yield}, {"spin", WaitPolicy::spin}},
          CLI::ignore_case));
  CLI::Option* seconds = sub->add_option("--seconds", o->seconds, "how long to measure")
                             ->check(CLI::PositiveNumber)
                             ->capture_default_str();
  sub->add_option("--iterations", o->iterations, "instead of --seconds")
      ->check(CLI::PositiveNumber)
      ->excludes(seconds);
  CLI::Option* onnx = sub->add_option("--onnx", o->onnx, "the model, for the peers");
  CLI::Option* compare =
      sub->add_option("--compare", o->compare, "onnxruntime, openvino, or both with a comma")->needs(onnx);
  compare->check(CLI::IsMember({"onnxruntime", "openvino", "onnxruntime,openvino", "openvino,onnxruntime"}));
  onnx->needs(compare);
  sub->add_option("--peer-script", o->peer_script, "in place of bench/peer.py, for tests")
      ->needs(compare)
      ->group("");  // hidden
  sub->add_option("--rounds", o->rounds, "interleaved rounds of --compare")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->needs(compare);
  sub->add_flag("--profile", o->profile, "each layer: time, and share of what this machine can do");
  o->load.add_to(*sub);
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->require_subcommand(0, 1);
  add_bench_copy(*sub, exit);
  add_bench_ladder(*sub, exit);
  add_bench_timing(*sub, exit);
  add_bench_camera(*sub, exit);
  add_bench_serve(*sub, exit);
  sub->callback([o, sub, plan, &exit] {
    if (!sub->get_subcommands().empty()) return;  // it has done its work
    if (plan->count() == 0) throw CLI::RequiredError("plan");
    exit = run(*o);
  });
}

}  // namespace headrace::cli
