// A camera picture of 1280 x 720 into a network with nine outputs, and what the nine cost.
//
//   mobilenet9 .deps/models/mobilenet9.onnx [FRAMES]
//
// Nine outputs made by hand are nine blocks of memory, and nine copies from a GPU. Here all outputs of an
// inference lie in one block, which comes down in one copy; a lease names them. A lease keeps its block: two
// results can be looked at side by side, while a third is being computed.
#include <deque>

#include "common.h"

namespace hr = headrace;
using example::Clock;

constexpr int kWidth = 1280, kHeight = 720;

// The camera's picture: bytes, row after row, three a pixel. A bright square walks through it.
void take_picture(int number, std::vector<std::uint8_t>& rgb) {
  rgb.assign(std::size_t{3} * kWidth * kHeight, 40);
  const int left = number * 61 % (kWidth - 200), top = number * 37 % (kHeight - 200);
  for (int y = top; y < top + 200; ++y)
    std::fill_n(rgb.begin() + (std::ptrdiff_t{y} * kWidth + left) * 3, 600, std::uint8_t{220});
}

// What the network wants: three planes of floats from -1 to 1, written straight into the lease.
void to_planes(const std::vector<std::uint8_t>& rgb, std::span<float> planes) {
  const std::size_t pixels = std::size_t{kWidth} * kHeight;
  for (std::size_t i = 0; i < pixels; ++i)
    for (std::size_t c = 0; c < 3; ++c)
      planes[c * pixels + i] = static_cast<float>(rgb[i * 3 + c]) / 127.5f - 1.0f;
}

// One number of each output that changes when anything in it does.
std::vector<double> fingerprint(const hr::Engine& engine, const hr::OutputLease& out) {
  std::vector<double> sums;
  for (const hr::TensorInfo& output : engine.outputs()) {
    double sum = 0, weight = 0;
    for (const float v : out[output.name].as<float>()) sum += v * (1 + 1e-3 * std::fmod(weight += 1, 97.0));
    sums.push_back(sum);
  }
  return sums;
}

int mobilenet9(const example::Arguments& arguments) {
  const hr::Engine engine = example::engine_of(arguments);
  const std::string input = engine.inputs().at(0).name;
  const hr::ShapeMap shapes = {{input, {1, 3, kHeight, kWidth}}};
  hr::Session session{engine, {.slots = 3}};
  session.prepare(shapes);

  std::vector<std::uint8_t> rgb;
  const auto submit = [&](int number) {
    take_picture(number, rgb);
    hr::InputLease in = session.acquire(shapes);
    to_planes(rgb, in[input].as<float>());
    return session.submit(std::move(in), {.tag = static_cast<std::uint64_t>(number)});
  };

  example::Checks check;
  {
    // The results of two frames, held at the same time.
    hr::Ticket first_ticket = submit(0), second_ticket = submit(1);
    const hr::OutputLease first = first_ticket.get();
    const std::vector<double> before = fingerprint(engine, first);
    const hr::OutputLease second = second_ticket.get();
    std::size_t bytes = 0;
    for (const hr::TensorInfo& output : engine.outputs()) {
      const hr::ConstTensorView view = first[output.name];
      bytes += view.size_bytes();
      std::printf("  %-10s %-14s %8zu bytes\n", output.name.c_str(), hr::to_string(view.shape()).c_str(),
                  view.size_bytes());
    }
    std::printf("input %s: %.2f MB up; %zu outputs: %.2f MB down, in one block\n",
                hr::to_string(shapes.begin()->second).c_str(), kWidth * kHeight * 12 / 1e6,
                engine.outputs().size(), static_cast<double>(bytes) / 1e6);
    check.that(engine.outputs().size() == 9, "the network has nine outputs");
    check.that(fingerprint(engine, first) == before, "the first result stays what it was");
    check.that(fingerprint(engine, second) != before, "the second one, held beside it, is another");
  }

  // Two frames in flight: while one is computed, the next one is made into planes.
  std::deque<hr::Ticket> tickets;
  std::vector<double> latency_ms;
  std::vector<std::vector<double>> again;
  const auto take = [&] {
    const hr::OutputLease out = tickets.front().get();
    tickets.pop_front();
    latency_ms.push_back(example::ms_between(out.times().submitted_ns, out.times().delivered_ns));
    if (out.tag() == 0) again.push_back(fingerprint(engine, out));
  };
  const Clock::time_point start = Clock::now();
  for (int number = 0; number < arguments.count; ++number) {
    if (tickets.size() == 2) take();
    tickets.push_back(submit(number == arguments.count - 1 ? 0 : number));  // the last one is the first again
  }
  while (!tickets.empty()) take();
  const double period_ms = example::ms_since(start) / arguments.count;
  std::printf("%d frames: one every %.2f ms (%.0f a second); latency median %.2f ms, p99 %.2f ms\n",
              arguments.count, period_ms, 1e3 / period_ms, example::quantile(latency_ms, 0.5),
              example::quantile(latency_ms, 0.99));
  check.that(latency_ms.size() == static_cast<std::size_t>(arguments.count), "every frame has its result");
  check.that(again.front() == again.back(), "the same picture gives the same nine outputs, first and last");
  return check.exit_code();
}

int main(int argc, char** argv) { return example::run(argc, argv, 60, mobilenet9); }
