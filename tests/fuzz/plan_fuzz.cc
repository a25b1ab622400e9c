// Any bytes as a plan: as they are, and with their checksums made right.
#include "../plan/plan_util.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace headrace;
  auto bytes = std::make_shared<std::vector<std::byte>>(size);
  if (size) std::memcpy(bytes->data(), data, size);
  for (int round = 0; round < 2; ++round) {
    try {
      test::run_or_refuse(std::make_shared<const Plan>(read_plan(*bytes, bytes)));
    } catch (const Error&) {
    }
    test::repair(*bytes);
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Starts from a real plan: no fuzzer guesses a flatbuffer.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned) {
  static const std::vector<std::byte> kGood = headrace::write_plan(headrace::test::compile_small());
  if (size < sizeof(headrace::plan_file::Header) && kGood.size() <= max_size) {
    std::memcpy(data, kGood.data(), kGood.size());
    size = kGood.size();
  }
  return LLVMFuzzerMutate(data, size, max_size);
}
