"""Many functions at once, while all that can be changed about them changes and sandboxes are killed at random.

Each answer says which code gave it and where. What may be said is known from the changes: the one before counts until
a change is answered, the one after from when it is sent.
"""

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import ClientError

from tests.integration.conftest import Berth, make_zip
from tests.integration.test_under_load import kill

FUNCTIONS, CLIENTS, OPERATORS = 12, 6, 2
OPERATIONS = 30
"""Changes by each operator."""
KILLS = 6
THROTTLED = "ReservedFunctionConcurrentInvocationLimitExceeded"
MARKED = """
import os, time
TENANTS = []

def handler(event, context):
    begin = time.time()
    TENANTS.append(context.tenant_id)
    time.sleep(event)
    return {{
        "code": {code}, "version": context.function_version, "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"],
        "stream": context.log_stream_name, "tenants": sorted(set(TENANTS)) if context.tenant_id else [],
        "begin": begin, "end": time.time(),
    }}
"""


class History:
    """What something was, and when that may have counted."""

    def __init__(self, value: Any) -> None:
        self._spans: list[list[Any]] = [[value, 0.0, float("inf")]]

    def change(self, value: Any, carry_out: Callable[[], object]) -> None:
        """From when the change is sent both count, from its answer on the new one. A refused change is none."""
        span = [value, time.time(), float("inf")]
        self._spans.append(span)
        try:
            carry_out()
        except ClientError:
            self._spans.remove(span)
            raise
        self._spans[-2][2] = time.time()

    def between(self, begin: float, end: float) -> list[Any]:
        return [value for value, since, until in self._spans if since <= end and until >= begin]

    @property
    def now(self) -> Any:
        return self._spans[-1][0]


class Deployed:
    """One function: what its owner made of it, and what its invocations said."""

    def __init__(self, name: str, tenants: tuple[str, ...]) -> None:
        self.name = name
        self.tenants = tenants
        self.code = History(0)
        self.alias = History({"1"})
        self.limit = History(None)
        self.provisioned = History(0)
        self.published = {"1": 0}
        self.mine = threading.Lock()
        """Held by the one who changes it."""
        self.runs: list[tuple[float, float, float]] = []
        """Begin and end of each invocation, and when it was sent."""


class Operator:
    """Changes functions at random, one at a time each."""

    def __init__(self, berth: Berth, functions: list[Deployed], seed: int) -> None:
        self._berth = berth
        self._functions = functions
        self._draw = random.Random(seed)  # noqa: S311  a test must be repeatable
        self._codes = iter(range(seed * 1000, seed * 1000 + 999))

    def work(self) -> None:
        kinds = [
            self._update,
            self._update,
            self._publish,
            self._move,
            self._move,
            self._limit,
            self._provision,
        ]
        for _ in range(OPERATIONS):
            function = self._draw.choice(self._functions)
            with function.mine:
                self._draw.choice(kinds)(function)

    def _update(self, function: Deployed) -> None:
        code = next(self._codes)
        self._settle(function)
        function.code.change(code, lambda: self._berth.update_code(function.name, MARKED.format(code=code)))

    def _publish(self, function: Deployed) -> None:
        self._settle(function)
        given = self._berth.client.publish_version(FunctionName=function.name)
        function.published[given["Version"]] = function.code.now
        waiter = self._berth.client.get_waiter("published_version_active")
        waiter.wait(FunctionName=function.name, Qualifier=given["Version"], WaiterConfig={"Delay": 0.1})

    def _move(self, function: Deployed) -> None:
        first, second = (self._draw.choice([*function.published]) for _ in range(2))
        weights = {second: 0.5} if second != first and not function.provisioned.now else {}
        change: dict[str, Any] = {
            "FunctionVersion": first,
            "RoutingConfig": {"AdditionalVersionWeights": weights},
        }
        function.alias.change(
            {first, *weights},
            lambda: self._berth.client.update_alias(FunctionName=function.name, Name="live", **change),
        )

    def _limit(self, function: Deployed) -> None:
        limit = self._draw.choice([None, 1, 2])
        client, name = self._berth.client, function.name
        if limit is None:
            function.limit.change(None, lambda: client.delete_function_concurrency(FunctionName=name))
        elif limit >= function.provisioned.now:
            put = {"FunctionName": name, "ReservedConcurrentExecutions": limit}
            function.limit.change(limit, lambda: client.put_function_concurrency(**put))

    def _provision(self, function: Deployed) -> None:
        if function.tenants:
            return
        what = {"FunctionName": function.name, "Qualifier": "live"}
        client = self._berth.client
        if function.provisioned.now:
            function.provisioned.change(0, lambda: client.delete_provisioned_concurrency_config(**what))
        elif len(function.alias.now) == 1:
            put = {**what, "ProvisionedConcurrentExecutions": 1}
            function.provisioned.change(1, lambda: client.put_provisioned_concurrency_config(**put))

    def _settle(self, function: Deployed) -> None:
        waiter = self._berth.client.get_waiter("function_updated_v2")
        waiter.wait(FunctionName=function.name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})


