"""The life of an environment of many invocations at once, as conversations and as random walks."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from rapid.concurrent_lifecycle import MOST_LATE, ConcurrentLifecycle, TooLate, TooManyWaiting
from rapid.events import (
    Answer,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Drain,
    Effect,
    Effects,
    Event,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    GiveBack,
    InitErrorPosted,
    InvocationSettled,
    InvokeArrived,
    Limit,
    LimitPassed,
    NextCalled,
    NextGone,
    Notify,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    Room,
    RuntimeExited,
    SandboxLost,
    Settle,
    Settled,
    SettleInvocation,
    ShutdownAsked,
    StartExtension,
    StartRuntime,
    Timer,
    TimerFired,
    Unlimit,
    Write,
)
from rapid.extensions import ExtensionRefused
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome, exited, timed_out
from rapid.lifecycle import UnknownRequest
from rapid.records import MANAGED, InitReport, InitRuntimeDone, InitStart, Report, RuntimeDone, Span, Start
from rapid.settings import Settings
from rapid.states import IllegalTransition, Phase, RuntimeCall, RuntimeState

SETTINGS = Settings("1", 512, "python:3.13", "arn:runtime", 130, MANAGED, max_concurrency=2)
ONE = Invocation(request_id="one", arn="arn", payload=b"1", trace_id="")
TWO, THREE = replace(ONE, request_id="two"), replace(ONE, request_id="three")
ANSWER = Outcome(b"ok")
MB = 1 << 20


def hand(environment: ConcurrentLifecycle, event: Event) -> Effects:
    effects = environment.handle(event)
    environment.check()
    return effects


def told(environment: ConcurrentLifecycle, *events: Event) -> Effects:
    """The effects of the last of several events."""
    effects: Effects = []
    for event in events:
        effects = hand(environment, event)
    return effects


def starting() -> ConcurrentLifecycle:
    environment = ConcurrentLifecycle(SETTINGS)
    told(environment, Began(0), ExtensionsFound(0, 1, ()))
    return environment


def serving(workers: int = 2) -> ConcurrentLifecycle:
    """The initialisation took a second."""
    environment = starting()
    told(environment, *[NextCalled(1)] * workers, Settled(1, Drain.INIT, 20 * MB))
    return environment


def busy(*invocations: Invocation) -> ConcurrentLifecycle:
    """With these under way since the second second, each with a worker."""
    environment = serving()
    for invocation in invocations:
        hand(environment, InvokeArrived(2, invocation, 3))
    return environment


def started(invocation: Invocation) -> Write:
    return Write(Start(invocation.request_id, "1", "arn"))


def test_initialisation() -> None:
    """It is over with the first worker's `next`; then room is offered for all who wait by then."""
    environment = ConcurrentLifecycle(SETTINGS)
    begun = hand(environment, Began(0))
    assert begun[:2] == [Write(InitStart("python:3.13", "arn:runtime", MANAGED)), FindExtensions(1)]
    assert hand(environment, ExtensionsFound(0, 1, ())) == [StartRuntime(1)]
    assert hand(environment, NextCalled(1)) == [Do.DISARM, Settle(Drain.INIT)]
    assert hand(environment, NextCalled(1.5)) == []
    assert hand(environment, Settled(2, Drain.INIT, MB)) == [
        Write(InitRuntimeDone("init", "success", None, MANAGED)),
        Write(InitReport(1, "init", "success", None, MANAGED)),
        Do.CLOSE_SUBSCRIPTIONS,
        Room(2),
    ]
    assert environment.phase is Phase.SERVING


def test_two_at_once() -> None:
    """Each goes to a worker, is answered and logged for itself, and makes room when its worker is back."""
    environment = serving()
    for invocation in (ONE, TWO):
        assert hand(environment, InvokeArrived(2, invocation, 3)) == [
            started(invocation),
            Deliver(invocation, 5),
            Limit(invocation.request_id, 5),
        ]
    assert hand(environment, ResponseBegan(3, "two", RuntimeCall.RESPONSE)) == []
    assert hand(environment, ResponseEnded(3, "two", ANSWER)) == [
        Answer("two", ANSWER),
        Unlimit("two"),
        SettleInvocation("two"),
    ]
    assert hand(environment, NextCalled(3)) == [Room(1)]
    spans = (Span("responseLatency", 2, 1), Span("responseDuration", 3, 0))
    report = Report("two", 1, None, 512, 30 * MB)
    assert hand(environment, InvocationSettled(4, "two", 30 * MB)) == [
        Write(RuntimeDone("two", "success", None, 1, 2, spans)),
        Write(report),
        Complete(report),
    ]
    assert environment.is_answering


