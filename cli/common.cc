#include <algorithm>
#include <fstream>
#include <iostream>
#include <random>

#include <fmt/format.h>

#include "cli.h"

namespace headrace::cli {

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return kInvalidArgument;
    case ErrorCode::invalid_model: return kInvalidModel;
    case ErrorCode::unsupported: return kUnsupported;
    case ErrorCode::invalid_plan: return kInvalidPlan;
    case ErrorCode::io: return kIo;
    case ErrorCode::out_of_memory: return kOutOfMemory;
    case ErrorCode::device: return kDevice;
    case ErrorCode::misuse:
    case ErrorCode::rejected:
    case ErrorCode::dropped:
    case ErrorCode::timeout: return kMisuse;
    case ErrorCode::cancelled: return kCancelled;
    case ErrorCode::internal: return kInternal;
  }
  return kInternal;
}

Shape parse_shape(const std::string& text) {
  const auto bad = [&] {
    return Error(ErrorCode::invalid_argument,
                 fmt::format("'{}' is not a shape; write extents with 'x' between: 1x3x224x224", text));
  };
  Shape shape;
  std::size_t i = 0;
  while (true) {
    const std::size_t end = std::min(text.find('x', i), text.size());
    if (end == i || end - i > 18) throw bad();
    std::int64_t extent = 0;
    for (; i < end; ++i) {
      if (text[i] < '0' || text[i] > '9') throw bad();
      extent = extent * 10 + (text[i] - '0');
    }
    shape.push_back(extent);
    if (end == text.size()) return shape;
    ++i;
  }
}

std::uint64_t parse_bytes(const std::string& text) {
  std::size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;
  }
  const std::string unit = text.substr(used);
  const double factor = unit.empty() || unit == "B" ? 1
                        : unit == "K"               ? 1024.0
                        : unit == "M"               ? 1048576.0
                        : unit == "G"               ? 1073741824.0
                                                    : 0;
  if (used == 0 || !(value >= 0) || factor == 0 || value * factor > 1e18)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}' is not a number of bytes; write 4G, 512M, 100K or 1234", text));
  return static_cast<std::uint64_t>(value * factor);
}

std::pair<std::string, std::string> split_assignment(const std::string& text, const std::string& flag) {
  const std::size_t at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    throw Error(ErrorCode::invalid_argument, fmt::format("{} takes NAME=VALUE, not '{}'", flag, text));
  return {text.substr(0, at), text.substr(at + 1)};
}

void write_json(const std::string& path, const Json& json) {
  if (path.empty()) return;
  const std::string text = json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  if (path == "-") {
    std::cout << text << std::flush;
    return;
  }
  std::ofstream file(path);
  file << text;
  file.flush();
  if (!file)
    throw Error(ErrorCode::io,
                fmt::format("could not write '{}'; check the folder and its permissions", path));
}

void save_trace(const Engine& engine, const std::string& path, bool quiet, Json& json) {
  if (path.empty()) return;
  const TraceReport r = engine.save_trace(path);
  json["trace"] = {{"file", path},
                   {"spans", r.spans},
                   {"dropped", r.dropped},
                   {"total_ms", r.total_ms},
                   {"upload_ms", r.upload_ms},
                   {"compute_ms", r.compute_ms},
                   {"download_ms", r.download_ms},
                   {"overlap_ms", r.overlap_ms}};
  if (quiet) return;
  const auto share = [&](double ms) { return r.total_ms > 0 ? 100 * ms / r.total_ms : 0.0; };
  fmt::print(
      "trace       {}: {} spans over {:.1f} ms; busy: upload {:.1f} %, compute {:.1f} %, download {:.1f} %; "
      "two or more at once {:.1f} %\n",
      path, r.spans, r.total_ms, share(r.upload_ms), share(r.compute_ms), share(r.download_ms),
      share(r.overlap_ms));
  if (r.dropped > 0)
    fmt::print("            {} later spans are not in it: trace fewer inferences\n", r.dropped);
}