class Client:
    """Invokes at random until it is told to stop, and holds every answer against what was deployed."""

    def __init__(self, berth: Berth, functions: list[Deployed], seed: int) -> None:
        self._berth = berth
        self._functions = functions
        self._draw = random.Random(seed)  # noqa: S311  a test must be repeatable
        self.seen: Counter[str] = Counter()
        self.homes: defaultdict[str, set[Any]] = defaultdict(set)
        """By log stream, which is an environment: whom it served."""

    def work(self, over: threading.Event) -> None:
        while not over.is_set():
            self._invoke(self._draw.choice(self._functions))

    def _invoke(self, function: Deployed) -> None:
        options: dict[str, Any] = {}
        if alias := self._draw.random() < 0.5:
            options["Qualifier"] = "live"
        if function.tenants:
            options["TenantId"] = self._draw.choice(function.tenants)
        sent = time.time()
        try:
            answer = self._berth.invoke(function.name, self._draw.choice([0, 0, 0.1]), **options)
        except ClientError as error:
            if error.response.get("Reason") != THROTTLED or function.limit.between(sent, time.time()) == [
                None
            ]:
                raise
            self.seen["throttled"] += 1
            return
        if answer.error:
            assert "Sandbox.Failure" in answer.payload["errorType"], answer
            self.seen["lost"] += 1
            return
        self._check(function, answer.payload, sent, is_alias=alias)
        self.homes[answer.payload["stream"]].add(
            (function.name, answer.payload["code"], options.get("TenantId"), answer.payload["type"])
        )

    def _check(self, function: Deployed, said: dict[str, Any], sent: float, *, is_alias: bool) -> None:
        answered = time.time()
        self.seen[said["type"]] += 1
        if is_alias:
            assert said["version"] in set().union(*function.alias.between(sent, answered))
            assert said["code"] == function.published[said["version"]]
        else:
            assert said["version"] == "$LATEST"
            assert said["code"] in function.code.between(sent, answered)
        if said["type"] == "provisioned-concurrency":
            assert is_alias
            assert any(function.provisioned.between(sent, answered))
        assert len(said["tenants"]) == bool(function.tenants)
        function.runs.append((said["begin"], said["end"], sent))


def deploy(berth: Berth, function: Deployed) -> None:
    isolation = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}} if function.tenants else {}
    berth.deploy(
        function.name, make_zip({"app.py": MARKED.format(code=0)}), Publish=True, Timeout=60, **isolation
    )
    berth.client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")


def kill_some(berth: Berth, over: threading.Event) -> None:
    """One after the other, whatever it does at the moment."""
    draw = random.Random(3)  # noqa: S311  a test must be repeatable
    for _ in range(KILLS):
        berth.until(lambda: over.is_set() or berth.environments())
        if there := berth.environments():
            kill(berth, draw.choice(there)["reference"])


def crowded(function: Deployed) -> list[Any]:
    """Moments at which more ran than any limit allowed that counted since the first of them was sent."""
    found = []
    for begin, _, _ in function.runs:
        inside = [run for run in function.runs if run[0] <= begin < run[1]]
        limits = function.limit.between(min(sent for _, _, sent in inside), begin)
        if None not in limits and len(inside) > max(limits):
            found.append((begin, inside, limits))
    return found


def test_everything_at_once(berth: Berth, name: str) -> None:
    """
    1. Clients invoke functions, with and without tenants, directly and through an alias.
    2. Meanwhile code, versions, aliases, reserved and provisioned concurrency change, and sandboxes are killed.
    Result: each request is answered by what was deployed then, or throttled where there was a limit, or lost by a
    kill; no limit is exceeded, no environment serves two codes or two tenants, and in the end nothing is in use.
    """
    functions = [Deployed(f"{name}-{n}", ("a", "b") if n % 6 == 5 else ()) for n in range(FUNCTIONS)]
    for function in functions:
        deploy(berth, function)
    over = threading.Event()
    clients = [Client(berth, functions, seed) for seed in range(CLIENTS)]
    operators = [Operator(berth, functions[each::OPERATORS], each + 1) for each in range(OPERATORS)]
    with ThreadPoolExecutor(CLIENTS + OPERATORS + 1) as threads:
        try:
            invoking = [threads.submit(client.work, over) for client in clients]
            changing = [threads.submit(operator.work) for operator in operators]
            killing = threads.submit(kill_some, berth, over)
            for each in (*changing, killing):
                each.result()
        finally:
            over.set()
        for each in invoking:
            each.result()
    seen = sum((client.seen for client in clients), Counter[str]())
    assert seen["lost"] <= KILLS
    assert seen["on-demand"] > FUNCTIONS
    assert [moment for function in functions for moment in crowded(function)] == []
    homes: defaultdict[str, set[Any]] = defaultdict(set)
    for client in clients:
        for stream, whom in client.homes.items():
            homes[stream] |= whom
    assert [whom for whom in homes.values() if len(whom) > 1] == []
    berth.until(lambda: {each["state"] for each in berth.environments()} <= {"idle"})
    for function in functions:
        berth.client.delete_function(FunctionName=function.name)
    berth.until(lambda: not berth.environments())
