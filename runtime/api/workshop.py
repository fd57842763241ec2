"""Background work of the API: bringing new and updated functions from Pending or InProgress to an end.

Each such function has one task here. What preparation means (images, warm environments) is behind `Readiness`;
this module only turns its outcome into the function's state. Work cut off by the end of the process is taken up
again by `resume`, for the state that says so is stored.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

from runtime.api.stamps import new_revision
from runtime.errors import LambdaError, PreparationFailed
from runtime.model import FunctionVersion, Scope, State, UpdateStatus
from runtime.store import Store
from runtime.store.errors import RevisionMismatch

_log = logging.getLogger(__name__)
CREATING = {"reason": "The function is being created.", "code": "Creating"}


class Readiness(Protocol):
    """What must be there before a function may be Active."""

    async def prepare(self, version: FunctionVersion) -> None:
        """Return when the version can be invoked; raise PreparationFailed or LambdaError if it never will."""

    def warm(self, version: FunctionVersion) -> None:
        """The version may soon be invoked for the first time; there is no hurry."""


def creating(version: FunctionVersion) -> FunctionVersion:
    """The version as it stands right after its creation."""
    return replace(
        version, state=State.PENDING, state_reason=CREATING["reason"], state_reason_code=CREATING["code"]
    )


def updating(version: FunctionVersion) -> FunctionVersion:
    """The version as it stands right after an update."""
    return replace(
        version,
        last_update_status=UpdateStatus.IN_PROGRESS,
        last_update_status_reason=CREATING["reason"],
        last_update_status_reason_code=CREATING["code"],
    )


def is_unsettled(version: FunctionVersion) -> bool:
    return version.state is State.PENDING or version.last_update_status is UpdateStatus.IN_PROGRESS


class Workshop:
    """Owns the tasks; nothing here outlives `close`."""

    def __init__(self, store: Store, readiness: Readiness, retired: Callable[[Scope, str], None]) -> None:
        self._store = store
        self._readiness = readiness
        self._retired = retired
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Workshop [{len(self._tasks)} functions in preparation]>"

    def prepare(
        self,
        version: FunctionVersion,
        previous: FunctionVersion | None = None,
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        """Settle a stored, unsettled version; a failed update goes back to what `previous` had.

        `settled` is called when nothing will go back to that any more.
        """
        task = asyncio.create_task(self._settle(version, previous), name=f"prepare {version.arn}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: settled())

    def warm(self, version: FunctionVersion) -> None:
        """An active version is new, or newly led to."""
        self._readiness.warm(version)

    def resume(self) -> None:
        """Take up what an earlier process left unsettled."""
        for version in self._store.catalog.all_functions():
            if is_unsettled(version):
                self.prepare(version)

    async def close(self) -> None:
        """Stop all work; what is unsettled stays so in the store."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _settle(self, version: FunctionVersion, previous: FunctionVersion | None) -> None:
        failure = await self._prepared(version)
        try:
            await self._store_outcome(version, previous, failure)
        except Exception:  # noqa: BLE001 - a task's last line: nobody else would hear of it
            _log.exception(
                "The state of %s could not be stored; it is settled at the next start", version.arn
            )

    async def _prepared(self, version: FunctionVersion) -> PreparationFailed | None:
        try:
            await self._readiness.prepare(version)
        except PreparationFailed as error:
            return error
        except LambdaError as error:
            return PreparationFailed("InternalError", error.message)
        except Exception:  # noqa: BLE001 - a bug there must not leave the function Pending
            _log.exception("Preparing %s failed", version.arn)
            return PreparationFailed(
                "InternalError", "The function could not be prepared: see the server's log."
            )
        return None

    async def _store_outcome(
        self, version: FunctionVersion, previous: FunctionVersion | None, failure: PreparationFailed | None
    ) -> None:
        while (current := self._current(version)) is not None:
            settled = _settled(current) if failure is None else _failed(current, previous, failure)
            try:
                await self._store.put_function(settled, expected_revision=current.revision_id)
            except RevisionMismatch:
                continue
            if failure is None:
                self.warm(settled)
            elif previous is not None:
                self._retired(version.scope, version.name)
            return

    def _current(self, started: FunctionVersion) -> FunctionVersion | None:
        """The version as stored now, unless it was deleted or made anew meanwhile."""
        found = self._store.catalog.function(started.scope, started.name, started.version)
        if found is None or not is_unsettled(found):
            return None
        return found if (found.code, found.config) == (started.code, started.config) else None


def _settled(version: FunctionVersion) -> FunctionVersion:
    return replace(
        version,
        revision_id=new_revision(),
        state=State.ACTIVE,
        state_reason=None,
        state_reason_code=None,
        last_update_status=UpdateStatus.SUCCESSFUL,
        last_update_status_reason=None,
        last_update_status_reason_code=None,
    )


def _failed(
    version: FunctionVersion, previous: FunctionVersion | None, failure: PreparationFailed
) -> FunctionVersion:
    changes: dict[str, Any] = {
        "revision_id": new_revision(),
        "last_update_status": UpdateStatus.FAILED,
        "last_update_status_reason": failure.reason,
        "last_update_status_reason_code": failure.reason_code,
    }
    if version.state is State.PENDING:
        changes |= {
            "state": State.FAILED,
            "state_reason": failure.reason,
            "state_reason_code": failure.reason_code,
        }
    elif previous is not None:
        changes |= {"config": previous.config, "code": previous.code}
    return replace(version, **changes)
