"""Many functions at once, while all that can be changed about them changes, sandboxes are killed and clients leave.

Each answer says which code gave it and where. What may be said is known from the changes: the one before counts until
a change is answered, the one after from when it is sent.
"""

import http.client
import random
import re
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from tests.integration.conftest import ROLE, Berth, make_zip
from tests.integration.test_under_load import kill

FUNCTIONS, CLIENTS, OPERATORS = 12, 6, 2
OPERATIONS = 30
"""Changes by each operator."""
KILLS = 6
LEAVING = 0.05
"""Of the requests."""
THROTTLED = "ReservedFunctionConcurrentInvocationLimitExceeded"
FIRST = (0, None)
"""Code and configuration at the beginning."""
PENDING = "pending"
"""Instead of these, from the creation until it is active. None: there is no function."""
MARKED = """
import os, time
TENANTS = []

def handler(event, context):
    begin = time.time()
    TENANTS.append(context.tenant_id)
    time.sleep(event)
    return {{
        "state": [{code}, os.environ.get("MARK")], "version": context.function_version,
        "type": os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], "stream": context.log_stream_name,
        "tenants": sorted(set(TENANTS)) if context.tenant_id else [],
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
        self.state = History(FIRST)
        self.alias = History({"1"})
        self.limit = History(None)
        self.provisioned = History(0)
        self.published = History({"1": FIRST})
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
            self._configure,
            self._replace,
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
        code, (_, mark) = next(self._codes), function.state.now
        self._settle(function)
        function.state.change(
            (code, mark), lambda: self._berth.update_code(function.name, MARKED.format(code=code))
        )

    def _configure(self, function: Deployed) -> None:
        code, mark = function.state.now[0], str(next(self._codes))
        self._settle(function)
        put = {"FunctionName": function.name, "Environment": {"Variables": {"MARK": mark}}}
        function.state.change((code, mark), lambda: self._berth.client.update_function_configuration(**put))

    def _replace(self, function: Deployed) -> None:
        """Delete it with all that it has, and create another one of its name."""
        delete: Callable[[], object] = partial(self._berth.client.delete_function, FunctionName=function.name)
        for history, value in (
            (function.state, None),
            (function.alias, set()),
            (function.published, {}),
            (function.limit, None),
            (function.provisioned, 0),
        ):
            delete = partial(history.change, value, delete)
        delete()
        state = (next(self._codes), None)
        function.published.change({"1": state}, lambda: None)
        function.state.change(PENDING, lambda: create(self._berth, function, state[0]))
        function.state.change(state, lambda: self._settle(function))
        function.alias.change({"1"}, lambda: lead(self._berth, function))

    def _publish(self, function: Deployed) -> None:
        self._settle(function)
        given = self._berth.client.publish_version(FunctionName=function.name)
        function.published.now[given["Version"]] = function.state.now
        waiter = self._berth.client.get_waiter("published_version_active")
        waiter.wait(FunctionName=function.name, Qualifier=given["Version"], WaiterConfig={"Delay": 0.1})

    def _move(self, function: Deployed) -> None:
        first, second = (self._draw.choice([*function.published.now]) for _ in range(2))
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
            function = self._draw.choice(self._functions)
            if self._draw.random() < LEAVING:
                self._leave(function)
            else:
                self._invoke(function)

    def _leave(self, function: Deployed) -> None:
        """Hang up before the answer, if it has not come yet."""
        connection = http.client.HTTPConnection(self._berth.url.removeprefix("http://"))
        tenant = {"X-Amz-Tenant-Id": self._draw.choice(function.tenants)} if function.tenants else {}
        connection.request("POST", f"/2015-03-31/functions/{function.name}/invocations", b"0.1", tenant)
        connection.close()
        self.seen["left"] += 1

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
            self.seen[excuse(function, error, sent, is_alias=alias)] += 1
            return
        if answer.error:
            assert "Sandbox.Failure" in answer.payload["errorType"], answer
            self.seen["lost"] += 1
            return
        self._check(function, answer.payload, sent, is_alias=alias)
        self.homes[answer.payload["stream"]].add(
            (function.name, *answer.payload["state"], options.get("TenantId"), answer.payload["type"])
        )

    def _check(self, function: Deployed, said: dict[str, Any], sent: float, *, is_alias: bool) -> None:
        answered = time.time()
        self.seen[said["type"]] += 1
        if is_alias:
            assert said["version"] in set().union(*function.alias.between(sent, answered))
            published = function.published.between(sent, answered)
            assert tuple(said["state"]) in [each.get(said["version"]) for each in published]
        else:
            assert said["version"] == "$LATEST"
            assert tuple(said["state"]) in function.state.between(sent, answered)
        if said["type"] == "provisioned-concurrency":
            assert is_alias
            assert any(function.provisioned.between(sent, answered))
        assert len(said["tenants"]) == bool(function.tenants)
        function.runs.append((said["begin"], said["end"], sent))


def excuse(function: Deployed, error: ClientError, sent: float, *, is_alias: bool) -> str:
    """What a request was refused for, which must have been so at the time."""
    span = sent, time.time()
    if error.response.get("Reason") == THROTTLED:
        assert function.limit.between(*span) != [None], error
        return "throttled"
    states = function.state.between(*span)
    if error.response["Error"]["Code"] == "ResourceNotFoundException":
        assert None in states or (is_alias and set() in function.alias.between(*span)), error
        return "missing"
    assert error.response["Error"]["Code"] == "ResourceConflictException", error
    assert PENDING in states, error
    return "pending"


def create(berth: Berth, function: Deployed, code: int) -> None:
    isolation = {"TenancyConfig": {"TenantIsolationMode": "PER_TENANT"}} if function.tenants else {}
    berth.client.create_function(
        FunctionName=function.name,
        Runtime="python3.11",
        Role=ROLE,
        Handler="app.handler",
        Code={"ZipFile": make_zip({"app.py": MARKED.format(code=code)})},
        Publish=True,
        Timeout=60,
        **isolation,
    )


def lead(berth: Berth, function: Deployed) -> None:
    berth.client.create_alias(FunctionName=function.name, Name="live", FunctionVersion="1")


def kill_some(berth: Berth, over: threading.Event) -> None:
    """One after the other, whatever it does at the moment."""
    draw = random.Random(3)  # noqa: S311  a test must be repeatable
    for _ in range(KILLS):
        berth.until(lambda: over.is_set() or berth.environments())
        if there := berth.environments():
            kill(berth, draw.choice(there)["reference"])


def served(clients: list[Client]) -> int:
    """Answers of functions so far: a busy machine gives few while everything changes all the time."""
    return sum(client.seen["on-demand"] for client in clients)


def running(berth: Berth) -> list[str]:
    """What the control plane believes to be under way."""
    with urllib.request.urlopen(f"{berth.url}/_berth/metrics") as answer:  # noqa: S310  our own
        text = answer.read().decode()
    return re.findall(r"^berth_concurrent_executions\{.*\} [1-9].*$", text, re.MULTILINE)


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
    2. Meanwhile code, configuration, versions, aliases, reserved and provisioned concurrency change, functions are
       deleted and created anew, sandboxes are killed, and clients leave before they are answered.
    Result: each request is answered by what was deployed then, or throttled where there was a limit, or refused where
    there was nothing, or lost by a kill; no limit is exceeded, no environment serves two codes or two tenants, and in
    the end nothing is in use and nothing counts as running.
    """
    functions = [Deployed(f"{name}-{n}", ("a", "b") if n % 6 == 5 else ()) for n in range(FUNCTIONS)]
    for function in functions:
        create(berth, function, 0)
        lead(berth, function)
    for function in functions:
        waiter = berth.client.get_waiter("published_version_active")
        waiter.wait(FunctionName=function.name, Qualifier="1", WaiterConfig={"Delay": 0.1})
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
            berth.until(lambda: any(each.done() for each in invoking) or served(clients) > FUNCTIONS)
        finally:
            over.set()
        for each in invoking:
            each.result()
    seen = sum((client.seen for client in clients), Counter[str]())
    assert seen["lost"] <= KILLS
    assert [moment for function in functions for moment in crowded(function)] == []
    homes: defaultdict[str, set[Any]] = defaultdict(set)
    for client in clients:
        for stream, whom in client.homes.items():
            homes[stream] |= whom
    assert [whom for whom in homes.values() if len(whom) > 1] == []
    berth.until(lambda: {each["state"] for each in berth.environments()} <= {"idle"})
    assert running(berth) == []
    for function in functions:
        berth.client.delete_function(FunctionName=function.name)
    berth.until(lambda: not berth.environments())
