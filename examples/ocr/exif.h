// How a camera was held: the orientation that a JPEG file's Exif block tells.
//
// Contract: 1 to 8 as Exif counts (1: as it is, 6: turn it a quarter to the right); 1 when nothing valid is
// told. Any bytes are fine.
#pragma once

#include <cstdint>
#include <span>

#include "ocr/image.h"

namespace headrace::ocr {

int exif_orientation(std::span<const std::uint8_t> jpeg);
/// The picture as it is meant to be seen.
Image upright(Image image, int orientation);

}  // namespace headrace::ocr
