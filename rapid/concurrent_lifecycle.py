"""The life of an execution environment that serves many invocations at once, as a pure state machine.

It initialises, says goodbye and ends as any other (`rapid.lifecycle`, which this refines); in between it is SERVING:

1. Each `next` that the runtime has pending is a **worker** that waits for work. The initialisation is over with the
   first one; others may come, and go, at any time.
2. Each invocation has a course of its own (`rapid.progress`): delivered to a worker, answered, drained, logged. It is
   over with its answer; that its worker is ready again is told by another `next`, whoever sends it.
3. How many invocations fit in is told by `Room`, as changes: as many as workers wait, and never more than
   `max_concurrency` without an answer. One that comes although its worker has just ended waits for another worker.
4. A timeout is the invocation's own. Its worker goes on, and is told that it is too late when it answers.
5. Nothing is frozen, and extensions hear of the end only.
6. A fault (the runtime's process ends, an extension fails, the initialisation fails) ends the environment for good, with
   whatever it was working on. Another one takes its place.
"""

from collections import OrderedDict, deque

from rapid import errors
from rapid.events import (
    Answer,
    Complete,
    Deliver,
    Do,
    Effects,
    ExtensionRegistered,
    GiveBack,
    InvocationSettled,
    InvokeArrived,
    Limit,
    LimitPassed,
    NextCalled,
    NextGone,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    Room,
    RuntimeExited,
    SandboxLost,
    Settled,
    SettleInvocation,
    Unlimit,
    Write,
)
from rapid.extensions import INVOKE, ExtensionRefused
from rapid.farewell import FAILURE, TIMEOUT
from rapid.invocation import Fault, exited, timed_out
from rapid.lifecycle import HANDLERS, Lifecycle, UnknownRequest
from rapid.progress import Progress
from rapid.settings import Settings
from rapid.states import IllegalTransition, Phase, RuntimeCall, RuntimeState, Turn

MOST_LATE = 1000
"""Invocations that have timed out whose answers are still told apart from answers to nothing."""


class TooLate(UnknownRequest):
    """The call answers an invocation that has timed out. Nothing has changed."""


class TooManyWaiting(IllegalTransition):
    """More workers wait than there may ever be invocations. Nothing has changed."""


