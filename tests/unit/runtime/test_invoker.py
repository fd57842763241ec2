"""The invoker between a catalog and a fleet that behave."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from rapid.exchange import Ticket
from rapid.invocation import Invocation, Outcome
from rapid.records import Report
from rapid.streams import Stream
from rapid.traces import trace_header
from runtime.admission import Admission
from runtime.core.admission import Ledger
from runtime.core.leases import AccountFigures
from runtime.core.limits import LimitsReader
from runtime.errors import LambdaError
from runtime.invoker import Invoker, InvokeRequest
from runtime.model import (
    LATEST,
    Alias,
    Attachment,
    Code,
    FunctionConfig,
    FunctionVersion,
    ProvisionedConcurrency,
    ReservedConcurrency,
    Scope,
    State,
)

SCOPE = Scope("123456789012", "us-east-1")
FUNCTION = FunctionVersion(
    scope=SCOPE,
    name="f",
    config=FunctionConfig(role="r"),
    code=Code("0" * 64, 1, 1),
    revision_id="r",
    last_modified="",
    state=State.ACTIVE,
)
REQUEST = InvokeRequest(scope=SCOPE, function="f", qualifier=None, payload=b"{}", request_id="id")


class Around:
    """Catalog and fleet at once."""

    def __init__(self, function: FunctionVersion | None = FUNCTION, *aliases: Alias) -> None:
        self.known = function
        self.aliases = {alias.name: alias for alias in aliases}
        self.asked: list[str] = []
        self.draws = iter([0.0])
        self.runs: list[tuple[FunctionVersion, Invocation, Ticket]] = []
        self.provisioned: list[bool] = []
        #: For each of the runs.
        self.running = asyncio.Event()
        self.failure: LambdaError | None = None
        self.is_idle = False
        #: There is an environment at once.
        self.answers = False
        #: At once, instead of the test.
        self.attached: dict[type[Attachment], dict[str, dict[str, Attachment]]] = {}
        self._admission: Admission | None = None

    def function(self, scope: Scope, name: str, version: str = LATEST) -> FunctionVersion | None:
        self.asked.append(version)
        return self.known and replace(self.known, version=version)

    def alias(self, scope: Scope, function: str, name: str) -> Alias | None:
        return self.aliases.get(name)

    def owners(self, kind: type[Attachment], _: Scope) -> Mapping[str, Mapping[str, Attachment]]:
        return self.attached.get(kind, {})

    def reserve(self, executions: int) -> None:
        record = ReservedConcurrency(scope=SCOPE, owner="f", revision_id="r", executions=executions)
        self.attached[ReservedConcurrency] = {"f": {"": record}}

    def provision(self, executions: int) -> None:
        record = ProvisionedConcurrency(
            scope=SCOPE, owner="f", qualifier="1", revision_id="r", executions=executions, last_modified=""
        )
        self.attached[ProvisionedConcurrency] = {"f": {"1": record}}

    def provisioned_key(self, version: FunctionVersion) -> object:
        return version.version

    def has_free(self, _: FunctionVersion, tenant: str | None) -> bool:
        return False

    def run(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        stream: Stream | None = None,
        *,
        provisioned: bool = False,
    ) -> Ticket | asyncio.Future[Ticket]:
        ticket = Ticket(stream)
        if self.is_idle:
            return self._run(version, invocation, ticket, provisioned)
        return asyncio.ensure_future(self._run_later(version, invocation, ticket, provisioned))

    async def _run_later(self, *what: Any) -> Ticket:
        if self.failure:
            raise self.failure
        return self._run(*what)

    def _run(
        self, version: FunctionVersion, invocation: Invocation, ticket: Ticket, provisioned: bool
    ) -> Ticket:
        self.runs.append((version, invocation, ticket))
        self.provisioned.append(provisioned)
        self.running.set()
        if self.answers:
            ticket.respond(Outcome(b"{}"))
            ticket.complete(Report(invocation.request_id, 0.1, None, 128, 1))
        return ticket

    @property
    def admission(self) -> Admission:
        if self._admission is None:
            self._admission = Admission(lambda: self, Ledger(), LimitsReader(1000))  # type: ignore[arg-type,return-value]
        return self._admission

    def invoker(self, stream_rate: int = 0) -> Invoker:
        return Invoker(lambda: self, self, self.admission, stream_rate, draw=self.draw)  # type: ignore[arg-type,return-value]

    def draw(self) -> float:
        return next(self.draws)

    async def start(self, **members: Any) -> "asyncio.Task[Any]":
        task = asyncio.create_task(self.invoker().invoke(replace(REQUEST, **members)))
        await self.running.wait()
        return task


async def test_result() -> None:
    """The runtime's answer, under the version that ran; what the request brought is in the event."""
    around = Around(replace(FUNCTION, version="7"))
    call = await around.start(
        qualifier="7", payload=b"1", client_context="{}", trace_id=f"Root=1-{'0' * 8}-{'0' * 24}"
    )
    _, invocation, ticket = around.runs[0]
    ticket.outcome.set_result(Outcome(b"2"))
    result = await call
    assert (result.payload, result.executed_version, result.function_error, result.log_tail) == (
        b"2",
        "7",
        None,
        b"",
    )
    assert result.trace_id == invocation.trace_id == f"Root=1-{'0' * 8}-{'0' * 24}"
    assert (invocation.payload, invocation.client_context, invocation.content_type) == (
        b"1",
        "{}",
        "application/json",
    )
    assert invocation.arn == "arn:aws:lambda:us-east-1:123456789012:function:f:7"
    assert around.asked == ["7"]


