// Where the time of an inference goes: handing over, upload, device, download, and the whole of it, awaited.
//
//   timing .deps/models/pointpillars_rpn.onnx [REPEATS]
//
// A call that only queues work returns long before there is a result. How fast it returns is worth knowing:
// it is what the caller's thread pays. It is no latency. A latency ends when the numbers can be read; the
// only way to them, `Ticket::get`, waits for them.
#include "common.h"

namespace hr = headrace;
using example::Clock;

void print(const char* what, const std::vector<double>& ms) {
  if (ms.empty())
    std::printf("%-22s no figure of its own on this device\n", what);
  else
    std::printf("%-22s median %9.3f ms, p10 %9.3f, p90 %9.3f, n = %zu\n", what, example::quantile(ms, 0.5),
                example::quantile(ms, 0.1), example::quantile(ms, 0.9), ms.size());
}
std::vector<double> from_us(std::vector<double> us) {
  for (double& v : us) v /= 1e3;
  return us;
}

int timing(const example::Arguments& arguments) {
  const hr::Engine engine = example::engine_of(arguments, {{{"*", {1}, {1}, {1}}}});
  const hr::TensorInfo& input = engine.inputs().at(0);
  const hr::ShapeMap shapes = {{input.name, input.opt}};
  std::printf("%s %s on %s (%s)\n", input.name.c_str(), hr::to_string(input.opt).c_str(),
              engine.device().c_str(), engine.device_model().c_str());

  // The device's own clock, one inference at a time. Empty on a CPU, where handing over is running.
  std::vector<double> enqueue_ms, device_ms, upload_ms, download_ms;
  {
    hr::Context context{engine};
    context.prepare(shapes);
    enqueue_ms = from_us(context.enqueue_times_us(arguments.count));
    device_ms = from_us(context.device_times_us(arguments.count));
    const hr::CopyTimes copies = context.copy_times_us(arguments.count);
    upload_ms = from_us(copies.upload);
    download_ms = from_us(copies.download);
  }

  // The host's clock: until submit returns, and until the result can be read.
  std::vector<double> submit_ms, awaited_ms;
  hr::Session session{engine, {.slots = 2}};
  session.prepare(shapes);
  for (int i = -1; i < arguments.count; ++i) {
    hr::InputLease in = session.acquire(shapes);
    const std::span<float> points = in[input.name].as<float>();
    for (std::size_t p = 0; p < points.size(); ++p) points[p] = static_cast<float>(p % 17) / 17;
    const Clock::time_point start = Clock::now();
    hr::Ticket ticket = session.submit(std::move(in));
    const double submitted = example::ms_since(start);
    const hr::OutputLease out = ticket.get();
    const double awaited = example::ms_since(start);
    if (i < 0) continue;  // the first one warms up
    submit_ms.push_back(submitted);
    awaited_ms.push_back(awaited);
  }

  print("enqueue (host)", enqueue_ms);
  print("upload", upload_ms);
  print("device", device_ms);
  print("download", download_ms);
  print("submit returns", submit_ms);
  print("end to end, awaited", awaited_ms);
  const double end_to_end = example::quantile(awaited_ms, 0.5);
  example::Checks check;
  check.that(example::quantile(submit_ms, 0.5) < 0.1 * end_to_end,
             "submit returns in less than a tenth of the time until there is a result");
  if (!device_ms.empty()) {
    check.that(end_to_end >= example::quantile(device_ms, 0.1),
               "no result comes before the device has computed it");
    check.that(example::quantile(enqueue_ms, 0.5) < 0.1 * example::quantile(device_ms, 0.5),
               "handing over takes less than a tenth of the device's time");
  }
  return check.exit_code();
}

int main(int argc, char** argv) { return example::run(argc, argv, 20, timing); }
