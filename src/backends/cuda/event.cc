#include "backends/cuda/event.h"

#include <algorithm>

#include <headrace/error.h>

namespace headrace::cuda {

using namespace std::chrono_literals;

CudaEvent::CudaEvent(StateRef state, const EventOptions& options)
    : state_(std::move(state)), timing_(options.timing), spin_(options.spin) {
  state_->require_alive();
  const Entered entered(state_);
  current_ = &add_slot();
}

CudaEvent::~CudaEvent() {
  if (!state_->alive()) return;
  const Entered entered(state_);
  for (const Slot& slot : slots_) check_quietly(driver().cuEventDestroy(slot.event));
}

CudaEvent::Slot& CudaEvent::add_slot() {
  const unsigned flags = (timing_ ? CU_EVENT_DEFAULT : CU_EVENT_DISABLE_TIMING) |
                         (spin_ ? CU_EVENT_DEFAULT : CU_EVENT_BLOCKING_SYNC);
  CUevent event = nullptr;
  state_->check(driver().cuEventCreate(&event, flags));
  return slots_.emplace_back(Slot{event, 0});
}

void CudaEvent::wait() {
  const Waiting waiting(*this);
  const Entered entered(state_);
  if (spin_)
    while (!waiting.done()) __builtin_ia32_pause();
  else
    waiting.block();
  waiting.throw_poison();
}

bool CudaEvent::wait_for(std::chrono::nanoseconds timeout) {
  const Waiting waiting(*this);
  const Entered entered(state_);
  const auto deadline = sched::Clock::after(timeout);
  std::chrono::nanoseconds pause = 10us;  // CUDA has no wait with a deadline
  while (!waiting.done()) {
    if (sched::Clock::now() >= deadline) return false;
    if (spin_) {
      __builtin_ia32_pause();
    } else {
      sched::sleep_until(std::min(deadline, sched::Clock::after(pause)));
      pause = std::min<std::chrono::nanoseconds>(pause * 2, 500us);
    }
  }
  waiting.throw_poison();
  return true;
}

bool CudaEvent::ready() const {
  const Waiting waiting(*this);
  const Entered entered(state_);
  return waiting.done();
}

CUevent CudaEvent::native() const {
  sched::LockGuard lock(mutex_);
  return current_->event;
}

void CudaEvent::record(CUstream stream, const PoisonRef& poison, const CaptureRef& capture) {
  sched::LockGuard lock(mutex_);
  if (current_->waiting > 0) {
    const auto idle =
        std::find_if(slots_.begin(), slots_.end(), [](const Slot& s) { return s.waiting == 0; });
    current_ = idle != slots_.end() ? &*idle : &add_slot();
  }
  state_->check(driver().cuEventRecord(current_->event, stream));
  capture_ = capture;
  if (capture) return;
  ++recorded_;
  if (!poison) return;
  poison_ = poison;
  poison_generation_ = recorded_;
}

PoisonRef CudaEvent::make_wait(CUstream stream, CaptureRef& capture) {
  sched::LockGuard lock(mutex_);
  if (recorded_ == 0 && !capture_)
    throw Error(ErrorCode::misuse,
                "waiting for an event that was never recorded; record it on a stream first");
  if (capture_ && !capture_->open)
    throw Error(
        ErrorCode::misuse,
        "this event was recorded inside a recording, which has ended; record it again after a replay");
  if (capture && !capture_)
    throw Error(ErrorCode::misuse,
                "inside a recording a stream cannot wait for an event from outside; wait before the replay");
  if (capture && capture != capture_)
    throw Error(ErrorCode::misuse, "two recordings in the making cannot wait for each other");
  state_->check(driver().cuStreamWaitEvent(stream, current_->event, CU_EVENT_WAIT_DEFAULT));
  capture = capture_;
  return !capture_ && poison_generation_ == recorded_ ? poison_ : nullptr;
}

CudaEvent::Waiting::Waiting(const CudaEvent& event) : event_(event) {
  event_.state_->require_alive();
  sched::LockGuard lock(event_.mutex_);
  if (event_.capture_)
    throw Error(ErrorCode::misuse,
                "the host cannot wait for an event inside a recording; record one after the replay");
  if (event_.recorded_ == 0)
    throw Error(ErrorCode::misuse,
                "waiting for an event that was never recorded; record it on a stream first");
  generation_ = event_.recorded_;
  slot_ = event_.current_;
  ++slot_->waiting;
}

CudaEvent::Waiting::~Waiting() {
  sched::LockGuard lock(event_.mutex_);
  --slot_->waiting;
}

bool CudaEvent::Waiting::done() const {
  const CUresult result = driver().cuEventQuery(slot_->event);
  if (result == CUDA_ERROR_NOT_READY) return false;
  event_.state_->check(result);
  return true;
}

void CudaEvent::Waiting::block() const { event_.state_->check(driver().cuEventSynchronize(slot_->event)); }

void CudaEvent::Waiting::throw_poison() const {
  PoisonRef poison;
  {
    sched::LockGuard lock(event_.mutex_);
    if (event_.poison_generation_ >= generation_) poison = event_.poison_;
  }
  if (poison) poison->observe_and_throw();
}

CudaEvent& event_of(Event& event, const DeviceState& state) {
  auto* own = dynamic_cast<CudaEvent*>(&event);
  if (!own || own->state().get() != &state)
    throw Error(ErrorCode::misuse, "an event of another device; make it with this stream's device");
  return *own;
}

}  // namespace headrace::cuda