async def test_function_error() -> None:
    """Every error of the function is `Unhandled`."""
    around = Around()
    call = await around.start()
    around.runs[0][2].outcome.set_result(Outcome(b"{}", function_error=True))
    assert (await call).function_error == "Unhandled"
    assert around.asked == [LATEST]


async def test_tail() -> None:
    """Who wants the log waits for its end."""
    around = Around()
    call = await around.start(tail=True)
    ticket = around.runs[0][2]
    ticket.outcome.set_result(Outcome(b"{}"))
    await asyncio.sleep(0)
    ticket.tail.add(b"END\n")
    assert not call.done()
    ticket.completed.set_result(Report("id", 0.1, None, 128, 1))
    assert (await call).log_tail == b"END\n"


async def test_stream() -> None:
    """The environment gets the stream that the caller reads; what it is invoked with is Invoke's."""
    around = Around(replace(FUNCTION, version="7"))
    streamed = await around.invoker().stream(replace(REQUEST, qualifier="7", payload=b"1"))
    _, invocation, ticket = around.runs[0]
    assert (invocation.payload, invocation.arn[-4:]) == (b"1", ":f:7")
    assert (streamed.executed_version, streamed.trace_id) == ("7", invocation.trace_id)
    assert ticket.stream
    ticket.stream.begin("a/b")
    await ticket.stream.write(b"2")
    assert (await streamed.start(), await streamed.read()) == ("a/b", b"2")


@pytest.mark.parametrize("rate", [0, 1000])
async def test_stream_rate(rate: int) -> None:
    """Each stream has a bucket of its own, where there is a rate."""
    invoker = Around().invoker(rate)
    first, second = await invoker.stream(REQUEST), await invoker.stream(REQUEST)
    assert (first._bucket is not None, first._bucket is second._bucket) == (rate > 0, rate == 0)


async def test_stream_of_an_unfit_function() -> None:
    """What keeps Invoke from running keeps a stream from beginning."""
    with pytest.raises(LambdaError, match="Pending"):
        await Around(replace(FUNCTION, state=State.PENDING)).invoker().stream(REQUEST)


async def test_cancelled_while_waiting_for_the_log() -> None:
    """A client that leaves does not take the environment's end of the invocation with it."""
    around = Around()
    call = await around.start(tail=True)
    ticket = around.runs[0][2]
    ticket.outcome.set_result(Outcome(b"{}"))
    for _ in range(3):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    assert not ticket.completed.done()


