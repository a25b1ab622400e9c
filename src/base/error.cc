#include <utility>

#include <headrace/error.h>

namespace headrace {

std::string_view to_string(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument: return "invalid_argument";
    case ErrorCode::invalid_model: return "invalid_model";
    case ErrorCode::unsupported: return "unsupported";
    case ErrorCode::invalid_plan: return "invalid_plan";
    case ErrorCode::io: return "io";
    case ErrorCode::out_of_memory: return "out_of_memory";
    case ErrorCode::device: return "device";
    case ErrorCode::misuse: return "misuse";
    case ErrorCode::rejected: return "rejected";
    case ErrorCode::dropped: return "dropped";
    case ErrorCode::cancelled: return "cancelled";
    case ErrorCode::timeout: return "timeout";
    case ErrorCode::internal: return "internal";
  }
  return "unknown";
}

Error::Error(ErrorCode code, std::string message)
    : std::runtime_error(message), code_(code), message_(std::move(message)) {
  compose();
}

Error& Error::add_context(std::string frame) {
  context_.push_back(std::move(frame));
  compose();
  return *this;
}

void Error::compose() {
  what_ = message_;
  for (const std::string& frame : context_) what_ += "\n  " + frame;
}

}  // namespace headrace
