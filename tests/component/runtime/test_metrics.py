"""Metrics from the invoker to what a scraper reads, with a fleet that does as it is told."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from rapid.exchange import Ticket
from rapid.invocation import Invocation, Outcome
from rapid.records import FAILURE, SUCCESS, TIMEOUT, Report, Span
from rapid.streams import Stream
from runtime import metrics as metrics_module
from runtime.admission import Admission
from runtime.core.admission import Ledger
from runtime.core.limits import LimitsReader
from runtime.core.tallies import Use
from runtime.errors import LambdaError
from runtime.exposition import Census
from runtime.invoker import Invoker, InvokeRequest
from runtime.metrics import Metrics
from runtime.model import (
    Alias,
    Code,
    FunctionConfig,
    FunctionVersion,
    ProvisionedConcurrency,
    ReservedConcurrency,
    Scope,
    State,
)
from runtime.store.catalog import (
    AliasDeleted,
    AliasPut,
    AttachmentPut,
    Catalog,
    FunctionDeleted,
    FunctionPut,
)

SCOPE = Scope("123456789012", "us-east-1")
REQUEST = InvokeRequest(scope=SCOPE, function="f", qualifier=None, payload=b"{}", request_id="id")


def function(name: str = "f", version: str = "$LATEST") -> FunctionVersion:
    return FunctionVersion(
        scope=SCOPE,
        name=name,
        version=version,
        config=FunctionConfig(role="r"),
        code=Code("0" * 64, 1, 1),
        revision_id=f"{name} {version}",
        last_modified="",
        state=State.ACTIVE,
    )


class World:
    """An invoker, its metrics, and a fleet whose environments are futures."""

    def __init__(self) -> None:
        self.catalog = Catalog().evolve(
            [
                *(FunctionPut(function("f", version)) for version in ("$LATEST", "1", "2")),
                FunctionPut(function("g")),
                AliasPut(Alias(scope=SCOPE, function="f", name="live", version="2", revision_id="a")),
            ]
        )
        self.metrics = Metrics(lambda: self.catalog)
        ledger = Ledger(limits_requests=False)
        self.admission = Admission(lambda: self.catalog, ledger, LimitsReader(10_000))
        self.invoker = Invoker(lambda: self.catalog, self, self.admission, metrics=self.metrics)  # type: ignore[arg-type]
        self.refusals: list[Exception] = []
        #: With which the next invocations are refused.
        self.tickets: list[Ticket] = []
        self.arrivals: asyncio.Queue[Ticket] = asyncio.Queue()
        self.may_run = asyncio.Event()
        self.may_run.set()
        self.environments: list[Census] = []

    def has_free(self, version: FunctionVersion, tenant: str | None) -> bool:
        return True

    def provisioned_key(self, version: FunctionVersion) -> str:
        return version.version

    def run(
        self,
        version: FunctionVersion,
        invocation: Invocation,
        stream: Stream | None = None,
        *,
        provisioned: bool = False,
    ) -> "asyncio.Future[Ticket]":
        return asyncio.ensure_future(self._run(stream))

    async def _run(self, stream: Stream | None) -> Ticket:
        await self.may_run.wait()
        if self.refusals:
            raise self.refusals.pop()
        ticket = Ticket(stream)
        self.arrivals.put_nowait(ticket)
        return ticket

    def census(self) -> Iterable[Census]:
        return self.environments

    def begin(self, function: str = "f", qualifier: str | None = None) -> "asyncio.Task[object]":
        request = replace(REQUEST, function=function, qualifier=qualifier)
        return asyncio.create_task(self.invoker.invoke(request))

    async def started(self, count: int) -> None:
        async with asyncio.timeout(10):
            for _ in range(count):
                self.tickets.append(await self.arrivals.get())

    async def samples(self) -> "Samples":
        return Samples((await self.metrics.render(self)).decode())


class Samples:
    """What a scraper has read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(self, name: str) -> Mapping[tuple[str, str], float]:
        """By resource and executed version."""
        return {
            (each.labels["resource"], each.labels["executed_version"]): each.value
            for each in self.found
            if each.name == name and "le" not in each.labels
        }

    def total(self, name: str) -> float:
        return sum(self.of(name).values())

    def of_region(self, name: str) -> float:
        (found,) = [each for each in self.found if each.name == name]
        assert (found.labels["account"], found.labels["region"]) == (SCOPE.account, SCOPE.region)
        return found.value


