"""How the parts are put together: the way down, which has one limit, and what the process allows itself."""

import asyncio
import subprocess
import sys
from typing import Any, cast

import pytest
from aiohttp import web

from runtime import app
from runtime.model import Code, FunctionConfig, FunctionVersion, ReservedConcurrency, Scope


async def test_request_that_never_ends_costs_the_patience_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that goes on is cut off when the patience is spent, and environments are given none beyond it."""
    monkeypatch.setattr(app, "PATIENCE", 0.5)
    begun, loop = asyncio.Event(), asyncio.get_running_loop()

    async def endless(_: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await loop.create_future()
        raise AssertionError("unreachable")

    server = web.Server(endless)
    listener = await loop.create_server(server, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    stopping, patience = loop.time(), app._Patience()
    await app._drain(server, patience)
    elapsed, left = loop.time() - stopping, patience.left()
    answer = await reader.read()
    writer.close()
    listener.close()
    assert elapsed < 0.9
    assert left < 0.1
    assert answer == b""


@pytest.mark.parametrize("soft", [64, None])
def test_as_many_files_as_allowed(soft: int | None) -> None:
    """The limit for interactive use is raised as far as it may be; one that is higher stays."""
    code = (
        "import resource as r; from runtime import app; "
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; "
        f"r.setrlimit(r.RLIMIT_NOFILE, ({soft} or hard, hard)); app._allow_descriptors(); "
        "print(*r.getrlimit(r.RLIMIT_NOFILE), app.DESCRIPTORS)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    now, hard, most = map(int, said.stdout.split())
    assert now == (hard if soft is None else min(hard, most))


def test_what_is_warmed() -> None:
    """Not what may not run, nor what is for one tenant that nobody knows yet."""

    class Catalog:
        """One function with reserved concurrency, one with none, one with none of it left."""

        def attachment(self, kind: type[ReservedConcurrency], scope: Scope, owner: str) -> Any:
            reserved = {"some": 5, "none": 0}.get(owner)
            return (
                None
                if reserved is None
                else kind(scope=scope, owner=owner, executions=reserved, revision_id="r")
            )

    def may_warm(name: str, **config: Any) -> bool:
        version = FunctionVersion(
            scope=Scope("123456789012", "us-east-1"),
            name=name,
            config=FunctionConfig(role="r", **config),
            code=Code("a", 1, 1),
            revision_id="r",
            last_modified="",
        )
        return app._may_warm(cast("Any", Catalog()), version)

    assert (may_warm("free"), may_warm("some"), may_warm("none")) == (True, True, False)
    assert not may_warm("free", tenant_isolation="PER_TENANT")