class ConcurrentLifecycle(Lifecycle):
    """See the module's text."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._running: dict[str, Progress] = {}
        #: Invocations that are not over and logged, by request id.
        self._queue: deque[str] = deque()
        #: Those of them that no worker has taken.
        self._late: OrderedDict[str, None] = OrderedDict()
        #: Those that timed out and may be answered yet.
        self._waiting_workers = 0
        self._unanswered = 0
        self._offered = 0
        #: What `Room` has told in total, less what has come.

    def __repr__(self) -> str:
        return (
            f"<ConcurrentLifecycle {self.phase} runtime={self.runtime} "
            f"{len(self._running)} invocations, {self._waiting_workers} workers waiting>"
        )

    @property
    def is_answering(self) -> bool:
        """Whether an answer may be on its way."""
        return self.phase is Phase.SERVING and self._unanswered > 0

    def check(self) -> None:
        super().check()
        unanswered = [each for each in self._running.values() if each.outcome is None]
        assert self._unanswered == len(unanswered), self
        assert 0 <= self._waiting_workers <= self._settings.max_concurrency, self
        assert not (self._queue and self._waiting_workers), self
        assert all(self._running[each].delivered is None for each in self._queue), self
        assert len(self._late) <= MOST_LATE, self
        ending = {Phase.STOPPING, Phase.CLEARING}
        assert not self._running or self.phase in {Phase.SERVING} | ending, self
        assert not self._unanswered or self.phase is Phase.SERVING, self
        assert self.phase is not Phase.SERVING or self._offered == self._room(), self

    # Workers

    def _next_called(self, event: NextCalled) -> Effects:
        if self.runtime is RuntimeState.STARTED:
            self._call(RuntimeCall.NEXT)
            self._waiting_workers = 1
            return self._runtime_ready(event.now)
        if self.runtime is not RuntimeState.READY or self.phase in (Phase.STOPPING, Phase.CLEARING):
            raise IllegalTransition(self.runtime, RuntimeCall.NEXT.shown_target)
        if self._queue:
            return [*self._deliver(event.now, self._running[self._queue.popleft()]), *self._tell_room()]
        if self._waiting_workers >= self._settings.max_concurrency:
            raise TooManyWaiting(self.runtime, RuntimeCall.NEXT.shown_target)
        self._waiting_workers += 1
        return self._tell_room()

    def _next_gone(self, _event: NextGone) -> Effects:
        self._waiting_workers -= 1
        return self._tell_room()

    def _room(self) -> int:
        return max(0, min(self._waiting_workers, self._settings.max_concurrency - self._unanswered))

    def _tell_room(self) -> Effects:
        """What has changed of it. Before it serves, and when it ends, there is none."""
        change = self._room() - self._offered
        if self.phase is not Phase.SERVING or not change:
            return []
        self._offered += change
        return [Room(change)]

    def _init_settled(self, event: Settled) -> Effects:
        init = self._init
        if init is None or not init.is_over or self.phase is not Phase.SETTLING:
            return []
        self._memory_peak = max(self._memory_peak, event.memory_peak)
        self._init = None
        logged = self._initialised(event.now, init)
        self._turn(Turn.OPENED)
        return [*logged, *self._tell_room()]

    # Invocations

    def _invoke_arrived(self, event: InvokeArrived) -> Effects:
        if self.phase is not Phase.SERVING:
            raise IllegalTransition(self.phase, Turn.INVOKED)
        request_id = event.invocation.request_id
        self._running[request_id] = progress = Progress(event.invocation, event.now, event.timeout)
        self._unanswered += 1
        self._offered -= 1
        limit: Effects = [Limit(request_id, progress.deadline)] if self._settings.timeouts else []
        if not self._waiting_workers:
            self._queue.append(request_id)
            return [*limit, *self._tell_room()]
        self._waiting_workers -= 1
        return [*self._deliver(event.now, progress), *limit, *self._tell_room()]

    def _deliver(self, now: float, current: Progress) -> Effects:
        current.delivered = now
        return [*self._started(current), Deliver(current.invocation, current.deadline)]

    def _response_began(self, event: ResponseBegan) -> Effects:
        progress = self._running.get(event.request_id)
        if event.request_id in self._late:
            raise TooLate("it has timed out")
        if progress is None or progress.delivered is None or progress.outcome is not None:
            raise UnknownRequest
        if progress.answer_began is not None:  # one is being received
            raise UnknownRequest
        progress.answer_began = event.now
        return []

    def _response_ended(self, event: ResponseEnded) -> Effects:
        progress = self._running.get(event.request_id)
        if progress is None or progress.answer_began is None or progress.outcome is not None:
            self._late.pop(event.request_id, None)
            return []  # its time or the environment's end came first
        progress.answer_ended = progress.ended = event.now
        progress.outcome = event.outcome
        self._unanswered -= 1
        return [
            Answer(event.request_id, event.outcome),
            Unlimit(event.request_id),
            SettleInvocation(event.request_id),
            *self._tell_room(),
        ]

    def _response_broke(self, event: ResponseBroke) -> Effects:
        progress = self._running.get(event.request_id)
        if progress is not None and progress.outcome is None:
            progress.answer_began = None
        return []

    def _limit_passed(self, event: LimitPassed) -> Effects:
        progress = self._running.get(event.request_id)
        if progress is None or progress.outcome is not None:
            return []
        if progress.delivered is None:
            self._queue.remove(event.request_id)
        else:
            self._late[event.request_id] = None
            if len(self._late) > MOST_LATE:
                self._late.popitem(last=False)
        return [
            *self._given_up(event.now, progress, timed_out(progress.timeout)),
            SettleInvocation(event.request_id),
            *self._tell_room(),
        ]

    def _given_up(self, now: float, progress: Progress, fault: Fault) -> Effects:
        progress.ended, progress.fault = now, fault
        progress.outcome = fault.outcome(progress.invocation.request_id)
        self._unanswered -= 1
        return [Answer(progress.invocation.request_id, progress.outcome)]

    def _invocation_settled(self, event: InvocationSettled) -> Effects:
        self._memory_peak = max(self._memory_peak, event.memory_peak)
        progress = self._running.pop(event.request_id, None)
        return [] if progress is None else self._logged(event.now, progress)

    def _logged(self, now: float, progress: Progress) -> Effects:
        started = [] if progress.delivered is not None else self._started(progress)
        report = progress.report(self._settings.memory_size, self._memory_peak, None, None)
        return [*started, Write(progress.runtime_done(now)), Write(report), Complete(report)]

    # Extensions, faults, ends

    def _extension_registered(self, event: ExtensionRegistered) -> Effects:
        if INVOKE in event.events:
            raise ExtensionRefused(errors.invalid_event_type(INVOKE, "ErrorInvalidEventType"))
        return super()._extension_registered(event)

    def _runtime_exited(self, event: RuntimeExited) -> Effects:
        """Others are to have what it has not read: this environment is over."""
        is_fault = self._farewell is None and self._is_live(event.generation)
        back = self._give_back(exited(event.status), event) if is_fault else []
        return [*back, *super()._runtime_exited(event)]

    def _fail(self, now: float, fault: Fault) -> Effects:
        """End for good."""
        effects: Effects = [Do.DISARM, *self._init_failed(now, fault), *self._give_up(now, fault)]
        self._is_ending = True
        reason = TIMEOUT if fault.status == "timeout" else FAILURE
        return [*effects, *self._end_parties(now, reason, Turn.FAILED)]

    def _give_up(self, now: float, fault: Fault) -> Effects:
        """Answer whoever waits for one, at the end of the environment."""
        self._init = None
        self._queue.clear()
        self._waiting_workers = 0
        effects: Effects = []
        for request_id, progress in self._running.items():
            if progress.outcome is None:
                effects += [*self._given_up(now, progress, fault), Unlimit(request_id)]
        return effects

    def _give_back(self, fault: Fault, event: SandboxLost | RuntimeExited) -> Effects:
        """Hand back what no worker has taken, or read; others are told of the fault."""
        effects: Effects = []
        for request_id, progress in list(self._running.items()):
            if progress.outcome is not None:
                continue
            if progress.delivered is None:
                del self._running[request_id]
            elif request_id in event.unread and progress.answer_began is None:
                progress.ended, progress.outcome = event.now, fault.outcome(request_id)
                progress.fault = fault
            else:
                continue
            effects += [Unlimit(request_id), GiveBack(progress.invocation)]
            self._unanswered -= 1
        self._queue.clear()
        return effects

    def _completed(self, now: float, memory_peak: int) -> Effects:
        effects = super()._completed(now, memory_peak)
        for progress in self._running.values():
            effects += self._logged(now, progress)
        self._running.clear()
        self._late.clear()
        return effects


ConcurrentLifecycle._handlers = {
    **HANDLERS,
    InvokeArrived: ConcurrentLifecycle._invoke_arrived,
    NextCalled: ConcurrentLifecycle._next_called,
    NextGone: ConcurrentLifecycle._next_gone,
    ResponseBegan: ConcurrentLifecycle._response_began,
    ResponseEnded: ConcurrentLifecycle._response_ended,
    ResponseBroke: ConcurrentLifecycle._response_broke,
    LimitPassed: ConcurrentLifecycle._limit_passed,
    RuntimeExited: ConcurrentLifecycle._runtime_exited,
    InvocationSettled: ConcurrentLifecycle._invocation_settled,
    ExtensionRegistered: ConcurrentLifecycle._extension_registered,
}