def finish(ticket: Ticket, status: str = SUCCESS, *, duration: float = 0.1, **more: float) -> None:
    overhead = more.pop("overhead", None)
    spans = () if overhead is None else (Span("extensionOverhead", 0, overhead),)
    ticket.respond(Outcome(b"{}", function_error=status != SUCCESS))
    ticket.complete(Report("id", duration, more.get("init"), 128, 1, status, spans=spans))


async def test_a_thousand_at_once_are_counted_one_by_one() -> None:
    """Invocations of three kinds of naming, a third of them failing, and throttles between them: all sums are right."""
    world = World()
    calls = [world.begin(qualifier=(None, "1", "live")[number % 3]) for number in range(1000)]
    await world.started(1000)
    world.refusals = [LambdaError("TooManyRequestsException", "Rate Exceeded.") for _ in range(100)]
    throttled = await asyncio.gather(*(world.begin() for _ in range(100)), return_exceptions=True)
    assert all(isinstance(each, LambdaError) for each in throttled)

    during = await world.samples()
    assert during.of("berth_concurrent_executions") == {
        ("f", "$LATEST"): 334,
        ("f:1", "1"): 333,
        ("f:live", "2"): 333,
    }
    assert during.total("berth_invocations_total") == 1000
    assert during.of("berth_throttles_total") == {("f", "$LATEST"): 100, ("f:1", "1"): 0, ("f:live", "2"): 0}
    assert during.total("berth_duration_seconds_count") == 0

    for number, ticket in enumerate(world.tickets):
        finish(ticket, (SUCCESS, FAILURE, SUCCESS, TIMEOUT)[number % 4], duration=0.5)
    await asyncio.gather(*calls)
    after = await world.samples()
    assert after.total("berth_concurrent_executions") == 0
    assert after.total("berth_invocations_total") == after.total("berth_duration_seconds_count") == 1000
    assert after.total("berth_duration_seconds_sum") == 500
    assert after.total("berth_errors_total") == 500
    assert after.total("berth_throttles_total") == 100


async def test_scrapes_in_the_midst_disturb_nothing() -> None:
    """However many scrape while invocations run, what each reads is whole and never goes back."""
    world = World()

    async def load() -> None:
        for _ in range(20):
            call = world.begin()
            await world.started(1)
            finish(world.tickets.pop())
            await call

    loading = asyncio.create_task(load())
    scrapes = await asyncio.gather(*(world.samples() for _ in range(10)))
    await loading
    counts = [each.total("berth_invocations_total") for each in scrapes]
    assert counts == sorted(counts)
    assert (await world.samples()).total("berth_invocations_total") == 20


async def test_durations_are_in_seconds() -> None:
    """Of the invocation, of what extensions took after it, and of its initialisation where it had one."""
    world = World()
    calls = [world.begin(), world.begin()]
    await world.started(2)
    finish(world.tickets[0], duration=0.2, overhead=0.03, init=0.4)
    finish(world.tickets[1], duration=0.004)
    await asyncio.gather(*calls)
    samples = await world.samples()
    assert samples.total("berth_duration_seconds_sum") == pytest.approx(0.204)
    assert samples.total("berth_post_runtime_extensions_duration_seconds_sum") == pytest.approx(0.03)
    assert samples.total("berth_init_duration_seconds_sum") == pytest.approx(0.4)
    assert samples.total("berth_init_duration_seconds_count") == 1
    labels = 'account="123456789012",executed_version="$LATEST",function="f",le="{}",region="us-east-1",resource="f"'
    for bound, count in {"0.0025": 0, "0.005": 1, "0.25": 2, "+Inf": 2}.items():
        assert f"berth_duration_seconds_bucket{{{labels.format(bound)}}} {count}.0" in samples.text


