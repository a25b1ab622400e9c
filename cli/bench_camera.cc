// headrace bench camera: frames through a network, one after the other or in a pipeline.
#include <fmt/format.h>

#include <headrace/camera.h>

#include "bench.h"

namespace headrace::cli {
namespace {

struct Options {
  TargetFlags target;
  CameraOptions camera;
  std::string preprocess = "auto", json;
};

Json way_json(const CameraWay& way) {
  return {{"name", way.name},
          {"frames_per_s", way.frames_per_s},
          {"delivered", way.delivered},
          {"dropped", way.dropped},
          {"wrong", way.wrong},
          {"torn", way.torn},
          {"age", summary_json(way.ages)}};
}

Json memory_json(const CameraMemory& m) {
  const auto us = [](std::chrono::nanoseconds t) { return static_cast<double>(t.count()) * 1e-3; };
  const bool known = m.device.count() > 0;
  return {{"name", m.name},
          {"end_to_end", summary_json(m.end_to_end)},
          {"device_us", known ? Json(us(m.device)) : Json()},
          {"overhead_us", known ? Json(us(m.overhead())) : Json()},
          {"copies", m.copies},
          {"upload_bytes", m.upload_bytes},
          {"wrong", m.wrong}};
}

double milliseconds(const std::string& text) {
  if (text == "auto") return -1;
  double value = -1;
  if (!CLI::detail::lexical_cast(text, value) || !(value >= 0))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--preprocess-ms takes milliseconds or auto, not '{}'", text));
  return value;
}

int run(Options& o) {
  o.camera.target = o.target.resolve();
  o.camera.preprocess_ms = milliseconds(o.preprocess);
  const CameraReport r = run_camera(o.camera);
  Json json = run_json(r);
  json["frames"] = r.frames;
  json["distinct_images"] = r.distinct;
  json["fps"] = r.fps;
  json["preprocess_us"] = static_cast<double>(r.preprocess.count()) * 1e-3;
  json["inference_us"] = static_cast<double>(r.inference.count()) * 1e-3;
  json["ways"] = Json::array();
  for (const CameraWay& way : r.ways) json["ways"].push_back(way_json(way));
  json["ratio"] = r.ratio();
  json["slowest"] = r.slowest;
  json["memory"] = Json::array();
  for (const CameraMemory& m : r.memory) json["memory"].push_back(memory_json(m));
  if (o.json != "-") fmt::print("{}", to_text(r));
  write_json(o.json, json);
  if (r.wrong() == 0) return kOk;
  fmt::print(stderr, "headrace: {} results are not those of their frame\n", r.wrong());
  return kMismatch;
}

}  // namespace

void add_bench_camera(CLI::App& bench, int& exit) {
  auto o = std::make_shared<Options>();
  CameraOptions& c = o->camera;
  CLI::App* sub = bench.add_subcommand("camera", "Frames through a network: blocking, and in a pipeline");
  o->target.add_to(*sub);
  sub->add_option("--batch", o->target.target.batch, "images of a frame, where the first axis is dynamic")
      ->check(CLI::Range(1, 1 << 20));
  sub->add_option("--frames", c.frames, "how many")->check(CLI::Range(2, 1'000'000))->capture_default_str();
  sub->add_option("--fps", c.fps, "frames come at this rate; otherwise as fast as they are taken")
      ->check(CLI::Range(0.001, 1e6));
  sub->add_option("--preprocess-ms", o->preprocess, "of each frame, or auto: as long as an inference")
      ->capture_default_str();
  sub->add_option("--overflow", c.overflow,
                  "frames that come too fast: block, drop_oldest, drop_newest, latest")
      ->transform(
          CLI::CheckedTransformer(std::map<std::string, Overflow>{{"block", Overflow::block},
                                                                  {"reject", Overflow::reject},
                                                                  {"drop_oldest", Overflow::drop_oldest},
                                                                  {"drop_newest", Overflow::drop_newest},
                                                                  {"latest", Overflow::latest}},
                                  CLI::ignore_case));
  sub->add_option("--slots", c.slots, "frames in flight")->check(CLI::Range(1, 4096))->capture_default_str();
  sub->add_option("--compare", c.compare, "host memory: pageable,pinned,arena,u8")->delimiter(',');
  sub->add_option("--break-frame", c.broken_frame, "for tests: this frame shows another one")->group("");
  sub->add_option("--json", o->json, "write the figures as JSON ('-': standard output)");
  sub->callback([o, &exit] { exit = run(*o); });
}

}  // namespace headrace::cli
