// A detector as a pipeline: pictures, the network, and what makes boxes of its numbers, all at the same time.
//
//   yolox .deps/models/yolox_m.onnx [PICTURES]
//
//   picture -> [shrink] -> [network: Session] -> [boxes: decode, NMS; two workers] -> [print]
//
// Stages run on threads of their own and hand items on over bounded edges; a slow stage slows down what is
// before it. The report names the stage to speed up. The generated network has seen no pictures: its boxes
// mean nothing, but they are the same ones every time. It takes pixels from 0 to 1; published weights want
// 0 to 255 or other numbers: see what they were trained with.
#include "yolox.h"

#include "common.h"

namespace hr = headrace;

constexpr int kSide = 640;
constexpr float kLeastScore = 0.3f, kMostOverlap = 0.45f;

struct Picture {
  int width = 0, height = 0;
  std::vector<std::uint8_t> bgr;  // row after row, three bytes a pixel
};
struct Input {
  yolox::Fit fit;
  std::vector<float> planes;  // 3 x 640 x 640
};
struct Found {
  std::vector<yolox::Box> boxes;
};

// A street at night: dark, with some lights.
Picture take_picture(int number) {
  Picture p{.width = 960, .height = 540, .bgr = std::vector<std::uint8_t>(std::size_t{960} * 540 * 3, 20)};
  for (int light = 0; light < 12; ++light) {
    const int left = (light * 331 + number * 47) % 900, top = (light * 173 + number * 29) % 480;
    for (int y = top; y < top + 50; ++y)
      std::fill_n(p.bgr.begin() + (std::ptrdiff_t{y} * p.width + left) * 3, 150,
                  static_cast<std::uint8_t>(80 + light * 14));
  }
  return p;
}

// The picture in the corner at the top left of a grey square; the nearest pixel is good enough here.
Input shrink(const Picture& picture) {
  Input input{.fit = {.side = kSide, .width = picture.width, .height = picture.height},
              .planes = std::vector<float>(std::size_t{3} * kSide * kSide, 114.0f / 255)};
  const float scale = input.fit.scale();
  for (int y = 0; y < static_cast<int>(static_cast<float>(picture.height) * scale); ++y)
    for (int x = 0; x < static_cast<int>(static_cast<float>(picture.width) * scale); ++x) {
      const int from_x = std::min(static_cast<int>(static_cast<float>(x) / scale), picture.width - 1);
      const int from_y = std::min(static_cast<int>(static_cast<float>(y) / scale), picture.height - 1);
      for (int c = 0; c < 3; ++c)
        input.planes[static_cast<std::size_t>((c * kSide + y) * kSide + x)] =
            static_cast<float>(
                picture.bgr[static_cast<std::size_t>((from_y * picture.width + from_x) * 3 + c)]) /
            255;
    }
  return input;
}

Found find_boxes(const yolox::Fit& fit, const hr::ConstTensorView& output) {
  return {yolox::keep_best(yolox::decode(output, fit, kLeastScore), kMostOverlap)};
}

int detect(const example::Arguments& arguments) {
  const hr::Engine engine = example::engine_of(arguments, {{{"*", {1}, {1}, {1}}}});
  const std::string input = engine.inputs().at(0).name;
  const hr::Shape shape = {1, 3, kSide, kSide};

  // One picture by hand, to compare with.
  hr::Context context{engine};
  const Input first = shrink(take_picture(0));
  const std::vector<hr::NamedTensor> numbers =
      context.infer({{input, hr::ConstTensorView(std::span(first.planes), shape)}});
  const Found expected = find_boxes(first.fit, numbers.at(0).tensor.view());

  hr::Session session{engine, {.slots = 3}};
  session.prepare({{input, shape}});
  std::vector<Found> found(static_cast<std::size_t>(arguments.count));
  std::vector<std::uint64_t> order;
  int failures = 0;
  auto pipeline =
      hr::make_pipeline<Picture>({.capacity = 2}, {.on_failure = [&](const hr::ItemFailure&) { ++failures; }})
          .then("shrink", shrink)
          .infer("network", session, {{input, shape}},
                 [&](const Input& item, hr::InputLease& lease) {
                   std::copy(item.planes.begin(), item.planes.end(), lease[input].as<float>().begin());
                 })
          .then("boxes",
                [](hr::Inferred<Input> result) {
                  return find_boxes(result.item.fit, result.output[std::size_t{0}]);
                },
                {.workers = 2})
          .sink("print", [&](Found result, const hr::ItemInfo& info) {
            std::printf("picture %d: %zu boxes", static_cast<int>(info.tag), result.boxes.size());
            if (!result.boxes.empty()) {
              const yolox::Box& b = result.boxes.front();
              std::printf(", the best of kind %d, score %.2f, at %.0f,%.0f to %.0f,%.0f", b.kind, b.score,
                          b.left, b.top, b.right, b.bottom);
            }
            std::printf("\n");
            order.push_back(info.tag);
            found[info.tag] = std::move(result);
          });
  for (int number = 0; number < arguments.count; ++number)
    pipeline.push(take_picture(number), {.tag = static_cast<std::uint64_t>(number)});
  pipeline.close();  // finishes all items
  std::printf("%s", pipeline.report().text().c_str());

  example::Checks check;
  check.that(failures == 0 && order.size() == found.size(), "every picture arrived");
  check.that(std::is_sorted(order.begin(), order.end()), "in the order in which they were pushed");
  check.that(!expected.boxes.empty(), "there are boxes");
  check.that(found[0].boxes == expected.boxes, "the boxes of picture 0 are those of a blocking inference");
  check.that(found.size() < 2 || found[1].boxes != expected.boxes, "another picture has other boxes");
  return check.exit_code();
}

int main(int argc, char** argv) { return example::run(argc, argv, 8, detect); }
