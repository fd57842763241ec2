"""What there is to see of an environment, for people and `berth ps`."""

from typing import Any, cast

from runtime.core.groups import Place
from runtime.core.pool import Pool
from runtime.keys import Key
from runtime.launcher import Hosted


def describe(hosted: Hosted, pool: Pool, now: float, clock: float) -> dict[str, Any]:
    """Times in seconds, memory in bytes; `now` is of the Unix epoch, `clock` the pool's."""
    place = pool.place(hosted.number)
    idle = clock - pool.since(hosted.number) if place is Place.IDLE else None
    return {
        "environment": hosted.handle.sandbox_id,
        "function": hosted.version.name,
        "version": hosted.version.version,
        "account": hosted.version.scope.account,
        "region": hosted.version.scope.region,
        "tenant": cast("Key", pool.key(hosted.number)).tenant if place else None,
        "runtime": hosted.version.config.runtime,
        "state": place.value if place else "gone",
        "purpose": pool.purpose(hosted.number).value if place else None,
        "phase": hosted.environment.phase.value,
        "spawner": hosted.handle.spawner,
        "reference": hosted.handle.reference,
        "age": now - hosted.launched,
        "idle": idle,
        "invocations": hosted.invocations,
        "memory_size_mb": hosted.version.config.memory_size,
        "memory_peak": hosted.environment.memory_peak,
        "log_stream": hosted.log_stream,
    }
