#include <algorithm>
#include <chrono>
#include <deque>
#include <filesystem>

#include <fmt/format.h>

#include "cli.h"
#include "ocr/ocr.h"

namespace headrace::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::vector<std::string> images;
  std::string models, output = "headrace-demo.png", dump, json;
  int threads = 0, repeat = 1;
};

constexpr std::size_t kInFlight = 4;  // pictures: their results wait here until they are printed

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

// Where the source tree was at build time; empty when that is not known.
fs::path source_folder() {
#ifdef HEADRACE_SOURCE_DIR
  return HEADRACE_SOURCE_DIR;
#else
  return {};
#endif
}

std::string default_image() {
  std::vector<std::string> found;
  std::error_code failed;
  for (const fs::directory_entry& entry :
       fs::directory_iterator(source_folder() / "examples/ocr/data", failed))
    if (const fs::path end = entry.path().extension(); end == ".jpg" || end == ".png")
      found.push_back(entry.path().string());
  if (found.empty())
    throw Error(ErrorCode::invalid_argument,
                "no picture given, and the source tree with headrace's own ones is not there; "
                "run `headrace demo IMAGE.png`");
  return *std::min_element(found.begin(), found.end());
}

std::string models_folder(const std::string& given) {
  if (!given.empty()) return given;
  if (source_folder().empty())
    throw Error(ErrorCode::invalid_argument,
                "where the OCR networks lie is not known; give --models DIR (`./dev demo` fetches them)");
  return (source_folder() / ".deps/ocr").string();
}

// Writes what the networks take and give as DIR/NAME.npy.
ocr::Probe dump_into(const std::string& folder) {
  if (folder.empty()) return {};
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    throw Error(ErrorCode::io, fmt::format("could not make the folder '{}': {}", folder, failed.message()));
  return [folder](const std::string& name, ConstTensorView tensor) {
    save_npy((fs::path(folder) / (name + ".npy")).string(), tensor);
  };
}

Json to_json(const ocr::Times& t) {
  return {{"detect", t.detect},
          {"crops", t.crops},
          {"classify", t.classify},
          {"recognise", t.recognise},
          {"total", t.total}};
}

// Each stage's median over the warm runs.
ocr::Times median(const std::vector<ocr::Times>& runs) {
  const auto of = [&](double ocr::Times::*stage) {
    std::vector<double> values;
    for (const ocr::Times& t : runs) values.push_back(t.*stage);
    std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                     values.end());
    return values[values.size() / 2];
  };
  return {of(&ocr::Times::detect), of(&ocr::Times::crops), of(&ocr::Times::classify),
          of(&ocr::Times::recognise), of(&ocr::Times::total)};
}

// Prints the lines of a picture and draws their boxes into `output`.
Json finish(const std::string& path, ocr::Result& result, const std::string& output, bool quiet) {
  ocr::Image& picture = result.picture;
  Json json = {
      {"image", path}, {"width", picture.width}, {"height", picture.height}, {"lines", Json::array()}};
  if (!quiet) fmt::print("{} ({} x {} pixels)\n", path, picture.width, picture.height);
  if (!quiet && result.lines.empty()) fmt::print("  no text found\n");
  for (const ocr::Line& line : result.lines) {
    Json box = Json::array();
    std::string corners;
    for (ocr::Point p : line.box) {
      box.push_back({p.x, p.y});
      corners += fmt::format(" {:.0f},{:.0f}", p.x, p.y);
    }
    if (!quiet) fmt::print("  {:5.1f} %  {}   [{}]\n", line.confidence * 100, line.text, corners.substr(1));
    json["lines"].push_back({{"text", line.text}, {"confidence", line.confidence}, {"box", box}});
    ocr::draw_quad(picture, line.box, std::max(1, std::max(picture.width, picture.height) / 500));
  }
  ocr::write_png(output, picture);
  if (!quiet) fmt::print("{} lines; boxes drawn into {}\n", result.lines.size(), output);
  json["output"] = output;
  json["ms"] = to_json(result.ms);
  json["ms"]["read_image"] = result.read_ms;
  return json;
}