def test_a_worker_that_is_back_early() -> None:
    """One that asks for more before it has answered gets no more than the environment may have at once."""
    environment = busy(ONE, TWO)
    assert hand(environment, NextCalled(3)) == []
    told(environment, ResponseBegan(3, "one", RuntimeCall.RESPONSE))
    assert hand(environment, ResponseEnded(3, "one", ANSWER))[-1] == Room(1)


def test_more_workers_than_invocations_are_refused() -> None:
    """As many may wait as there may be invocations."""
    environment = serving()
    with pytest.raises(TooManyWaiting):
        environment.handle(NextCalled(2))
    environment.check()


def test_a_worker_is_gone() -> None:
    """Its room with it; what had been promised waits for another worker, and its time runs."""
    environment = serving(1)
    assert hand(environment, NextGone(2)) == [Room(-1)]
    assert hand(environment, InvokeArrived(2, ONE, 3)) == [Limit("one", 5), Room(1)]
    assert hand(environment, NextCalled(3)) == [started(ONE), Deliver(ONE, 5)]


def test_nobody_takes_it() -> None:
    """It times out; its log has a beginning nevertheless, and no answer to it is expected."""
    environment = serving(1)
    told(environment, NextGone(2), InvokeArrived(2, ONE, 3))
    fault = timed_out(3)
    assert hand(environment, LimitPassed(5, "one")) == [
        Answer("one", fault.outcome("one")),
        SettleInvocation("one"),
    ]
    logged = hand(environment, InvocationSettled(5, "one", MB))
    assert logged[0] == started(ONE)
    with pytest.raises(UnknownRequest):
        environment.handle(ResponseBegan(6, "one", RuntimeCall.RESPONSE))
    assert hand(environment, NextCalled(6)) == [Room(1)]


def test_a_timeout() -> None:
    """Of one: its client hears of it, the other goes on; its late answer is told apart from nonsense."""
    environment = busy(ONE, TWO)
    fault = timed_out(3)
    outcome = fault.outcome("one")
    assert hand(environment, LimitPassed(5, "one")) == [Answer("one", outcome), SettleInvocation("one")]
    assert hand(environment, LimitPassed(5, "one")) == []
    report = Report("one", 3, None, 512, 30 * MB, "timeout", "Sandbox.Timedout")
    logged = hand(environment, InvocationSettled(5, "one", 30 * MB))
    assert logged[1:] == [Write(report), Complete(report)]
    with pytest.raises(TooLate):
        environment.handle(ResponseBegan(6, "one", RuntimeCall.ERROR))
    told(environment, ResponseBegan(6, "two", RuntimeCall.RESPONSE))
    assert hand(environment, ResponseEnded(6, "two", ANSWER))[0] == Answer("two", ANSWER)
    assert environment.phase is Phase.SERVING


def test_a_timeout_in_mid_answer() -> None:
    """The rest of the answer changes nothing."""
    environment = busy(ONE)
    told(environment, ResponseBegan(4, "one", RuntimeCall.RESPONSE), LimitPassed(5, "one"))
    assert hand(environment, ResponseEnded(5, "one", ANSWER)) == []


def test_late_answers_are_not_remembered_for_ever() -> None:
    """A function that always times out takes no more memory than this."""
    environment = serving()
    for number in range(MOST_LATE + 10):
        invocation = replace(ONE, request_id=str(number))
        told(environment, InvokeArrived(2, invocation, 3), LimitPassed(5, str(number)), NextCalled(5))
        hand(environment, InvocationSettled(5, str(number), MB))
    with pytest.raises(UnknownRequest) as refused:
        environment.handle(ResponseBegan(6, "0", RuntimeCall.RESPONSE))
    assert not isinstance(refused.value, TooLate)


def test_no_timeouts() -> None:
    """Where they are switched off none is set."""
    environment = ConcurrentLifecycle(replace(SETTINGS, timeouts=False))
    told(environment, Began(0), ExtensionsFound(0, 1, ()), NextCalled(1), Settled(1, Drain.INIT, 1))
    assert hand(environment, InvokeArrived(2, ONE, 3)) == [started(ONE), Deliver(ONE, 5)]


