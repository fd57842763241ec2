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
    CodeChanged,
    Complete,
    Deliver,
    Do,
    Drain,
    Effect,
    Event,
    ExtensionErrorPosted,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionNotStarted,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    GiveBack,
    InitErrorPosted,
    InvokeArrived,
    InvokeNotice,
    NextCalled,
    Notify,
    Respond,
    ResponseBegan,
    ResponseBroke,
    ResponseEnded,
    RestoreErrorPosted,
    RestoreNextCalled,
    RuntimeExited,
    RuntimeNotStarted,
    SandboxLost,
    Settle,
    Settled,
    ShutdownAsked,
    ShutdownNotice,
    SignalRuntime,
    StartExtension,
    StartRuntime,
    TelemetrySubscribed,
    Timer,
    TimerFired,
    Write,
)
from rapid.extensions import ExtensionRefused
from rapid.invocation import ExitStatus, Fault, Invocation, Outcome
from rapid.lifecycle import Lifecycle, UnknownRequest
from rapid.records import InitReport, InitRuntimeDone, InitStart, Report, RuntimeDone, Start
from rapid.settings import Settings
from rapid.states import (
    TURNS,
    ExtensionCall,
    ExtensionState,
    IllegalTransition,
    Phase,
    RuntimeCall,
    RuntimeState,
)

SETTINGS = Settings("1", 128, "python:3.11", "arn")
SNAPSHOTS = Settings("1", 128, "python:3.11", "arn", 130, "snap-start")
STEPS = 400


