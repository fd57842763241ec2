"""Extensions as parties of an environment's life."""

from collections.abc import Callable
from signal import SIGKILL, SIGTERM

import pytest

from rapid.events import (
    Arm,
    Began,
    Cleared,
    Complete,
    Deliver,
    Do,
    Drain,
    Effects,
    Event,
    ExtensionErrorPosted,
    ExtensionExited,
    ExtensionNextCalled,
    ExtensionNotStarted,
    ExtensionRegistered,
    ExtensionsFound,
    FindExtensions,
    InvokeArrived,
    InvokeNotice,
    NextCalled,
    Notify,
    Respond,
    ResponseBegan,
    ResponseEnded,
    RuntimeExited,
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
from rapid.invocation import ExitStatus, Invocation, Outcome
from rapid.lifecycle import Lifecycle
from rapid.records import (
    ExtensionStatus,
    InitReport,
    InitRuntimeDone,
    Report,
    RuntimeDone,
    Span,
    Start,
    Subscription,
)
from rapid.settings import Settings
from rapid.states import EXTENSION_MOVES, ExtensionCall, ExtensionState, Phase, RuntimeCall

ONE = Invocation(request_id="one", arn="arn:fn", payload=b"{}", trace_id="")
ANSWER = Outcome(b'"done"')
MB = 1024**2
BOTH = ("INVOKE", "SHUTDOWN")


def tell(environment: Lifecycle, *events: Event) -> Effects:
    """Hand in events; the effects of the last one."""
    effects: Effects = []
    for event in events:
        effects = environment.handle(event)
        environment.check()
    return effects


def cold() -> Lifecycle:
    return Lifecycle(Settings("$LATEST", 128, "python:3.11", "arn"))


def launched(*names: str) -> Lifecycle:
    environment = cold()
    tell(environment, Began(0), ExtensionsFound(0, 1, names))
    return environment


def initialised(events: tuple[str, ...] = BOTH) -> Lifecycle:
    """One external extension, `watch`, known as `w`; everybody is back at `next` at 1."""
    environment = launched("watch")
    tell(
        environment,
        ExtensionRegistered(0.1, "watch", events, "w"),
        ExtensionNextCalled(0.2, "w"),
        NextCalled(1),
        Settled(1, Drain.INIT, MB),
    )
    return environment


def invoking() -> Lifecycle:
    environment = initialised()
    tell(environment, InvokeArrived(2, ONE, 3))
    return environment


def responded() -> Lifecycle:
    environment = invoking()
    tell(environment, ResponseBegan(2, "one", RuntimeCall.RESPONSE), ResponseEnded(2, "one", ANSWER))
    return environment


# Initialisation


def test_extensions_come_before_the_runtime() -> None:
    """All are started; the runtime follows when the last has registered; idle when every party is at `next`."""
    environment = cold()
    assert FindExtensions(1) in tell(environment, Began(0))
    found = ExtensionsFound(0, 1, ("a", "b"))
    assert tell(environment, found) == [StartExtension(1, "a"), StartExtension(1, "b")]
    assert tell(environment, found) == [], "found once"
    assert tell(environment, ExtensionRegistered(0.1, "a", BOTH, "ia")) == []
    assert tell(environment, ExtensionRegistered(0.2, "b", (), "ib")) == [StartRuntime(1)]
    assert tell(environment, NextCalled(1)) == [Settle(Drain.RUNTIME)]
    told = Write(InitRuntimeDone("init", "success"))
    assert tell(environment, Settled(1, Drain.RUNTIME, MB)) == [told], "extensions may wait for it"
    assert tell(environment, ExtensionNextCalled(1, "ia")) == []
    assert tell(environment, ExtensionNextCalled(2, "ib")) == [Do.DISARM, Settle(Drain.INIT)]
    assert tell(environment, Settled(2.1, Drain.INIT, MB)) == [
        Write(ExtensionStatus("a", "Ready", BOTH)),
        Write(ExtensionStatus("b", "Ready", ())),
        Write(InitReport(2, "init", "success")),
        Do.CLOSE_SUBSCRIPTIONS,
        Do.FREEZE,
        Do.IDLE,
    ]


def test_the_log_line() -> None:
    """As CloudWatch shows it: no space in the list of events."""
    assert (
        ExtensionStatus("a", "Ready", BOTH).text()
        == "EXTENSION\tName: a\tState: Ready\tEvents: [INVOKE,SHUTDOWN]\n"
    )


def test_the_eleventh_is_one_too_many() -> None:
    """More than ten files fail the initialisation."""
    assert tell(cold_begun(), ExtensionsFound(0, 1, tuple("abcdefghijk"))) == [Do.DISARM, Do.CLEAR]


def cold_begun() -> Lifecycle:
    environment = cold()
    tell(environment, Began(0))
    return environment


def test_an_internal_extension() -> None:
    """Code inside the runtime registers before the runtime's first `next`, and is waited for."""
    environment = launched()
    assert tell(environment, ExtensionRegistered(0.1, "inside", ("INVOKE",), "i")) == []
    assert tell(environment, NextCalled(1)) == [Settle(Drain.RUNTIME)]
    assert tell(environment, ExtensionNextCalled(1.5, "i")) == [Do.DISARM, Settle(Drain.INIT)]


def twice() -> Lifecycle:
    environment = launched()
    tell(environment, ExtensionRegistered(0, "inside", (), "i"))
    return environment


def crowded() -> Lifecycle:
    environment = launched()
    for number in range(10):
        tell(environment, ExtensionRegistered(0, f"e{number}", (), f"i{number}"))
    return environment


@pytest.mark.parametrize(
    ("before", "register", "error_type"),
    [
        (launched, ("inside", ("SHUTDOWN",)), "Extension.InvalidEventType"),
        (initialised, ("late", ()), "Extension.RegistrationClosed"),
        (twice, ("inside", ()), "Extension.InvalidExtensionState"),
        (initialised, ("watch", ()), "Extension.InvalidExtensionState"),
        (crowded, ("eleventh", ()), "Extension.TooManyExtensions"),
    ],
)
def test_refused_registrations(
    before: Callable[[], Lifecycle], register: tuple[str, tuple[str, ...]], error_type: str
) -> None:
    """Each with its error type."""
    environment = before()
    with pytest.raises(ExtensionRefused) as refused:
        tell(environment, ExtensionRegistered(3, *register, "new"))
    assert refused.value.refusal.error_type == error_type
    assert refused.value.refusal.status == 403


@pytest.mark.parametrize("state", ExtensionState)
@pytest.mark.parametrize("call", [ExtensionCall.NEXT, ExtensionCall.INIT_ERROR, ExtensionCall.EXIT_ERROR])
def test_the_table(state: ExtensionState, call: ExtensionCall) -> None:
    """A call is what the table says, or it is refused with both states' names and changes nothing."""
    environment = invoking()
    extension = environment.extensions.named("watch")
    extension.state = state
    event = (
        ExtensionNextCalled(2.5, "w")
        if call is ExtensionCall.NEXT
        else ExtensionErrorPosted(2.5, "w", call, "Extension.Why")
    )
    target = EXTENSION_MOVES[state].get(call)
    if target is not None:
        environment.handle(event)
        assert extension.state is target
        return
    with pytest.raises(ExtensionRefused) as refused:
        environment.handle(event)
    assert refused.value.refusal.message == (
        f"State transition from {state} to {call.value} failed for extension watch. "
        "Error: State transition is not allowed"
    )
    assert extension.state is state


def test_nobody_is_known_under_another_identifier() -> None:
    """Calls under an unknown identifier are refused, each with its own text."""
    with pytest.raises(ExtensionRefused, match="Unknown extension x"):
        tell(initialised(), ExtensionNextCalled(2, "x"))
    with pytest.raises(ExtensionRefused, match="Unknown Lambda-Extension-Identifier"):
        tell(initialised(), ExtensionErrorPosted(2, "x", ExtensionCall.EXIT_ERROR, "Extension.Why"))


# Invocations


def test_an_invocation_ends_when_every_party_is_back() -> None:
    """The client has its answer at once; duration and log go on until the extension is done."""
    environment = initialised()
    assert tell(environment, InvokeArrived(2, ONE, 3)) == [
        Do.THAW,
        Write(Start("one", "$LATEST", "arn:fn")),
        Deliver(ONE, 5),
        Notify("w", InvokeNotice(ONE, 5)),
        Arm(Timer.INVOKE, 5, 1),
    ]
    tell(environment, ResponseBegan(2.1, "one", RuntimeCall.RESPONSE))
    assert tell(environment, ResponseEnded(2.2, "one", ANSWER)) == [Respond(ANSWER)]
    assert tell(environment, NextCalled(2.5)) == [Settle(Drain.RUNTIME)]
    [done] = tell(environment, Settled(2.6, Drain.RUNTIME, MB))
    assert isinstance(done, Write)
    assert isinstance(done.record, RuntimeDone)
    assert done.record.duration == 0.5
    assert tell(environment, ExtensionNextCalled(4, "w")) == [Do.DISARM, Settle(Drain.INVOCATION)]
    overhead = Span("extensionOverhead", 2.5, 1.5)
    report = Report("one", 2, 1, 128, MB, spans=(overhead,))
    assert tell(environment, Settled(4, Drain.INVOCATION, MB)) == [
        Write(report),
        Complete(report),
        Do.FREEZE,
        Do.IDLE,
    ]


def test_extensions_that_are_back_first() -> None:
    """One draining is enough: the runtime's part is told with the report."""
    environment = responded()
    tell(environment, ExtensionNextCalled(2.5, "w"))
    assert tell(environment, NextCalled(3)) == [Do.DISARM, Settle(Drain.INVOCATION)]
    records = [
        type(each.record)
        for each in tell(environment, Settled(3, Drain.INVOCATION, MB))
        if isinstance(each, Write)
    ]
    assert records == [RuntimeDone, Report]


def test_extensions_that_are_back_while_output_drains() -> None:
    """The runtime's part is told when its own output is there, and not again."""
    environment = responded()
    tell(environment, NextCalled(3), ExtensionNextCalled(3.1, "w"))
    [done] = tell(environment, Settled(3.2, Drain.RUNTIME, MB))
    assert isinstance(done, Write)
    assert isinstance(done.record, RuntimeDone)
    [written, *_] = tell(environment, Settled(3.3, Drain.INVOCATION, MB))
    assert isinstance(written, Write)
    assert isinstance(written.record, Report)


def test_who_does_not_listen_is_not_waited_for() -> None:
    """Without INVOKE an extension is neither told of an invocation nor part of it."""
    environment = initialised(events=("SHUTDOWN",))
    effects = tell(environment, InvokeArrived(2, ONE, 3))
    assert not [effect for effect in effects if isinstance(effect, Notify)]
    tell(environment, ResponseBegan(2, "one", RuntimeCall.RESPONSE), ResponseEnded(2, "one", ANSWER))
    assert tell(environment, NextCalled(3)) == [Do.DISARM, Settle(Drain.INVOCATION)]


def test_an_extension_that_overruns() -> None:
    """The timeout counts although the client has its answer, and keeps it."""
    environment = responded()
    tell(environment, NextCalled(3), Settled(3, Drain.RUNTIME, MB))
    effects = tell(environment, TimerFired(5, Timer.INVOKE, 1))
    assert not [effect for effect in effects if isinstance(effect, Respond)]
    assert Notify("w", ShutdownNotice("timeout", 7)) in effects
    tell(environment, TimerFired(7, Timer.STOP, 1))
    overhead = Span("extensionOverhead", 3, 2)
    report = Report("one", 3, 1, 128, MB, "timeout", "Sandbox.Timedout", spans=(overhead,))
    assert tell(environment, Cleared(7, MB)) == [Write(report), Complete(report), Do.IDLE]


# Faults

FAULTS: dict[str, tuple[Event, bytes]] = {
    "exit 0": (ExtensionExited(3, 1, "watch", ExitStatus(0)), b'"Extension.Crash","errorMessage":"RequestId: one Error: exit code 0"'),
    "exit 2": (ExtensionExited(3, 1, "watch", ExitStatus(2)), b'"Extension.Crash","errorMessage":"RequestId: one Error: exit status 2"'),
    "killed": (ExtensionExited(3, 1, "watch", ExitStatus(-9)), b'"Extension.Crash","errorMessage":"RequestId: one Error: signal: killed"'),
    "exit/error": (
        ExtensionErrorPosted(3, "w", ExtensionCall.EXIT_ERROR, "Extension.Why"),
        b'"Extension.ExitError","errorMessage":"RequestId: one Error: Extension.Why"',
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_in_an_invocation(kind: str) -> None:
    """They fail the invocation like a crash of the runtime."""
    event, payload = FAULTS[kind]
    effects = tell(invoking(), event)
    [answer] = [effect.outcome for effect in effects if isinstance(effect, Respond)]
    assert answer.payload == b'{"errorType":' + payload + b"}"
    assert answer.function_error


INIT_FAULTS: dict[str, tuple[Event, str]] = {
    "exit": (ExtensionExited(1, 1, "watch", ExitStatus(1)), "Extension.Crash"),
    "not executable": (ExtensionNotStarted(1, 1, "watch", "permission denied"), "Extension.LaunchError"),
    "init/error": (
        ExtensionErrorPosted(1, "w", ExtensionCall.INIT_ERROR, "Extension.Why"),
        "Extension.InitError",
    ),
}


@pytest.mark.parametrize("kind", INIT_FAULTS)
def test_faults_in_an_initialisation(kind: str) -> None:
    """The initialisation fails, is logged with the error type, and is repeated inside the next invocation."""
    event, error_type = INIT_FAULTS[kind]
    environment = launched("watch")
    if kind == "init/error":
        tell(environment, ExtensionRegistered(0.5, "watch", (), "w"))
    tell(environment, event)
    [status, report, idle] = tell(environment, Cleared(2, MB))
    assert isinstance(status, Write)
    assert isinstance(status.record, ExtensionStatus)
    assert status.record.error_type == error_type
    assert report == Write(InitReport(1, "init", "error", error_type))
    assert idle is Do.IDLE
    assert FindExtensions(2) in tell(environment, InvokeArrived(3, ONE, 3))


# Ends


def test_spindown_with_an_external_extension() -> None:
    """SIGTERM to the runtime, 300 ms, SIGKILL and SHUTDOWN to the extension, 2 s in all; its exit ends the wait."""
    environment = initialised()
    assert tell(environment, ShutdownAsked(10)) == [
        Do.DISARM,
        Do.THAW,
        Do.FLUSH,
        SignalRuntime(1, SIGTERM),
        Arm(Timer.STOP, 10.3, 1),
    ]
    assert tell(environment, TimerFired(10.3, Timer.STOP, 1)) == [
        SignalRuntime(1, SIGKILL),
        Notify("w", ShutdownNotice("spindown", 12)),
        Arm(Timer.STOP, 12, 1),
    ]
    assert tell(environment, ExtensionExited(11, 1, "watch", ExitStatus(0))) == [Do.DISARM, Do.CLEAR]
    assert tell(environment, Cleared(11, MB)) == [Do.ENDED]


def test_a_runtime_that_ends_at_once_shortens_its_grace() -> None:
    """The extensions are told as soon as the runtime is gone."""
    environment = initialised()
    tell(environment, ShutdownAsked(10))
    assert Notify("w", ShutdownNotice("spindown", 12)) in tell(
        environment, RuntimeExited(10.1, 1, ExitStatus(-15))
    )


def test_next_after_shutdown() -> None:
    """An extension that asks for more when it has heard of the end waits, and is told nothing."""
    environment = initialised()
    tell(environment, ShutdownAsked(10), TimerFired(10.3, Timer.STOP, 1))
    assert tell(environment, ExtensionNextCalled(10.4, "w")) == []
    with pytest.raises(ExtensionRefused):
        tell(environment, ExtensionNextCalled(10.5, "w"))
    assert tell(environment, TimerFired(12, Timer.STOP, 1)) == [Do.DISARM, Do.CLEAR]


def test_an_extension_that_does_not_end() -> None:
    """At the deadline everything is killed."""
    environment = initialised()
    tell(environment, ShutdownAsked(10), TimerFired(10.3, Timer.STOP, 1))
    assert tell(environment, TimerFired(12, Timer.STOP, 1)) == [Do.DISARM, Do.CLEAR]


def test_who_did_not_subscribe_to_shutdown_is_not_waited_for() -> None:
    """After the runtime's grace everything is killed."""
    environment = initialised(events=("INVOKE",))
    tell(environment, ShutdownAsked(10))
    assert tell(environment, TimerFired(10.3, Timer.STOP, 1)) == [Do.DISARM, Do.CLEAR]


def test_spindown_with_an_internal_extension() -> None:
    """The runtime gets half a second."""
    environment = twice()
    tell(environment, ExtensionNextCalled(1, "i"), NextCalled(1), Settled(1, Drain.INIT, MB))
    assert tell(environment, ShutdownAsked(10))[-1] == Arm(Timer.STOP, 10.5, 1)
    assert tell(environment, TimerFired(10.5, Timer.STOP, 1)) == [Do.DISARM, Do.CLEAR]


def test_spindown_without_extensions() -> None:
    """No SIGTERM, no time."""
    environment = launched()
    tell(environment, NextCalled(1), Settled(1, Drain.INIT, MB))
    assert tell(environment, ShutdownAsked(10)) == [Do.DISARM, Do.CLEAR]


def test_a_crash_says_goodbye_to_extensions() -> None:
    """The client is answered at once; the extension hears `failure`; an invocation that comes meanwhile waits."""
    environment = invoking()
    effects = tell(environment, RuntimeExited(3, 1, ExitStatus(1)))
    assert [type(effect) for effect in effects] == [
        Do,
        Write,
        Respond,
        Do,
        Do,
        SignalRuntime,
        Notify,
        Arm,
    ]
    assert effects[6] == Notify("w", ShutdownNotice("failure", 5))
    assert environment.phase is Phase.STOPPING
    assert tell(environment, ExtensionExited(3.5, 1, "watch", ExitStatus(0))) == [Do.DISARM, Do.CLEAR]
    assert tell(environment, Cleared(4, MB))[-1] is Do.IDLE


def test_a_shutdown_during_a_reset() -> None:
    """It ends the environment when the reset's wait is over."""
    environment = invoking()
    tell(environment, RuntimeExited(3, 1, ExitStatus(1)), ShutdownAsked(3.1))
    assert environment.phase is Phase.STOPPING
    tell(environment, TimerFired(5, Timer.STOP, 1))
    assert tell(environment, Cleared(5, MB))[-1] is Do.ENDED


# Telemetry


@pytest.mark.parametrize("is_logs", [False, True])
def test_a_subscription(is_logs: bool) -> None:
    """Whoever has registered may subscribe until the initialisation is over."""
    environment = launched("watch")
    tell(environment, ExtensionRegistered(0.1, "watch", BOTH, "w"))
    asked = TelemetrySubscribed(0.2, "w", ("platform", "function"), is_logs)
    subscribed = Write(Subscription("watch", ("platform", "function"), is_logs))
    assert tell(environment, asked) == [subscribed]
    tell(environment, ExtensionNextCalled(0.3, "w"))
    assert tell(environment, asked) == [subscribed], "the runtime is not ready yet"


@pytest.mark.parametrize(("is_logs", "api"), [(False, "Telemetry"), (True, "Logs")])
def test_late_subscriptions(is_logs: bool, api: str) -> None:
    """Afterwards they are refused."""
    for environment in (initialised(), invoking()):
        with pytest.raises(ExtensionRefused) as refused:
            tell(environment, TelemetrySubscribed(3, "w", ("platform",), is_logs))
        assert refused.value.refusal.error_type == f"{api}.SubscriptionClosed"
        assert refused.value.refusal.message == f"{api} API subscription is closed already"


def test_a_subscription_by_nobody() -> None:
    """Only who has registered can subscribe."""
    with pytest.raises(ExtensionRefused, match="Unknown Lambda-Extension-Identifier"):
        tell(launched("watch"), TelemetrySubscribed(1, "x", ("platform",)))


def test_the_lines_of_subscriptions() -> None:
    """As CloudWatch shows them: with a space between the types."""
    types = ("platform", "function", "extension")
    assert Subscription("a", types).text() == (
        "TELEMETRY\tName: a\tState: Subscribed\tTypes: [Platform, Function, Extension]\n"
    )
    assert Subscription("a", ("platform",), is_logs=True).text() == (
        "LOGS\tName: a\tState: Subscribed\tTypes: [Platform]\n"
    )