@pytest.mark.parametrize("request_id", ["three", "", "one"])
def test_answers_to_nothing(request_id: str) -> None:
    """Unknown, or answered already: refused, and nothing changes."""
    environment = busy(ONE)
    told(environment, ResponseBegan(3, "one", RuntimeCall.RESPONSE), ResponseEnded(3, "one", ANSWER))
    with pytest.raises(UnknownRequest):
        environment.handle(ResponseBegan(3, request_id, RuntimeCall.RESPONSE))
    environment.check()


def test_two_answers_at_a_time() -> None:
    """While one is being received another one is refused; when it breaks off it may be posted again."""
    environment = busy(ONE)
    hand(environment, ResponseBegan(3, "one", RuntimeCall.RESPONSE))
    with pytest.raises(UnknownRequest):
        environment.handle(ResponseBegan(3, "one", RuntimeCall.ERROR))
    hand(environment, ResponseBroke(3, "one"))
    told(environment, ResponseBegan(4, "one", RuntimeCall.ERROR))
    assert hand(environment, ResponseEnded(4, "one", ANSWER))[0] == Answer("one", ANSWER)


def test_the_runtime_ends() -> None:
    """Everybody it worked for is told, their logs are whole, and it is over for good."""
    environment = busy(ONE, TWO)
    fault = exited(ExitStatus(1))
    effects = hand(environment, RuntimeExited(3, 1, ExitStatus(1)))
    assert [each for each in effects if isinstance(each, Answer)] == [
        Answer(request_id, fault.outcome(request_id)) for request_id in ("one", "two")
    ]
    assert effects[-1] is Do.CLEAR
    assert environment.is_over
    with pytest.raises(IllegalTransition):
        environment.handle(NextCalled(3))
    effects = hand(environment, Cleared(4, 40 * MB))
    reports = [Report(each, 1, None, 512, 40 * MB, "error", "Runtime.ExitError") for each in ("one", "two")]
    assert [each.report for each in effects if isinstance(each, Complete)] == reports
    assert effects[-1] is Do.ENDED


def test_answered_ones_keep_their_answer() -> None:
    """A fault between an answer and its log."""
    environment = busy(ONE)
    told(environment, ResponseBegan(3, "one", RuntimeCall.RESPONSE), ResponseEnded(3, "one", ANSWER))
    effects = hand(environment, RuntimeExited(3, 1, ExitStatus(1)))
    assert not [each for each in effects if isinstance(each, Answer)]
    [report] = [each.report for each in hand(environment, Cleared(4, 1)) if isinstance(each, Complete)]
    assert report.status == "success"


def test_a_failed_initialisation() -> None:
    """The first worker's error counts, the second one's is refused; the environment ends and says of what."""
    environment = starting()
    effects = hand(environment, InitErrorPosted(1, "Runtime.Bad", b"{}"))
    assert effects[-1] is Do.CLEAR
    with pytest.raises(IllegalTransition):
        environment.handle(InitErrorPosted(1, "Runtime.Bad", b"{}"))
    assert environment.init_failure == Fault("Runtime.Bad", "", payload=b"{}")
    assert hand(environment, Cleared(2, 1)) == [
        Write(InitReport(1, "init", "error", "Runtime.Bad", MANAGED)),
        Do.ENDED,
    ]


def test_a_late_worker_cannot_fail_the_initialisation() -> None:
    """It was over with the first `next`."""
    environment = serving(1)
    with pytest.raises(IllegalTransition):
        environment.handle(InitErrorPosted(2, "Runtime.Bad", b"{}"))
    assert environment.phase is Phase.SERVING


def test_the_initialisation_takes_too_long() -> None:
    """Its limit is for all of it."""
    environment = starting()
    effects = hand(environment, TimerFired(130, Timer.INIT, 1))
    assert effects[-1] is Do.CLEAR
    assert environment.init_failure is not None
    assert environment.init_failure.status == "timeout"


def test_shut_down_and_lost() -> None:
    """Whoever waits is answered."""
    for last in (ShutdownAsked(3), SandboxLost(3, "gone")):
        environment = busy(ONE)
        effects = hand(environment, last)
        assert [each.request_id for each in effects if isinstance(each, Answer)] == ["one"]
        if isinstance(last, ShutdownAsked):
            effects = hand(environment, Cleared(4, 1))
        assert effects[-1] is Do.ENDED
        assert [each for each in effects if isinstance(each, Complete)]