async def test_unknown() -> None:
    """A function that does not exist is named as it was asked for."""
    around = Around(None)
    for qualifier in ("9", "prod"):
        with pytest.raises(LambdaError) as caught:
            around.invoker().check(replace(REQUEST, qualifier=qualifier))
        assert (caught.value.code, caught.value.message) == (
            "ResourceNotFoundException",
            f"Function not found: arn:aws:lambda:us-east-1:123456789012:function:f:{qualifier}",
        )


LIVE = Alias(scope=SCOPE, function="f", name="live", version="1", revision_id="a")


async def test_alias() -> None:
    """An alias leads to its version, under its own ARN and without a draw."""
    around = Around(FUNCTION, LIVE)
    around.draws = iter(())
    call = await around.start(qualifier="live")
    version, invocation, ticket = around.runs[0]
    ticket.outcome.set_result(Outcome(b"1"))
    assert (await call).executed_version == version.version == "1"
    assert invocation.arn == "arn:aws:lambda:us-east-1:123456789012:function:f:live"


async def test_weighted_alias() -> None:
    """Each invocation is decided by a draw of its own."""
    around = Around(FUNCTION, replace(LIVE, weights={"2": 0.1}))
    around.draws = iter([0.5, 0.05, 0.1, 0.0])
    invoker = around.invoker()
    asked = replace(REQUEST, qualifier="live")
    assert [invoker.check(asked).version for _ in range(4)] == ["1", "2", "1", "2"]


async def test_draws_are_random_unless_said() -> None:
    """Without a source of draws, both versions of a weighted alias are met."""
    around = Around(FUNCTION, replace(LIVE, weights={"2": 0.5}))
    invoker = Invoker(lambda: around, around, around.admission)  # type: ignore[arg-type,return-value]
    asked = replace(REQUEST, qualifier="live")
    assert {invoker.check(asked).version for _ in range(200)} == {"1", "2"}  # else 1 in 2^199


async def test_variables_of_the_alias() -> None:
    """The version is run with the alias's variables over its own."""
    around = Around(FUNCTION, replace(LIVE, environment={"STAGE": "live"}))
    version = around.invoker().check(replace(REQUEST, qualifier="live"))
    assert version.config.environment == {"STAGE": "live"}


@pytest.mark.parametrize("state", [State.PENDING, State.FAILED, State.INACTIVE])
async def test_not_active(state: State) -> None:
    """Only an active function can run."""
    with pytest.raises(LambdaError, match=f"currently in the following state: {state}") as caught:
        await Around(replace(FUNCTION, state=state)).invoker().invoke(REQUEST)
    assert caught.value.status == 409


@pytest.mark.parametrize(("qualifier", "end"), [(None, ":function:f"), ("$LATEST", ":function:f:$LATEST")])
async def test_arn(qualifier: str | None, end: str) -> None:
    """The function sees its ARN unqualified unless a qualifier was given, `$LATEST` included."""
    around = Around()
    task = await around.start(qualifier=qualifier)
    _, invocation, ticket = around.runs[0]
    assert invocation.arn == f"arn:aws:lambda:us-east-1:123456789012{end}"
    ticket.outcome.set_result(Outcome(b"1"))
    await task


