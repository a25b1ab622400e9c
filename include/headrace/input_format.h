// How the caller's data for an input lie and what they mean, where that is not what the model was made for.
//
// Problem: cameras give bytes, models want normalised floats. Converted on the host that costs host time and
// four times the bytes of the upload. With an InputFormat the plan's input has the format's type and layout,
// and the device computes what the model wants: value = (x * scale - mean) / std, per channel.
// Use: options.input_formats["images"] = {.channels_last = true, .scale = 1 / 255.0,
//                                         .mean = {0.485, 0.456, 0.406}, .std = {0.229, 0.224, 0.225}};
// In text: "u8,nhwc,scale=1/255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <headrace/types.h>

namespace headrace {

struct InputFormat {
  DType dtype = DType::u8;     ///< u8, i8, u16, i16, f16 or f32
  bool channels_last = false;  ///< NxHxWxC instead of NxCxHxW; the input's shape is then written so, too
  double scale = 1;
  std::vector<double> mean, std;  ///< one number for all channels or one each; empty: 0, and 1
  friend bool operator==(const InputFormat&, const InputFormat&) = default;
};

/// "u8,nhwc,scale=0.5,mean=1:2:3,std=4"; what has its default is left out. parse(to_string(f)) == f.
std::string to_string(const InputFormat& format);
/// TYPE, then in any order nchw | nhwc, scale=NUMBER, mean=NUMBER[:NUMBER...], std=...; a number may be a
/// quotient, 1/255. Error(invalid_argument) says what is wrong; the result has passed `check`.
InputFormat parse_input_format(std::string_view text);
/// Error(invalid_argument) for a type that is not offered, a std of 0, numbers that are not finite.
void check(const InputFormat& format);
/// For random inputs: `unit` in [0, 1) as an element that such data have. Integers take their whole range,
/// floats what comes to [-1, 1) after the scale.
double sample(const InputFormat& format, double unit);

}  // namespace headrace