void add_input_formats(CLI::App& command, std::vector<std::string>& texts) {
  command
      .add_option(
          "--input-format", texts,
          "NAME=TYPE[,nhwc][,scale=S][,mean=M:M:M][,std=D:D:D], data that the caller has instead of what "
          "the model takes: converted on the device to (x * scale - mean) / std; '*': every float input "
          "with 4 axes")
      ->allow_extra_args(false);
}

std::map<std::string, InputFormat> parse_input_formats(const std::vector<std::string>& texts) {
  std::map<std::string, InputFormat> formats;
  for (const std::string& text : texts) {
    const auto [name, format] = split_assignment(text, "--input-format");
    if (!formats.emplace(name, parse_input_format(format)).second)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--input-format is given twice for '{}'; drop one of them", name));
  }
  return formats;
}

double element(const Tensor& t, std::size_t i) {
  switch (t.dtype()) {
    case DType::f32: return t.as<float>()[i];
    case DType::f64: return t.as<double>()[i];
    case DType::f16: return to_float(t.as<Half>()[i]);
    case DType::bf16: return to_float(t.as<BHalf>()[i]);
    case DType::i8: return t.as<std::int8_t>()[i];
    case DType::i16: return t.as<std::int16_t>()[i];
    case DType::i32: return t.as<std::int32_t>()[i];
    case DType::i64: return static_cast<double>(t.as<std::int64_t>()[i]);
    case DType::u8: return t.as<std::uint8_t>()[i];
    case DType::u16: return t.as<std::uint16_t>()[i];
    case DType::u32: return t.as<std::uint32_t>()[i];
    case DType::u64: return static_cast<double>(t.as<std::uint64_t>()[i]);
    case DType::boolean: return t.as<bool>()[i];
  }
  return 0;
}

std::vector<NamedTensor> as_model_inputs(const Engine& engine, const std::vector<NamedTensor>& inputs) {
  std::vector<NamedTensor> result;
  for (const NamedTensor& input : inputs) {
    const auto info = std::find_if(engine.inputs().begin(), engine.inputs().end(),
                                   [&](const TensorInfo& i) { return i.name == input.name; });
    const auto& format = info->format;
    Shape shape = input.tensor.shape();
    const std::size_t count = static_cast<std::size_t>(element_count(shape));
    std::size_t channels = 1, pixels = 1;  // pixels of an image, or elements of what has no channels
    if (format && shape.size() >= 2) {
      if (format->channels_last) std::rotate(shape.begin() + 1, shape.end() - 1, shape.end());
      channels = static_cast<std::size_t>(shape[1]);
      pixels = static_cast<std::size_t>(element_count({shape.begin() + 2, shape.end()}));
    }
    result.push_back({input.name, Tensor(format ? DType::f32 : input.tensor.dtype(), shape)});
    Tensor& made = result.back().tensor;
    if (!format) {
      std::copy_n(input.tensor.view().data(), input.tensor.view().size_bytes(), made.view().data());
      continue;
    }
    const auto of_channel = [&](const std::vector<double>& values, std::size_t c, double otherwise) {
      return values.empty() ? otherwise : values[values.size() == 1 ? 0 : c];
    };
    for (std::size_t i = 0; i < count; ++i) {  // places in the result, which is channels first
      const std::size_t p = i % pixels, c = i / pixels % channels, n = i / pixels / channels;
      const std::size_t from = format->channels_last ? (n * pixels + p) * channels + c : i;
      const double x = element(input.tensor, from) * format->scale;
      made.as<float>()[i] =
          static_cast<float>((x - of_channel(format->mean, c, 0)) / of_channel(format->std, c, 1));
    }
  }
  return result;
}