class TestStart:
    """What `start` tells, and when. All else is as with `invoke`."""

    async def test_at_once(self) -> None:
        """Where there is an environment the invocation is in it before `start` returns, and there is no task."""
        around, told = Around(), []
        around.is_idle = True
        before = asyncio.all_tasks()
        around.invoker().start(REQUEST, lambda result: told.append(result()))
        _, invocation, ticket = around.runs[0]
        assert asyncio.all_tasks() == before
        ticket.outcome.set_result(Outcome(b"1", function_error=True))
        await asyncio.sleep(0)
        [result] = told
        assert (result.payload, result.function_error, result.log_tail) == (b"1", "Unhandled", b"")
        assert (result.executed_version, result.trace_id) == (LATEST, invocation.trace_id)

    @pytest.mark.parametrize("is_idle", [False, True])
    @pytest.mark.parametrize("tail", [False, True])
    async def test_later(self, *, is_idle: bool, tail: bool) -> None:
        """What has to wait is told when it is there, the end of the log where that is wanted."""
        around, told = Around(), asyncio.Event()
        around.is_idle = is_idle
        results: list[Any] = []

        def hear(result: Any) -> None:
            results.append(result())
            told.set()

        around.invoker().start(replace(REQUEST, tail=tail), hear)
        await around.running.wait()
        ticket = around.runs[0][2]
        ticket.tail.add(b"END\n")
        ticket.outcome.set_result(Outcome(b"1"))
        if tail:
            await asyncio.sleep(0)
            assert not told.is_set()
            ticket.completed.set_result(Report("id", 0.1, None, 128, 1))
        await told.wait()
        assert [(each.payload, each.log_tail) for each in results] == [(b"1", b"END\n" if tail else b"")]

    async def test_refused_at_once(self) -> None:
        """Whoever asks hears of it by the call itself; nobody is told anything."""
        around = Around()
        around.reserve(0)
        told: list[object] = []
        with pytest.raises(LambdaError, match="Rate Exceeded"):
            around.invoker().start(REQUEST, told.append)
        await asyncio.sleep(0)
        assert told == []

    @pytest.mark.parametrize("is_idle", [False, True])
    async def test_refused_later(self, *, is_idle: bool) -> None:
        """What is told raises: where no environment is to be had, or it is lost again and again."""
        around, told = Around(), asyncio.Event()
        around.is_idle = is_idle
        failure = LambdaError("ServiceException", "no engine")
        results: list[Any] = []

        def hear(result: Any) -> None:
            results.append(result)
            told.set()

        around.failure = None if is_idle else failure
        around.invoker().start(REQUEST, hear)
        if is_idle:
            around.runs[0][2].fail(failure)
        await told.wait()
        with pytest.raises(LambdaError, match="no engine"):
            results[0]()
        assert around.admission.ledger.account(SCOPE) == AccountFigures()


