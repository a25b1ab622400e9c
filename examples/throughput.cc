// Batches through a classifier, as many images a second as the machine gives.
//
//   throughput .deps/models/resnet18.onnx [BATCHES]
//
// First blocking: fill, infer, read, one after the other. Then with a Session: while one batch is computed
// the next one is filled and the last one is read. On a GPU copies run under the kernels too. On a CPU one
// pool of cores does it all, so that the two ways are nearly the same there.
#include <deque>

#include "common.h"

namespace hr = headrace;
using example::Clock;

constexpr std::int64_t kBatch = 8;
constexpr std::size_t kInFlight = 3;

// Batch k, the same in both ways; every image of all batches is different.
void fill(int k, std::span<float> pixels) {
  std::uint32_t state = 10088u + static_cast<std::uint32_t>(k) * 977u;
  for (float& p : pixels) {
    state = state * 1664525u + 1013904223u;
    p = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;  // [-1, 1)
  }
}

struct Guess {
  std::size_t place = 0;
  float probability = 0;  // softmax of the scores, at the largest
};

// The post-processing: for each image the first place, and how sure the network is of it.
void read(hr::ConstTensorView scores, std::vector<Guess>& guesses) {
  const auto classes = static_cast<std::size_t>(scores.shape().back());
  const std::span<const float> all = scores.as<float>();
  for (std::size_t at = 0; at < all.size(); at += classes) {
    const std::span<const float> image = all.subspan(at, classes);
    const auto best = std::max_element(image.begin(), image.end());
    float sum = 0;
    for (const float s : image) sum += std::exp(s - *best);
    guesses.push_back({static_cast<std::size_t>(best - image.begin()), 1 / sum});
  }
}

double images_per_s(int batches, Clock::time_point start) {
  return 1e3 * static_cast<double>(batches * kBatch) / example::ms_since(start);
}

int throughput(const example::Arguments& arguments) {
  const hr::Engine engine = example::engine_of(arguments, {{{"*", {1}, {kBatch}, {kBatch}}}});
  const std::string input = engine.inputs().at(0).name;
  const hr::Shape shape = {kBatch, 3, 224, 224};
  const int batches = arguments.count;

  // Blocking. Memory is made once, and `infer` allocates nothing once the shapes are prepared.
  hr::Context context{engine};
  const hr::ShapeMap results = context.prepare({{input, shape}});
  hr::Tensor in(hr::DType::f32, shape), out(hr::DType::f32, results.begin()->second);
  const hr::NamedView inputs[] = {{input, in.view()}};
  const hr::TensorView outputs[] = {out.view()};
  context.infer(inputs, outputs);  // the first one warms up
  std::vector<Guess> blocking;
  Clock::time_point start = Clock::now();
  for (int k = 0; k < batches; ++k) {
    fill(k, in.as<float>());
    context.infer(inputs, outputs);
    read(out.view(), blocking);
  }
  const double blocking_rate = images_per_s(batches, start);

  // In flight. Results come in order; the oldest is read when as many are under way as there are slots.
  hr::Session session{engine, {.slots = kInFlight}};
  session.prepare({{input, shape}});
  const std::uint64_t allocated = session.stats().allocations;
  std::vector<Guess> in_flight;
  std::vector<double> latency_ms;
  std::deque<hr::Ticket> tickets;
  const auto take_oldest = [&] {
    const hr::OutputLease result = tickets.front().get();
    tickets.pop_front();
    read(result[std::size_t{0}], in_flight);
    latency_ms.push_back(example::ms_between(result.times().submitted_ns, result.times().delivered_ns));
  };
  start = Clock::now();
  for (int k = 0; k < batches; ++k) {
    if (tickets.size() == kInFlight) take_oldest();
    hr::InputLease lease = session.acquire({{input, shape}});
    fill(k, lease[input].as<float>());
    tickets.push_back(session.submit(std::move(lease), {.tag = static_cast<std::uint64_t>(k)}));
  }
  while (!tickets.empty()) take_oldest();
  const double rate = images_per_s(batches, start);

  // Latency and throughput are two figures: a batch in flight waits for those before it.
  std::printf("%d batches of %d on %s\n", batches, static_cast<int>(kBatch), engine.device().c_str());
  std::printf("blocking   %.1f images/s, %.2f ms a batch\n", blocking_rate, 1e3 * kBatch / blocking_rate);
  std::printf("in flight  %.1f images/s, %.2f ms a batch; latency of a batch: median %.2f ms\n", rate,
              1e3 * kBatch / rate, example::quantile(latency_ms, 0.5));
  std::printf("the first image is of class %zu (%.1f %%)\n", in_flight.at(0).place,
              100 * in_flight.at(0).probability);

  bool equal = blocking.size() == in_flight.size();
  for (std::size_t i = 0; equal && i < blocking.size(); ++i)
    equal = blocking[i].place == in_flight[i].place &&
            std::abs(blocking[i].probability - in_flight[i].probability) < 1e-4f;
  example::Checks check;
  check.that(equal, "both ways give every image the same class and probability");
  check.that(session.stats().completed == static_cast<std::uint64_t>(batches), "every batch came back");
  check.that(session.stats().allocations <= allocated + 3 * kInFlight,
             "memory is made once for each slot, not for each batch");
  return check.exit_code();
}

int main(int argc, char** argv) { return example::run(argc, argv, 30, throughput); }
