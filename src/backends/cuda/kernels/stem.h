// The pieces of cuda.stem's kernel, with places for names ($NAME$) that stem_source.cc fills. What is where:
// stem.h.
#pragma once

#include <string_view>

namespace headrace::cuda {

/// For weights that are not packed.
extern const std::string_view kStemPacking;
/// The strip of the image into shared memory, and out of it as operands.
extern const std::string_view kStemProduct;
/// One of these after it: `multiply` by single warps, or by four together (kWarpgroupCore).
extern const std::string_view kStemWarp;
extern const std::string_view kStemWarpgroup;
/// The kernel's begin and end, around one of the next two.
extern const std::string_view kStemEntry;
extern const std::string_view kStemPlain;
/// With a max-pool behind it; kStemPoolFunctions before the entry.
extern const std::string_view kStemPooled;
extern const std::string_view kStemPoolFunctions;

}  // namespace headrace::cuda