class TestAdmission:
    """What of leases is seen here: when they begin and end."""

    async def test_throttled(self) -> None:
        """Nothing runs; the refusal is AWS's, in the invocation and in a stream."""
        around = Around()
        around.reserve(0)
        for call in (around.invoker().invoke(REQUEST), around.invoker().stream(REQUEST)):
            with pytest.raises(LambdaError) as caught:
                await call
            error = caught.value
            assert (error.status, error.code, error.message, error.retry_after) == (
                429,
                "TooManyRequestsException",
                "Rate Exceeded.",
                1,
            )
            assert error.reason == "ReservedFunctionConcurrentInvocationLimitExceeded"
        assert around.runs == []

    @pytest.mark.parametrize("is_streamed", [False, True])
    async def test_lease(self, *, is_streamed: bool) -> None:
        """It lasts until the environment is done; in between, the next request waits for that."""
        around = Around()
        around.reserve(1)
        invoker = around.invoker()
        if is_streamed:
            await invoker.stream(REQUEST)
        else:
            first = asyncio.create_task(invoker.invoke(REQUEST))
            await around.running.wait()
        with pytest.raises(LambdaError):
            await invoker.invoke(REQUEST)
        ticket = around.runs[0][2]
        ticket.outcome.set_result(Outcome(b"{}"))
        await (asyncio.sleep(0) if is_streamed else first)
        around.running.clear()
        second = asyncio.create_task(invoker.invoke(REQUEST))
        await asyncio.sleep(0)
        assert len(around.runs) == 1
        ticket.completed.set_result(Report("id", 0.1, None, 128, 1))
        await around.running.wait()
        around.runs[1][2].outcome.set_result(Outcome(b"{}"))
        await second

    async def test_patience(self) -> None:
        """Where an environment works on, whoever waits for it is refused in the end."""
        around = Around()
        around.reserve(1)
        first = asyncio.create_task(around.invoker().invoke(REQUEST))
        await around.running.wait()
        around.runs[0][2].outcome.set_result(Outcome(b"{}"))
        await first
        following = asyncio.create_task(around.invoker().invoke(REQUEST))
        await asyncio.sleep(0)
        assert not following.done()
        with pytest.raises(LambdaError, match="Rate Exceeded"):
            await following

    async def test_left_while_waiting(self) -> None:
        """A client that leaves gives its place to the next."""
        around = Around()
        around.reserve(1)
        first = asyncio.create_task(around.invoker().invoke(REQUEST))
        await around.running.wait()
        ticket = around.runs[0][2]
        ticket.outcome.set_result(Outcome(b"{}"))
        await first
        waiting = [asyncio.create_task(around.invoker().invoke(REQUEST))]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.wait(waiting)
        second = asyncio.create_task(around.invoker().invoke(REQUEST))
        await asyncio.sleep(0)
        around.running.clear()
        ticket.completed.set_result(Report("id", 0.1, None, 128, 1))
        await around.running.wait()
        second.cancel()
        await asyncio.wait([second])

    async def test_left_when_admitted(self) -> None:
        """A client that leaves in the moment in which its turn comes gives the lease back."""
        around = Around()
        around.reserve(1)
        first = asyncio.create_task(around.invoker().invoke(REQUEST))
        await around.running.wait()
        ticket = around.runs[0][2]
        ticket.outcome.set_result(Outcome(b"{}"))
        await first
        waiting = asyncio.create_task(around.invoker().invoke(REQUEST))
        await asyncio.sleep(0)
        ticket.completed.set_result(Report("id", 0.1, None, 128, 1))
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0)
        assert around.admission.ledger.account(SCOPE) == AccountFigures()
        around.admission.ledger.check()

    async def test_no_environment(self) -> None:
        """Where none is to be had the lease ends at once."""
        around = Around()
        around.reserve(1)
        around.failure = LambdaError("ServiceException", "no engine")
        for _ in range(2):
            with pytest.raises(LambdaError, match="no engine"):
                await around.invoker().invoke(REQUEST)
        assert around.admission.ledger.account(SCOPE) == AccountFigures()

    async def test_provisioned(self) -> None:
        """The fleet is told which kind of environment the lease is for; `$LATEST` has none of its own."""
        around = Around(FUNCTION)
        around.provision(1)
        around.admission.allot(SCOPE, "1", 1)
        around.admission.allot(SCOPE, LATEST, 1)
        asked = replace(REQUEST, qualifier="1")
        for request in (asked, asked, REQUEST):
            around.running.clear()
            await around.invoker().stream(request)
        assert around.provisioned == [True, False, False]

    async def test_new_limits_count_at_once(self) -> None:
        """They are those of the catalog in the moment of the request."""
        around = Around()
        await around.invoker().stream(REQUEST)
        around.reserve(1)
        with pytest.raises(LambdaError, match="Rate Exceeded"):
            await around.invoker().stream(REQUEST)
        around.reserve(2)
        await around.invoker().stream(REQUEST)


class TestTraceHeader:
    def test_callers(self) -> None:
        """One that names a root is passed on as it is."""
        sent = (
            "Self=1-2-3;Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=x"
        )
        assert trace_header(sent) == sent

    @pytest.mark.parametrize("sent", [None, "", "Sampled=1", "Root=1-zz-1"])
    def test_new(self, sent: str | None) -> None:
        """Without one, a new trace begins that is not sampled."""
        pattern = r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0"
        assert re.fullmatch(pattern, trace_header(sent))
        assert trace_header(sent) != trace_header(sent)


MANY = 3000
"""Invocations, many more than environments that a function may add meanwhile."""


async def test_environments_that_were_there_are_not_growth() -> None:
    """Clients that take turns in a few busy environments are never refused for how fast environments are added."""
    around = Around()
    around.answers = True
    for _ in range(MANY):
        await around.invoker().invoke(REQUEST)


async def test_environments_that_there_are_none_of_are_not_growth() -> None:
    """Nor does what the host has no room for count."""
    around = Around()
    around.failure = LambdaError("TooManyRequestsException", "no room")
    for _ in range(MANY):
        with pytest.raises(LambdaError, match="no room"):
            await around.invoker().invoke(REQUEST)
