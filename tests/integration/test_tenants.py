"""Functions that isolate tenants: each has environments of its own, whatever the others do."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

TENANCY = {"TenantIsolationMode": "PER_TENANT"}
CODE = """
import json, os, pathlib, time

SEEN = []

def handler(event, context):
    SEEN.append(context.tenant_id)
    with pathlib.Path("/tmp/seen").open("a") as file:
        file.write(context.tenant_id + "\\n")
    time.sleep(event.get("seconds", 0))
    return {
        "globals": SEEN,
        "files": pathlib.Path("/tmp/seen").read_text().split(),
        "environment": os.environ["AWS_LAMBDA_LOG_STREAM_NAME"],
    }
"""


def test_tenants_share_nothing(berth: Any, name: str) -> None:
    """
    1. Two tenants invoke in turn, then many times at once.
    Result: what a tenant finds in its environment, in memory and on disk, is its own alone; in turn each keeps its one.
    """
    berth.deploy(name, CODE, TenancyConfig=TENANCY, Timeout=60)
    served: dict[str, set[str]] = {"blue": set(), "green": set()}

    def invoke(tenant: str, seconds: float = 0) -> None:
        found = berth.invoke(name, {"seconds": seconds}, TenantId=tenant).payload
        assert set(found["globals"]) == set(found["files"]) == {tenant}
        served[tenant].add(found["environment"])

    for tenant in ("blue", "green") * 4:
        invoke(tenant)
    assert [len(streams) for streams in served.values()] == [1, 1]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(invoke, ["blue", "green", "green"] * 6, [0.2] * 18))
    assert not served["blue"] & served["green"]
    shown = {each["log_stream"]: each["tenant"] for each in berth.environments(name)}
    for tenant, streams in served.items():
        assert {shown[stream] for stream in streams} == {tenant}


def test_a_tenant_makes_room_for_another(new_berth: Callable[..., Any], name: str) -> None:
    """With one environment allowed, a tenant's idle one is ended for the next tenant, never handed over."""
    berth = new_berth("process", "--max-environments", "1")
    berth.start()
    berth.deploy(name, CODE, TenancyConfig=TENANCY)
    for tenant in ("blue", "green", "blue"):
        assert berth.invoke(name, TenantId=tenant).payload["globals"] == [tenant]


def test_logs_name_the_tenant(berth: Any, name: str) -> None:
    """Those in JSON: the platform's events and the function's own records."""
    code = "import logging\ndef handler(event, context):\n    logging.getLogger().error('here')"
    berth.deploy(name, code, TenancyConfig=TENANCY, LoggingConfig={"LogFormat": "JSON"})
    events = [json.loads(line) for line in berth.invoke(name, TenantId="blue").log.splitlines()]
    named = {event["type"]: event["record"].get("tenantId") for event in events if "type" in event}
    assert (named["platform.start"], named["platform.report"]) == ("blue", "blue")
    assert [event["tenantId"] for event in events if event.get("message") == "here"] == ["blue"]


@pytest.mark.parametrize("tenant", [{}, {"TenantId": "blue"}])
def test_who_has_to_name_a_tenant(berth: Any, name: str, tenant: dict[str, str]) -> None:
    """Callers of functions that isolate tenants, and nobody else; no function runs for a wrong call."""
    code = "def handler(event, context): return context.tenant_id"
    berth.deploy(name, code, **({} if tenant else {"TenancyConfig": TENANCY}))
    with pytest.raises(berth.client.exceptions.InvalidParameterValueException):
        berth.invoke(name, **tenant)
    assert berth.environments(name) == []
