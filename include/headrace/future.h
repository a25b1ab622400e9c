// std::future for those whose code waits for futures: hr::to_future(session.submit(...)).get().
//
// The only thread-related standard type at headrace's border; Ticket itself waits, polls and calls back.
#pragma once

#include <future>
#include <memory>
#include <utility>

#include <headrace/session.h>

namespace headrace {

/// Ready when the ticket is, with its output or its Error. The future of a ticket that is dropped by a
/// closing session gets that Error as well: it is never broken.
inline std::future<OutputLease> to_future(Ticket ticket) {
  const auto promise = std::make_shared<std::promise<OutputLease>>();
  std::future<OutputLease> future = promise->get_future();
  std::move(ticket).then([promise](Ticket ready) {
    try {
      promise->set_value(ready.get());
    } catch (...) {
      promise->set_exception(std::current_exception());
    }
  });
  return future;
}

}  // namespace headrace