def test_a_lost_sandbox_gives_back_what_no_worker_has_taken() -> None:
    """Another environment is to have it; what a worker has is lost with it."""
    environment = serving(2)
    told(environment, InvokeArrived(2, ONE, 3), NextGone(2), InvokeArrived(2, TWO, 3))
    effects = hand(environment, SandboxLost(3, "gone"))
    assert [each for each in effects if isinstance(each, GiveBack)] == [GiveBack(TWO)]
    assert [each.request_id for each in effects if isinstance(each, Answer)] == ["one"]
    assert [each.report.request_id for each in effects if isinstance(each, Complete)] == ["one"]


def test_a_lost_sandbox_gives_back_what_was_not_read() -> None:
    """It was written to a worker that had died; its START, which is in the log, gets its END."""
    environment = busy(ONE)
    effects = hand(environment, SandboxLost(3, "gone", unread=frozenset({"one"})))
    assert effects.index(Unlimit("one")) < effects.index(GiveBack(ONE))
    assert not [each for each in effects if isinstance(each, Answer)]
    [told] = [each for each in effects if isinstance(each, Complete)]
    assert Write(told.report) in effects
    assert (told.report.request_id, told.report.error_type) == ("one", "Sandbox.Failure")


def test_the_runtime_ends_before_an_event_is_read() -> None:
    """What has not been heard of is another environment's; what has been is answered."""
    environment = serving(2)
    told(environment, InvokeArrived(2, ONE, 3), InvokeArrived(2, TWO, 3))
    effects = hand(environment, RuntimeExited(3, 1, ExitStatus(1), frozenset({"two"})))
    assert [each for each in effects if isinstance(each, GiveBack)] == [GiveBack(TWO)]
    [answer] = [each for each in effects if isinstance(each, Answer)]
    assert (answer.request_id, answer.outcome.error_type) == ("one", "Runtime.ExitError")
    logged = [
        each.report.request_id for each in hand(environment, Cleared(4, 1)) if isinstance(each, Complete)
    ]
    assert sorted(logged) == ["one", "two"]


def test_an_answer_is_no_word_of_what_was_not_read() -> None:
    """A worker that has begun to answer has read the event, whatever is said."""
    environment = busy(ONE)
    hand(environment, ResponseBegan(3, "one", RuntimeCall.RESPONSE))
    effects = hand(environment, SandboxLost(3, "gone", unread=frozenset({"one"})))
    assert [each.request_id for each in effects if isinstance(each, Answer)] == ["one"]
    assert not [each for each in effects if isinstance(each, GiveBack)]


def with_extension() -> ConcurrentLifecycle:
    environment = ConcurrentLifecycle(SETTINGS)
    hand(environment, Began(0))
    assert hand(environment, ExtensionsFound(0, 1, ("e",))) == [StartExtension(1, "e")]
    return environment


def test_extensions_hear_of_the_end_only() -> None:
    """They cannot subscribe to invocations; one that is gone takes the environment with it."""
    environment = with_extension()
    with pytest.raises(ExtensionRefused) as refused:
        environment.handle(ExtensionRegistered(0, "e", ("INVOKE", "SHUTDOWN"), "id"))
    assert refused.value.refusal.message == "INVOKE: ErrorInvalidEventType"
    assert hand(environment, ExtensionRegistered(0, "e", ("SHUTDOWN",), "id")) == [StartRuntime(1)]
    told(environment, NextCalled(1), ExtensionNextCalled(1, "id"), Settled(1, Drain.INIT, 1))
    assert not [each for each in hand(environment, InvokeArrived(2, ONE, 3)) if isinstance(each, Notify)]
    effects = hand(environment, ExtensionExited(3, 1, "e", ExitStatus(1)))
    [answer] = [each for each in effects if isinstance(each, Answer)]
    assert answer.outcome.error_type == "Extension.Crash"
    assert environment.is_over


