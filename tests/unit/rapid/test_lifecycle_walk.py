"""Random walks over the life of an environment, with every invariant on.

A walk hands in whatever comes to mind: plausible events most of the time, late, doubled and misplaced ones in between.
Nothing that the outside does may lose an invocation, answer it twice, or leave its log in pieces.
"""

import copy
import random
from collections import Counter
from collections.abc import Callable

import pytest

from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Effect,
    Event,
    ExtensionErrorPosted,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionNotStarted,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    InitErrorPosted,
    InvokeArrived,
    InvokeNotice,
    NextCalled,
    Notify,
    Respond,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RuntimeCall,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settled,
    ShutdownAsked,
    ShutdownNotice,
    SignalRuntime,
    StartExtension,
    StartRuntime,
    Timer,
    TimerFired,
    Write,
)
from rapid.extensions import ExtensionCall, ExtensionRefused, ExtensionState
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.lifecycle import IllegalTransition, Lifecycle, Phase, RuntimeState, Settings, UnknownRequest
from rapid.records import Report, Start

SETTINGS = Settings("1", 128, "python:3.11", "arn")
STEPS = 400


class Walker:
    """Tells an environment what happens, and keeps the books about what it answers."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311  a walk must be repeatable
        self.environment = Lifecycle(SETTINGS)
        self.now = 0.0
        self.story: list[tuple[Event, list[Effect]]] = []
        self.arrived: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.clearing = self.settling = 0
        self.ended = False

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            self.now += self.draw.choice((0.0, 0.001, 1.0))
            self.step(self.event())
        self.finish()

    def finish(self) -> None:
        """Bring the environment to its end, one way or the other."""
        if self.draw.random() < 0.5:
            self.step(ShutdownAsked(self.now))
            for _ in range(2):  # the runtime's grace, the extensions' time
                self.step(TimerFired(self.now, Timer.STOP, self.environment.generation))
            self.step(Cleared(self.now, 1))
        self.step(SandboxLost(self.now, "the walk is over"))

    def step(self, event: Event) -> None:
        before = copy.deepcopy(vars(self.environment))
        phase = self.environment.phase
        try:
            effects = self.environment.handle(event)
        except (IllegalTransition, UnknownRequest, ExtensionRefused):
            assert vars(self.environment) == before, event
            return
        self.story.append((event, effects))
        self.environment.check()
        if isinstance(event, InvokeArrived):
            self.arrived.append(event.invocation.request_id)
        for effect in effects:
            assert not self.ended, effect
            self.note(effect)
        self.look(phase, effects)

    # The books

    def note(self, effect: Effect) -> None:  # noqa: C901  it is a table
        match effect:
            case Write(Start(request_id)):
                assert not self.counts["report", request_id]
                self.count("start", request_id)
            case Write(Report() as report):
                assert self.counts["start", report.request_id]
                assert report.duration >= 0
                self.count("report", report.request_id)
            case Complete(report):
                assert self.counts["report", report.request_id]
                assert self.counts["respond", report.request_id]
                self.count("complete", report.request_id)
            case Respond():
                self.count("respond", self.arrived[-1])
            case Deliver(invocation, _):
                assert invocation.request_id == self.arrived[-1]
                assert not self.counts["respond", invocation.request_id]
            case StartRuntime(generation) | StartExtension(generation) | FindExtensions(generation):
                assert generation == self.environment.generation
            case SignalRuntime(generation, _):
                assert generation == self.environment.generation
            case Notify(identifier, notice):
                self.notify(identifier, notice)
            case Arm():
                assert effect.generation == self.environment.generation
                assert effect.at >= self.now
            case Do.ENDED:
                self.ended = True

    def notify(self, identifier: str, notice: InvokeNotice | ShutdownNotice) -> None:
        """Extensions hear what they subscribed to, each invocation once."""
        extension = self.environment.extensions.find(identifier)
        assert extension is not None
        if isinstance(notice, InvokeNotice):
            assert "INVOKE" in extension.events
            assert notice.invocation.request_id == self.arrived[-1]
        else:
            assert "SHUTDOWN" in extension.events
            assert notice.deadline >= self.now

    def count(self, what: str, request_id: str) -> None:
        self.counts[what, request_id] += 1
        assert self.counts[what, request_id] == 1, (what, request_id)

    def look(self, phase: Phase, effects: list[Effect]) -> None:
        """What must hold of the effects of any one event."""
        last = effects[-1:]
        for final in (Do.IDLE, Do.ENDED):
            assert (final in effects) == (last == [final])
        if Do.CLEAR in effects:
            assert phase not in (Phase.CLEARING, Phase.SHUTDOWN), "cleared twice"
            assert self.environment.phase in (Phase.CLEARING, Phase.SHUTDOWN)
        if last == [Do.IDLE]:
            assert self.environment.phase in (Phase.IDLE, Phase.COLD)
            assert self.unfinished() == []

    def unfinished(self) -> list[str]:
        return [name for name in self.arrived if not self.counts["complete", name]]

    # What may happen

    def event(self) -> Event:
        likely = self.likely() + self.extensions()
        if likely and self.draw.random() < 0.75:
            return self.draw.choice(likely)()
        return self.draw.choice(self.anything())()

    def likely(self) -> list[Callable[[], Event]]:  # noqa: C901, PLR0911  it is a table
        """What a well-meaning world would do next."""
        match self.environment.phase, self.environment.runtime:
            case Phase.COLD, _:
                return [self.began, self.invoke]
            case Phase.IDLE, _:
                return [self.invoke]
            case Phase.SETTLING, _:
                return [lambda: Settled(self.now, self.draw.randrange(10**9))]
            case Phase.STOPPING, _:
                return [lambda: TimerFired(self.now, Timer.STOP, self.environment.generation)]
            case ((Phase.INIT | Phase.INVOKE), RuntimeState.ABSENT) if not self.environment.extensions.names:
                return [self.found]
            case ((Phase.CLEARING | Phase.SHUTDOWN), _):
                return [lambda: Cleared(self.now, self.draw.randrange(10**9))]
            case _, RuntimeState.RESPONSE_SENT:
                return [lambda: NextCalled(self.now), lambda: Settled(self.now, self.draw.randrange(10**9))]
            case _, RuntimeState.STARTED:
                return [lambda: NextCalled(self.now)]
            case _, RuntimeState.RUNNING:
                return [self.response]
            case _, (RuntimeState.RESPONDING | RuntimeState.ERRING):
                return [self.response_end]
        return []

    def extensions(self) -> list[Callable[[], Event]]:
        """What well-meaning extensions would do next."""
        moves: list[Callable[[], Event]] = []
        for extension in map(self.environment.extensions.named, self.environment.extensions.names):
            if extension.state is ExtensionState.STARTED:
                moves.append(lambda name=extension.name: self.register(name))  # type: ignore[misc]
            elif extension.state in (ExtensionState.REGISTERED, ExtensionState.RUNNING):
                moves.append(lambda it=extension.identifier: ExtensionNextCalled(self.now, it))  # type: ignore[misc]
        return moves

    def found(self) -> Event:
        names = self.draw.choice(((), (), ("one",), ("one", "two"), tuple("abcdefghijk")))
        return ExtensionsFound(self.now, self.generation(), names)

    def register(self, name: str) -> Event:
        events = self.draw.choice(((), ("INVOKE",), ("SHUTDOWN",), ("INVOKE", "SHUTDOWN")))
        return ExtensionRegistered(self.now, name, events, f"{name} {len(self.story)}")

    def identifier(self) -> str:
        known = [each.identifier for each in self.environment.extensions.registered]
        return self.draw.choice([*known, "nobody's"])

    def extension_exit(self) -> Event:
        names = self.environment.extensions.names
        generation = self.environment.generation if names else -1
        status = ExitStatus(self.draw.choice((0, 1, -9)))
        return ExtensionExited(self.now, generation, self.draw.choice(names or ["none"]), status)

    def anything(self) -> list[Callable[[], Event]]:
        rare: list[Callable[[], Event]] = [
            lambda: ShutdownAsked(self.now),
            lambda: SandboxLost(self.now, "gone", self.draw.random() < 0.5),
        ]
        return [
            *(rare if self.draw.random() < 0.02 else []),
            self.began,
            self.invoke,
            lambda: NextCalled(self.now),
            self.response,
            self.response_end,
            lambda: ResponseBroke(self.now, self.request_id()),
            lambda: InitErrorPosted(self.now, "Runtime.Unknown", b"{}"),
            lambda: RuntimeNotStarted(self.now, self.generation(), Fault("Runtime.InvalidEntrypoint", "no")),
            lambda: RuntimeExited(self.now, self.generation(), ExitStatus(self.draw.choice((0, 1, -9)))),
            lambda: TimerFired(self.now, self.draw.choice(list(Timer)), self.generation()),
            lambda: Settled(self.now, 1),
            lambda: Cleared(self.now, 1),
            self.found,
            lambda: self.register(self.draw.choice(("one", "internal"))),
            lambda: ExtensionNextCalled(self.now, self.identifier()),
            lambda: ExtensionErrorPosted(
                self.now,
                self.identifier(),
                self.draw.choice((ExtensionCall.INIT_ERROR, ExtensionCall.EXIT_ERROR)),
                "Extension.Why",
            ),
            lambda: ExtensionNotStarted(self.now, self.generation(), "one", "no"),
            self.extension_exit,
        ]

    def began(self) -> Event:
        return Began(self.now)

    def invoke(self) -> Event:
        invocation = Invocation(request_id=f"r{len(self.arrived)}", arn="arn", payload=b"", trace_id="")
        return InvokeArrived(self.now, invocation, 3)

    def response(self) -> Event:
        call = self.draw.choice((RuntimeCall.RESPONSE, RuntimeCall.ERROR))
        return ResponseBegan(self.now, self.request_id(), call)

    def response_end(self) -> Event:
        return ResponseEnded(self.now, self.request_id(), Outcome(b""))

    def request_id(self) -> str:
        """Mostly the last one; now and then an older one, or none that ever was."""
        return self.draw.choice([*self.arrived[-1:] * 6, *self.arrived[-3:], "nobody's"])

    def generation(self) -> int:
        return max(0, self.environment.generation - self.draw.choice((0, 0, 0, 1, 2)))


@pytest.mark.parametrize("seed", range(120))
def test_walk(seed: int) -> None:
    """However the events come, each invocation is answered once, logged whole and completed once."""
    walker = Walker(seed)
    walker.walk(STEPS)
    assert walker.ended
    assert walker.environment.phase is Phase.ENDED
    for what in ("start", "report", "respond", "complete"):
        assert [name for name in walker.arrived if walker.counts[what, name] != 1] == [], what
    assert {name for _, name in walker.counts} == set(walker.arrived)


def test_walks_go_everywhere() -> None:
    """The walks above see every phase, every state of the runtime and every kind of event that is obeyed."""
    seen: set[object] = set()
    for seed in range(40):
        walker = Walker(seed)
        for _ in range(STEPS):
            walker.step(walker.event())
            seen |= {walker.environment.phase, walker.environment.runtime}
        seen |= {type(event) for event, _ in walker.story}
    assert seen >= set(Phase) | (set(RuntimeState) - {RuntimeState.INIT_ERROR})
    assert seen >= {
        RuntimeState.INIT_ERROR,
        Began,
        InvokeArrived,
        Settled,
        Cleared,
        ShutdownAsked,
        SandboxLost,
    }
