#include "device/operand.h"

#include <string>

namespace headrace {

void check_range(const Operand& operand, std::string_view what) {
  if (!operand.buffer) {
    if (operand.size == 0) return;
    throw Error(ErrorCode::misuse, std::string(what) + ": an operand of " + std::to_string(operand.size) +
                                       " bytes has no buffer");
  }
  const std::size_t have = operand.buffer->size_bytes();
  if (operand.offset > have || operand.size > have - operand.offset)
    throw Error(ErrorCode::misuse, std::string(what) + ": bytes [" + std::to_string(operand.offset) + ", +" +
                                       std::to_string(operand.size) + ") lie outside a buffer of " +
                                       std::to_string(have) + " bytes");
}

void check_copy(const Operand& dst, const Operand& src, const std::byte* to, const std::byte* from) {
  if (dst.size != src.size)
    throw Error(ErrorCode::misuse, "copy: destination has " + std::to_string(dst.size) + " bytes, source " +
                                       std::to_string(src.size));
  if (dst.size != 0 && to && from && to < from + src.size && from < to + dst.size)
    throw Error(ErrorCode::misuse, "copy: destination and source overlap");
}

void check_wrapped(const std::byte* data, std::size_t size_bytes) {
  if (!data && size_bytes != 0)
    throw Error(ErrorCode::invalid_argument,
                "wrap: no address for memory of " + std::to_string(size_bytes) + " bytes");
}

void rethrow_from_recording(const std::exception_ptr& error, std::string_view stream) {
  const std::string where = "while recording stream '" + std::string(stream) + "'";
  try {
    std::rethrow_exception(error);
  } catch (Error& e) {
    throw Error(e.add_context(where));
  } catch (const std::exception& e) {
    throw Error(ErrorCode::internal, where + ": " + e.what());
  }
}

}  // namespace headrace