Json read_one(ocr::Ocr& reader, const std::string& path, const Options& o, bool quiet) {
  ocr::Result result = reader.submit({.path = path, .picture = {}, .probe = dump_into(o.dump)}).get();
  std::vector<ocr::Times> warm;
  for (int i = 1; i < o.repeat; ++i) warm.push_back(reader.read(result.picture).ms);
  Json json = finish(path, result, o.output, quiet);
  if (!warm.empty()) json["warm_ms"] = to_json(median(warm));
  if (!quiet) {
    const auto row = [](const char* name, const ocr::Times& t) {
      fmt::print("{}: detect {:.1f}, crops {:.1f}, classify {:.1f}, recognise {:.1f}, total {:.1f} ms\n",
                 name, t.detect, t.crops, t.classify, t.recognise, t.total);
    };
    fmt::print("picture read in {:.1f} ms\n", result.read_ms);
    row("first run", result.ms);
    if (!warm.empty()) row(fmt::format("warm, median of {}", warm.size()).c_str(), median(warm));
  }
  return json;
}

// `drawn.png` becomes `drawn-2.png` for the second of several.
std::string numbered(const std::string& output, std::size_t number) {
  const fs::path path(output);
  return (path.parent_path() /
          fmt::format("{}-{}{}", path.stem().string(), number, path.extension().string()))
      .string();
}

// Several pictures are under way at once. One that cannot be read is no reason not to read the others.
Json read_all(ocr::Ocr& reader, const Options& o, bool quiet) {
  const auto start = std::chrono::steady_clock::now();
  Json json = {{"pictures", Json::array()}};
  std::deque<std::pair<std::size_t, std::future<ocr::Result>>> waiting;
  std::exception_ptr failure;
  const auto take_oldest = [&] {
    auto [i, future] = std::move(waiting.front());
    waiting.pop_front();
    try {
      ocr::Result result = future.get();
      json["pictures"].push_back(finish(o.images[i], result, numbered(o.output, i + 1), quiet));
    } catch (const Error&) {
      if (!failure) failure = std::current_exception();
    }
  };
  for (std::size_t i = 0; i < o.images.size(); ++i) {
    if (waiting.size() == kInFlight) take_oldest();
    waiting.emplace_back(i, reader.submit({.path = o.images[i]}));
  }
  while (!waiting.empty()) take_oldest();
  if (failure) std::rethrow_exception(failure);
  json["ms"] = {{"total", milliseconds_since(start)}};
  const PipelineReport report = reader.report();
  json["slowest_stage"] = report.slowest()->name;
  if (!quiet)
    fmt::print("{} pictures in {:.1f} ms; slowest stage: {}\n", o.images.size(),
               json["ms"]["total"].get<double>(), report.slowest()->name);
  return json;
}

int demo(const Options& o) {
  const bool quiet = o.json == "-";
  const auto load_start = std::chrono::steady_clock::now();
  ocr::Ocr reader({.folder = models_folder(o.models),
                   .threads = o.threads,
                   .report = [](const std::string& line) { fmt::print(stderr, "{}\n", line); }});
  const double load_ms = milliseconds_since(load_start);
  if (!quiet) fmt::print("networks loaded in {:.1f} ms\n", load_ms);
  Json json = o.images.size() > 1
                  ? read_all(reader, o, quiet)
                  : read_one(reader, o.images.empty() ? default_image() : o.images[0], o, quiet);
  json["ms"]["load"] = load_ms;
  write_json(o.json, json);
  return kOk;
}

}  // namespace

void add_demo(CLI::App& app, int& exit) {
  auto o = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("demo", "Read the text in pictures (PP-OCR networks)");
  sub->add_option("images", o->images, "PNG or JPEG files; without one, a picture of headrace's own");
  sub->add_option("--models", o->models, "folder with the .onnx files, which also gets their plans");
  sub->add_option("--output", o->output,
                  "the picture with the boxes drawn into it; of several, with their numbers")
      ->capture_default_str();
  sub->add_option("--dump", o->dump, "a folder that gets every input and output of the networks as .npy");
  sub->add_option("--threads", o->threads, "0: all usable cores")->check(CLI::Range(0, 1024));
  sub->add_option("--repeat", o->repeat, "read one picture N times and tell the warm times too")
      ->check(CLI::Range(1, 100000));
  sub->add_option("--json", o->json, "write the result as JSON ('-': standard output)");
  sub->callback([o, &exit] {
    if (o->images.size() > 1 && (o->repeat > 1 || !o->dump.empty()))
      throw CLI::ValidationError("--repeat and --dump are for one picture");
    exit = demo(*o);
  });
}

}  // namespace headrace::cli
