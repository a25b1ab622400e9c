// A camera in front of a network that is too slow for it: always the latest frame, never a wrong one.
//
//   camera .deps/models/resnet18.onnx [FRAMES]
//
// The camera delivers a frame in half the time that the network needs. A queue would grow for ever, and each
// result would be older than the one before. `Overflow::latest` gives up frames that have not started when a
// newer one comes; every frame is accounted for: its ticket either has a result, or says that it was dropped.
//
// That a result belongs to its frame is seen from the pixels: a frame shows one of eight scenes, and the
// result must be that of the scene with the frame's own number.
#include <array>
#include <thread>

#include "common.h"

namespace hr = headrace;
using example::Clock;

constexpr int kScenes = 8;
constexpr int kSide = 224;

// What the camera sees in frame `number`: stripes, at an angle that tells the scene.
void take_picture(int number, std::span<float> pixels) {
  const float angle = static_cast<float>(number % kScenes) * 3.14159265f / kScenes;
  const float dx = 0.2f * std::cos(angle), dy = 0.2f * std::sin(angle);
  for (int i = 0; i < 3 * kSide * kSide; ++i) {
    const int x = i % kSide, y = i / kSide % kSide;
    pixels[static_cast<std::size_t>(i)] = std::sin(dx * static_cast<float>(x) + dy * static_cast<float>(y));
  }
}

// The scene whose scores are the nearest.
int nearest_scene(std::span<const float> scores, const std::array<std::vector<float>, kScenes>& known) {
  int best = -1;
  float least = INFINITY;
  for (int scene = 0; scene < kScenes; ++scene) {
    float distance = 0;
    for (std::size_t i = 0; i < scores.size(); ++i)
      distance += std::abs(scores[i] - known[static_cast<std::size_t>(scene)][i]);
    if (distance < least) {
      least = distance;
      best = scene;
    }
  }
  return best;
}

int camera(const example::Arguments& arguments) {
  const hr::Engine engine = example::engine_of(arguments, {{{"*", {1}, {1}, {8}}}});
  const std::string input = engine.inputs().at(0).name;
  const hr::Shape shape = {1, 3, kSide, kSide};

  // First one by one, awaited: what each scene gives, and how long the network takes.
  std::array<std::vector<float>, kScenes> known;
  std::vector<double> latency_ms;
  hr::Context context{engine};
  hr::Tensor picture(hr::DType::f32, shape);
  for (int scene = 0; scene < kScenes; ++scene) {
    take_picture(scene, picture.as<float>());
    const Clock::time_point start = Clock::now();
    const std::vector<hr::NamedTensor> out = context.infer({{input, picture.view()}});
    latency_ms.push_back(example::ms_since(start));
    const std::span<const float> scores = out.at(0).tensor.as<float>();
    known[static_cast<std::size_t>(scene)].assign(scores.begin(), scores.end());
  }
  const double network_ms = example::quantile(latency_ms, 0.5);
  std::printf("one frame takes %.2f ms; the camera delivers one every %.2f ms\n", network_ms, network_ms / 2);

  // What happens to each frame. Callbacks come one at a time, so plain variables do.
  std::vector<double> age_ms;
  int dropped = 0, wrong = 0;
  bool in_order = true;
  std::int64_t last = -1;
  const auto arrived = [&](hr::Ticket ticket) {
    try {
      const hr::OutputLease out = ticket.get();
      const auto number = static_cast<std::int64_t>(out.tag());
      wrong += nearest_scene(out[std::size_t{0}].as<float>(), known) != number % kScenes;
      in_order = in_order && number > last;
      last = number;
      age_ms.push_back(example::ms_between(out.times().submitted_ns, out.times().delivered_ns));
    } catch (const hr::Error& error) {
      if (error.code() != hr::ErrorCode::dropped) throw;
      ++dropped;
    }
  };

  hr::Session session{engine, {.slots = 3, .overflow = hr::Overflow::latest}};
  session.prepare({{input, shape}});
  const auto period =
      std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double, std::milli>(network_ms / 2));
  const Clock::time_point start = Clock::now();
  for (int number = 0; number < arguments.count; ++number) {
    std::this_thread::sleep_until(start + number * period);
    hr::InputLease in = session.acquire({{input, shape}});  // memory that nobody else touches
    take_picture(number, in[input].as<float>());
    // The ticket goes to the callback; errors of frames reach it too.
    session.submit(std::move(in), {.tag = static_cast<std::uint64_t>(number)}).then(arrived);
  }
  session.close();  // what has been submitted is finished first

  const int results = static_cast<int>(age_ms.size());
  std::printf("%d frames: %d results, %d dropped; age of a result: median %.2f ms, p99 %.2f ms\n",
              arguments.count, results, dropped, example::quantile(age_ms, 0.5),
              example::quantile(age_ms, 0.99));
  example::Checks check;
  check.that(results + dropped == arguments.count, "every frame has a result, or was reported as dropped");
  check.that(wrong == 0, "no result belongs to another frame");
  check.that(in_order, "results come in the order of the frames");
  check.that(last == arguments.count - 1, "the last frame has its result");
  return check.exit_code();
}

int main(int argc, char** argv) { return example::run(argc, argv, 120, camera); }