class Walker:
    """Tells an environment what happens, and keeps the books about what it answers."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311  a walk must be repeatable
        self.environment = Lifecycle(self.draw.choice((SETTINGS, SNAPSHOTS)))
        self.now = 0.0
        self.story: list[tuple[Event, list[Effect]]] = []
        self.arrived: list[str] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.asked: Counter[Drain] = Counter()
        self.initialisations: list[str] = []
        self.armed = 0.0
        #: The time of the last timer.
        self.given_back: set[str] = set()
        self.ended = False

    def walk(self, steps: int) -> None:
        for _ in range(steps):
            later = self.now + self.draw.choice((0.0, 0.001, 1.0))
            is_stopping = self.environment.phase is Phase.STOPPING  # its timer is not late by seconds
            self.now = max(self.now, min(later, self.armed)) if is_stopping else later
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
        before = picture(self.environment)
        phase = self.environment.phase
        try:
            effects = self.environment.handle(event)
        except (IllegalTransition, UnknownRequest, ExtensionRefused):
            assert picture(self.environment) == before, event
            return
        self.story.append((event, effects))
        self.environment.check()
        if isinstance(event, InvokeArrived):
            self.arrived.append(event.invocation.request_id)
        for effect in effects:
            assert not self.ended, effect
            self.note(effect)
        self.look(phase, effects)
        if self.environment.phase is not phase:
            self.turn(phase)

    def turn(self, before: Phase) -> None:
        """From one phase to another there is a way through the table; STOPPING may last no time, and so may CLEARING."""
        ways = {before}
        for _ in range(3):
            ways |= {after for phase in ways for after in TURNS[phase].values()}
        assert self.environment.phase in ways, (before, self.environment.phase)

    # The books

    def note(self, effect: Effect) -> None:  # noqa: C901, PLR0912  it is a table
        match effect:
            case Write(Start(request_id)):
                assert not self.counts["report", request_id]
                self.count("start", request_id)
            case Write(RuntimeDone(request_id)):
                assert self.counts["start", request_id]
                assert not self.counts["report", request_id]
                self.count("done", request_id)
            case Write(InitStart() | InitRuntimeDone() | InitReport() as record):
                self.initialise(record)
            case Write(Report() as report):
                assert self.counts["start", report.request_id]
                assert self.counts["done", report.request_id]
                assert report.duration >= 0
                self.count("report", report.request_id)
            case Complete(report):
                assert self.counts["report", report.request_id]
                assert self.counts["respond", report.request_id]
                self.count("complete", report.request_id)
            case Respond():
                self.count("respond", self.arrived[-1])
            case GiveBack(invocation):  # then nobody here answers it
                self.count("respond", invocation.request_id)
                self.given_back.add(invocation.request_id)
            case Deliver(invocation, _):
                assert invocation.request_id == self.arrived[-1]
                assert not self.counts["respond", invocation.request_id]
            case StartRuntime(generation) | StartExtension(generation) | FindExtensions(generation):
                assert generation == self.environment.generation
            case SignalRuntime(generation, _):
                assert generation == self.environment.generation
            case Notify(identifier, notice):
                self.notify(identifier, notice)
            case Settle(drain):
                self.asked[drain] += 1
            case Do.CLEAR:
                self.asked.clear()
            case Arm():
                assert effect.generation == self.environment.generation
                assert effect.at >= self.now
                self.armed = effect.at
            case Do.ENDED:
                self.ended = True

    def initialise(self, record: InitStart | InitRuntimeDone | InitReport) -> None:
        """Each initialisation is told in order, and no part of it twice."""
        kind = type(record).__name__
        order = {"InitStart": 0, "InitRuntimeDone": 1, "InitReport": 2}
        if kind == "InitStart":
            self.initialisations = []
        assert all(order[each] < order[kind] for each in self.initialisations), (kind, self.initialisations)
        self.initialisations.append(kind)

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
            assert phase is not Phase.CLEARING, "cleared twice"
            assert self.environment.phase is Phase.CLEARING
        if last == [Do.IDLE]:
            assert self.environment.phase in (Phase.IDLE, Phase.COLD)
            assert self.unfinished() == []

    def unfinished(self) -> list[str]:
        over = {name for what, name in self.counts if what == "complete"} | self.given_back
        return [name for name in self.arrived if name not in over]

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
                return [self.settled]
            case Phase.STOPPING, _:
                return [lambda: TimerFired(self.now, Timer.STOP, self.environment.generation)]
            case ((Phase.INIT | Phase.INVOKE), RuntimeState.ABSENT) if not self.environment.extensions.names:
                return [self.found]
            case Phase.CLEARING, _:
                return [lambda: Cleared(self.now, self.draw.randrange(10**9))]
            case _, RuntimeState.RESPONSE_SENT:
                return [lambda: NextCalled(self.now), self.settled]
            case _, RuntimeState.STARTED:
                return [lambda: NextCalled(self.now), lambda: RestoreNextCalled(self.now)]
            case _, (RuntimeState.RESTORING | RuntimeState.READY):
                return [lambda: NextCalled(self.now), self.settled]
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

    def settled(self) -> Event:
        """Mostly an answer to what was asked."""
        asked = [drain for drain, count in self.asked.items() if count > 0]
        drain = self.draw.choice(asked * 6 + list(Drain))
        self.asked[drain] -= 1
        return Settled(self.now, drain, self.draw.randrange(10**9))

    def found(self) -> Event:
        names = self.draw.choice(((), (), ("one",), ("one", "two"), tuple("abcdefghijk")))
        return ExtensionsFound(self.now, self.generation(), names)

    def register(self, name: str) -> Event:
        events = self.draw.choice(((), ("INVOKE",), ("SHUTDOWN",), ("INVOKE", "SHUTDOWN")))
        return ExtensionRegistered(self.now, name, events, f"{name} {len(self.story)}")

    def identifier(self) -> str:
        known = [each.identifier for each in self.environment.extensions.registered]
        return self.draw.choice([*known, "nobody's"])

    def extension_not_started(self) -> Event:
        names = self.environment.extensions.names
        generation = self.environment.generation if names else -1
        return ExtensionNotStarted(self.now, generation, self.draw.choice(names or ["none"]), "no")

    def extension_exit(self) -> Event:
        names = self.environment.extensions.names
        generation = self.environment.generation if names else -1
        status = ExitStatus(self.draw.choice((0, 1, -9)))
        return ExtensionExited(self.now, generation, self.draw.choice(names or ["none"]), status)

    def runtime_exit(self) -> Event:
        status = ExitStatus(self.draw.choice((0, 1, -9)))
        return RuntimeExited(self.now, self.generation(), status, self.unread())

    def unread(self) -> frozenset[str]:
        return frozenset(name for name in self.arrived if self.draw.random() < 0.5)

    def anything(self) -> list[Callable[[], Event]]:
        rare: list[Callable[[], Event]] = [
            lambda: ShutdownAsked(self.now),
            lambda: SandboxLost(self.now, "gone", self.draw.random() < 0.5, self.unread()),
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
            self.runtime_exit,
            lambda: TimerFired(self.now, self.draw.choice(list(Timer)), self.generation()),
            self.settled,
            lambda: RestoreNextCalled(self.now),
            lambda: RestoreErrorPosted(self.now, "Runtime.AfterRestoreError", b"{}"),
            lambda: TelemetrySubscribed(self.now, self.identifier(), ("platform",)),
            lambda: Cleared(self.now, 1),
            lambda: CodeChanged(self.now, self.draw.random() < 0.5),
            self.found,
            lambda: self.register(self.draw.choice(("one", "internal"))),
            lambda: ExtensionNextCalled(self.now, self.identifier()),
            lambda: ExtensionErrorPosted(
                self.now,
                self.identifier(),
                self.draw.choice((ExtensionCall.INIT_ERROR, ExtensionCall.EXIT_ERROR)),
                "Extension.Why",
            ),
            self.extension_not_started,
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


def picture(environment: Lifecycle) -> dict[str, object]:
    """All of its state; the story goes on also with what changes nothing."""
    return {name: copy.deepcopy(value) for name, value in vars(environment).items() if name != "story"}


@pytest.mark.parametrize("seed", range(1000))
def test_walk(seed: int) -> None:
    """However the events come, each invocation is answered or given back once, and logged whole."""
    walker = Walker(seed)
    walker.walk(STEPS // 4 if seed % 10 else STEPS)
    assert walker.ended
    assert walker.environment.phase is Phase.ENDED
    for what in ("start", "done", "report", "complete"):
        kept = [name for name in walker.arrived if name not in walker.given_back]
        assert [name for name in kept if walker.counts[what, name] != 1] == [], what
        started = [name for name in walker.given_back if walker.counts["start", name]]
        assert [name for name in started if walker.counts[what, name] != 1] == [], what
    assert [name for name in walker.arrived if walker.counts["respond", name] != 1] == []
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
    assert seen >= (set(Phase) - {Phase.SERVING}) | (set(RuntimeState) - {RuntimeState.INIT_ERROR})
    assert seen >= {
        RuntimeState.INIT_ERROR,
        Began,
        InvokeArrived,
        Settled,
        Cleared,
        CodeChanged,
        ShutdownAsked,
        SandboxLost,
    }