async def test_who_waits_for_an_environment_is_one_of_those_at_the_same_time() -> None:
    """And no invocation yet; if it leaves, it was none, and no throttle."""
    world = World()
    world.may_run.clear()
    call = world.begin()
    await asyncio.sleep(0)
    assert (await world.samples()).total("berth_concurrent_executions") == 1
    call.cancel()
    await asyncio.wait([call])
    samples = await world.samples()
    names = ("berth_concurrent_executions", "berth_invocations_total", "berth_throttles_total")
    assert [samples.total(name) for name in names] == [0, 0, 0]


async def test_caller_that_leaves_does_not_end_the_count() -> None:
    """The function goes on, so it is one of those at the same time until it is done."""
    world = World()
    call = world.begin()
    await world.started(1)
    call.cancel()
    await asyncio.wait([call])
    assert (await world.samples()).total("berth_concurrent_executions") == 1
    world.tickets[0].complete(Report("id", 0.1, None, 128, 1, FAILURE))
    await asyncio.sleep(0)
    samples = await world.samples()
    assert (samples.total("berth_concurrent_executions"), samples.total("berth_errors_total")) == (0, 1)


async def test_failure_of_the_machinery_is_no_throttle() -> None:
    """An environment that cannot be launched is neither the caller's doing nor the function's."""
    world = World()
    world.refusals = [LambdaError("ServiceException", "no engine")]
    with pytest.raises(LambdaError):
        await world.begin()
    samples = await world.samples()
    names = ("berth_throttles_total", "berth_errors_total", "berth_invocations_total")
    assert [samples.total(name) for name in names] == [0, 0, 0]


async def test_callers_cannot_make_up_series() -> None:
    """Functions, versions and aliases that do not exist leave no trace."""
    world = World()
    for name, qualifier in [("nobody", None), ("f", "77"), ("f", "nothing")]:
        with pytest.raises(LambdaError):
            await world.begin(name, qualifier)
    assert world.metrics.tallies() == ()


async def test_series_go_with_what_they_are_of() -> None:
    """A deleted alias takes its series, a deleted function all of them, but for what still runs."""
    world = World()
    calls = [world.begin(), world.begin(qualifier="live"), world.begin("g")]
    await world.started(3)
    finish(world.tickets[0])
    finish(world.tickets[1])
    await asyncio.gather(*calls[:2])
    world.catalog = world.catalog.evolve([AliasDeleted(SCOPE, "f", "live")])
    assert set((await world.samples()).of("berth_invocations_total")) == {("f", "$LATEST"), ("g", "$LATEST")}
    world.catalog = world.catalog.evolve([FunctionDeleted(SCOPE, "f"), FunctionDeleted(SCOPE, "g")])
    assert set((await world.samples()).of("berth_invocations_total")) == {("g", "$LATEST")}
    finish(world.tickets[2])
    await calls[2]
    assert (await world.samples()).of("berth_invocations_total") == {}