class Walk:
    """Whatever happens in whatever order; the books are kept by request id."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311  a walk must be repeatable
        self.environment = ConcurrentLifecycle(SETTINGS)
        self.now = 0.0
        self.room = self.promised = 0
        self.pending = 0
        self.arrived: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.limits: set[str] = set()
        self.given_back: set[str] = set()
        self.settling: list[str] = []
        self.ended = False

    def step(self, event: Event) -> None:
        try:
            effects = self.environment.handle(event)
        except (IllegalTransition, UnknownRequest, ExtensionRefused):
            return
        self.environment.check()
        if isinstance(event, NextCalled):
            self.pending += 1
        for effect in effects:
            assert not self.ended
            self.note(effect)

    def note(self, effect: Effect) -> None:  # noqa: C901  it is a table
        match effect:
            case Room(change):
                self.room += change
            case Deliver(invocation, _):
                assert self.pending > 0, "nobody waits"
                self.pending -= 1
                self.count("deliver", invocation.request_id)
            case Answer(request_id, _):
                self.count("answer", request_id)
            case GiveBack(invocation):
                self.given_back.add(invocation.request_id)
            case Limit(request_id, _):
                self.limits.add(request_id)
            case Unlimit(request_id):
                self.limits.discard(request_id)
            case SettleInvocation(request_id):
                self.settling.append(request_id)
            case Write(Report() as report):
                assert self.counts["start", report.request_id]
                self.count("report", report.request_id)
            case Write(Start(request_id)):
                self.count("start", request_id)
            case Complete(report):
                assert self.counts["answer", report.request_id] or report.request_id in self.given_back
                self.count("complete", report.request_id)
            case Do.ENDED:
                self.ended = True

    def count(self, what: str, request_id: str) -> None:
        assert request_id in self.arrived
        self.counts[what, request_id] += 1
        assert self.counts[what, request_id] == 1, (what, request_id)

    def event(self) -> Event:  # noqa: C901, PLR0911, PLR0912  it is a table
        draw, now = self.draw, self.now
        someone = draw.choice(self.arrived[-6:] or ["nobody"])
        if self.room > 0 and draw.random() < 0.3:  # given to an invocation that is on its way
            self.room -= 1
            self.promised += 1
        match draw.choice("nnnniiirrrreeessslbgxtou"):
            case "n":
                return NextCalled(now)
            case "i" if self.promised and not self.environment.is_over:
                self.arrived.append(f"r{len(self.arrived)}")
                self.promised -= 1
                return InvokeArrived(now, replace(ONE, request_id=self.arrived[-1]), 3)
            case "r":
                return ResponseBegan(now, someone, RuntimeCall.RESPONSE)
            case "e":
                return ResponseEnded(now, someone, ANSWER)
            case "s" if self.settling:
                return InvocationSettled(now, self.settling.pop(draw.randrange(len(self.settling))), 1)
            case "l" if self.limits:
                passed = draw.choice(sorted(self.limits))
                self.limits.discard(passed)
                return LimitPassed(now, passed)
            case "b":
                return ResponseBroke(now, someone)
            case "g" if self.pending and self.environment.phase is Phase.SERVING:
                if self.environment._waiting_workers:
                    self.pending -= 1
                    return NextGone(now)
            case "x" if draw.random() < 0.03:
                unread = frozenset(each for each in self.arrived if draw.random() < 0.5)
                return RuntimeExited(now, 1, ExitStatus(1), unread)
            case "t" if draw.random() < 0.1:
                return TimerFired(now, Timer.INIT, 1)
            case "o" if draw.random() < 0.03:
                return ShutdownAsked(now)
            case "u" if draw.random() < 0.3:
                return Cleared(now, 1)
        return Settled(now, Drain.INIT, 1)

    def walk(self) -> None:
        self.step(Began(0))
        self.step(ExtensionsFound(0, 1, ()))
        for _ in range(300):
            self.now += self.draw.choice((0.0, 0.5))
            self.step(self.event())
        unread = frozenset(each for each in self.arrived if self.draw.random() < 0.5)
        self.step(SandboxLost(self.now, "the walk is over", unread=unread))
        assert self.ended
        assert not self.limits
        for request_id in self.arrived:
            is_back = request_id in self.given_back
            assert self.counts["answer", request_id] == (0 if is_back else 1), request_id
            started = self.counts["start", request_id]
            assert started or is_back, request_id
            for what in ("report", "complete"):
                assert self.counts[what, request_id] == started, (what, request_id)


@pytest.mark.parametrize("seed", range(300))
def test_walk(seed: int) -> None:
    """Nobody is lost, answered twice or delivered to nobody; every log is whole."""
    Walk(seed).walk()


def test_repr() -> None:
    """For logs."""
    shown = repr(busy(ONE))
    assert shown == "<ConcurrentLifecycle serving runtime=Ready 1 invocations, 1 workers waiting>"
    assert serving().runtime is RuntimeState.READY