Tensor random_tensor(const TensorInfo& info, const Shape& shape, std::uint64_t seed) {
  Tensor tensor(info.dtype, shape);
  std::mt19937_64 random(seed);
  const auto unit = [&] { return static_cast<double>(random() >> 11) * 0x1p-53; };
  const std::int64_t count = element_count(shape);
  const auto fill = [&](auto span, auto make) {
    for (std::int64_t i = 0; i < count; ++i) span[static_cast<std::size_t>(i)] = make();
  };
  const auto number = [&] { return info.format ? sample(*info.format, unit()) : 2 * unit() - 1; };
  const auto integer = [&] {
    return info.format ? static_cast<int>(sample(*info.format, unit())) : static_cast<int>(random() % 10);
  };
  switch (info.dtype) {
    case DType::f32: fill(tensor.as<float>(), [&] { return static_cast<float>(number()); }); break;
    case DType::f64: fill(tensor.as<double>(), number); break;
    case DType::f16: fill(tensor.as<Half>(), [&] { return to_half(static_cast<float>(number())); }); break;
    case DType::bf16: fill(tensor.as<BHalf>(), [&] { return to_bhalf(static_cast<float>(number())); }); break;
    case DType::i8:
      fill(tensor.as<std::int8_t>(), [&] { return static_cast<std::int8_t>(integer()); });
      break;
    case DType::i16:
      fill(tensor.as<std::int16_t>(), [&] { return static_cast<std::int16_t>(integer()); });
      break;
    case DType::i32: fill(tensor.as<std::int32_t>(), integer); break;
    case DType::i64: fill(tensor.as<std::int64_t>(), integer); break;
    case DType::u8:
      fill(tensor.as<std::uint8_t>(), [&] { return static_cast<std::uint8_t>(integer()); });
      break;
    case DType::u16:
      fill(tensor.as<std::uint16_t>(), [&] { return static_cast<std::uint16_t>(integer()); });
      break;
    case DType::u32:
      fill(tensor.as<std::uint32_t>(), [&] { return static_cast<std::uint32_t>(integer()); });
      break;
    case DType::u64:
      fill(tensor.as<std::uint64_t>(), [&] { return static_cast<std::uint64_t>(integer()); });
      break;
    case DType::boolean: fill(tensor.as<bool>(), [&] { return random() % 2 == 1; }); break;
  }
  return tensor;
}

ShapeMap parse_shapes(const std::vector<std::string>& assignments) {
  ShapeMap shapes;
  for (const std::string& text : assignments) {
    const auto [name, value] = split_assignment(text, "--shapes");
    shapes[name] = parse_shape(value);
  }
  return shapes;
}

ShapeMap choose_shapes(const Engine& engine, const std::vector<std::string>& assignments,
                       std::int64_t batch) {
  return headrace::choose_shapes(engine, parse_shapes(assignments), batch);
}

void LoadFlags::add_to(CLI::App& command) {
  command.add_option("--device", device, "where to run, cuda:1 for a plan of cuda; otherwise the plan's own");
  command.add_option("--threads", threads, "0: all usable cores")->check(CLI::Range(0, 1024));
  command.add_option("--memory-budget", memory_budget, "refuse what needs more: 4G, 512M");
  command
      .add_option("--recordings", recordings,
                  "GPU: recordings (CUDA graphs) that a context keeps; 0: launch by launch")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command.add_option("--expect", expect, "refuse a plan that was built in another precision")
      ->check(CLI::IsMember({"fp32", "tf32", "fp16", "bf16"}));
  command.add_flag("--foreign-plan", foreign_plans, "run a plan that was tuned on another GPU model");
  command.add_flag("--check-hazards", check_hazards,
                   "report unordered conflicting accesses; exit code 12 if any");
  command.add_option("--trace", trace, "write a timeline for Perfetto or chrome://tracing");
}

LoadOptions LoadFlags::options() const {
  return {.device = device,
          .threads = threads,
          .memory_budget_bytes = memory_budget.empty() ? UINT64_MAX : parse_bytes(memory_budget),
          .check_hazards = check_hazards,
          .trace = !trace.empty(),
          .max_recordings = recordings,
          .foreign_plans = foreign_plans,
          .expect = try_precision(expect)};
}

std::string LoadFlags::where(const Engine& engine) const {
  return fmt::format("{} ({}), {}", engine.device(), engine.device_model(),
                     device.empty() ? "the plan's own device" : "asked for by --device");
}

std::string file_name(const std::string& tensor_name) {
  std::string name = tensor_name;
  for (char& c : name)
    if (c == '/') c = '_';
  return name;
}

}  // namespace headrace::cli