async def test_series_are_bounded_though_nobody_scrapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Functions that come and go do not pile up."""
    monkeypatch.setattr(metrics_module, "SLACK", 10)
    world = World()
    world.metrics = Metrics(lambda: world.catalog)
    for number in range(100):
        name = f"f{number}"
        world.catalog = world.catalog.evolve([FunctionPut(function(name))])
        world.metrics.admitted(function(name), None).refused("ConcurrentInvocationLimitExceeded")
        world.catalog = world.catalog.evolve([FunctionDeleted(SCOPE, name)])
        assert len(world.metrics.tallies()) <= 10


async def test_account_concurrency() -> None:
    """What functions without reserved concurrency use, and what nobody else can have."""
    world = World()
    world.catalog = world.catalog.evolve(
        [
            AttachmentPut(ReservedConcurrency(scope=SCOPE, owner="f", revision_id="r", executions=50)),
            AttachmentPut(
                ProvisionedConcurrency(
                    scope=SCOPE, owner="f", qualifier="1", revision_id="r", executions=7, last_modified=""
                )
            ),
            AttachmentPut(
                ProvisionedConcurrency(
                    scope=SCOPE, owner="g", qualifier="1", revision_id="r", executions=5, last_modified=""
                )
            ),
        ]
    )
    calls = [world.begin("f"), world.begin("g"), world.begin("g")]
    await world.started(3)
    samples = await world.samples()
    assert samples.of_region("berth_unreserved_concurrent_executions") == 2
    assert samples.of_region("berth_claimed_account_concurrency") == 50 + 5 + 2
    for ticket in world.tickets:
        finish(ticket)
    await asyncio.gather(*calls)


async def test_environments_are_counted_by_place() -> None:
    """Environments of one version that differ in an alias's variables are added up."""
    world = World()
    world.environments = [
        Census(SCOPE, "f", "1", "idle", 2),
        Census(SCOPE, "f", "1", "idle", 1),
        Census(SCOPE, "f", "1", "busy", 4),
    ]
    text = (await world.samples()).text
    labels = 'account="123456789012",function="f",place="{}",region="us-east-1",version="1"'
    assert f"berth_environments{{{labels.format('idle')}}} 3.0" in text
    assert f"berth_environments{{{labels.format('busy')}}} 4.0" in text


async def test_admission() -> None:
    """What a limit refuses is a throttle and never ran; provisioned concurrency is told from what spilled over."""
    world = World()
    provisioned = ProvisionedConcurrency(
        scope=SCOPE, owner="f", qualifier="1", revision_id="r", executions=1, last_modified=""
    )
    reserved = ReservedConcurrency(scope=SCOPE, owner="f", revision_id="r", executions=2)
    world.catalog = world.catalog.evolve([AttachmentPut(provisioned), AttachmentPut(reserved)])
    world.admission.allot(SCOPE, "1", 1)
    calls = [world.begin(qualifier="1") for _ in range(2)]
    await world.started(2)
    with pytest.raises(LambdaError, match="Rate Exceeded"):
        await world.begin(qualifier="1")
    during = await world.samples()
    assert during.total("berth_throttles_total") == 1
    (found,) = [each for each in during.found if each.name == "berth_throttles_by_reason_total"]
    assert (found.labels["resource"], found.labels["reason"], found.value) == (
        "f:1",
        "ReservedFunctionConcurrentInvocationLimitExceeded",
        1,
    )
    assert during.total("berth_concurrent_executions") == 2
    assert during.total("berth_provisioned_concurrent_executions") == 1
    assert during.total("berth_provisioned_concurrency_invocations_total") == 1
    assert during.total("berth_provisioned_concurrency_spillover_invocations_total") == 1
    for ticket in world.tickets:
        finish(ticket)
    await asyncio.gather(*calls)
    after = await world.samples()
    assert after.total("berth_provisioned_concurrent_executions") == 0
    assert after.total("berth_invocations_total") == 2


async def test_utilization_of_provisioned_concurrency() -> None:
    """What of it is in use, by whom it was provisioned for; nothing while it has no environments."""
    world = World()
    ready = {"1": 4, "live": 8}
    world.metrics = Metrics(lambda: world.catalog, lambda record: ready.get(record.qualifier, 0))
    world.catalog = world.catalog.evolve(
        AttachmentPut(
            ProvisionedConcurrency(
                scope=SCOPE, owner="f", qualifier=qualifier, revision_id="r", executions=9, last_modified=""
            )
        )
        for qualifier in ("1", "live", "2")
    )
    for version, qualifier in (("1", "1"), ("2", "live"), ("2", "live")):
        tally = world.metrics.admitted(function("f", version), qualifier)
        tally.began(Use.PROVISIONED)
    world.metrics.admitted(function("f", "1"), "1").began(Use.SPILLOVER)
    found = {
        each.labels["resource"]: each.value
        for each in (await world.samples()).found
        if each.name == "berth_provisioned_concurrency_utilization"
    }
    assert found == {"f:1": 0.25, "f:live": 0.25}
