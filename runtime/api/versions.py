"""Operations on published versions: numbered copies of `$LATEST` that never change.

What is published is `$LATEST` as stored, and the store gives the number in the same transaction. If nothing has changed
since the last number was given, that version is the answer.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.api.calls import Call, Operation, Services
from runtime.api.configuration import refuse_unimplemented
from runtime.api.documents import code_sha256, function_configuration, listed_configuration
from runtime.api.function_lookup import asked_name, find_writable
from runtime.api.managed_functions import on_provider
from runtime.api.packages import frozen
from runtime.api.paging import page
from runtime.api.stamps import new_revision, timestamp
from runtime.api.workshop import creating, is_unsettled
from runtime.errors import invalid_parameter, unfit_state
from runtime.model import LATEST, FunctionVersion, State, UpdateStatus
from runtime.names import function_missing
from runtime.store.errors import RevisionMismatch


async def publish_version(services: Services, call: Call) -> Mapping[str, Any]:
    refuse_unimplemented(call.params)
    while True:
        latest = find_writable(services, call)
        if latest.state is not State.ACTIVE:
            raise unfit_state(latest.state)
        latest = await frozen(services, latest)
        _check_code(latest, call.params.get("CodeSha256"))
        draft = _active_version(latest, services.now(), call.params.get("Description"))
        try:
            async with on_provider(services, call.scope, draft.config):
                published = await services.store.publish_version(draft, latest_revision=latest.revision_id)
        except RevisionMismatch:
            continue  # somebody else's write came between: what is there now decides
        if is_unsettled(published):
            services.workshop.prepare(published)
        else:
            services.workshop.warm(published)
        return function_configuration(published, published.version)


def _check_code(latest: FunctionVersion, expected_sha256: str | None) -> None:
    current = code_sha256(latest.code)
    if expected_sha256 and expected_sha256 != current:
        raise invalid_parameter(
            f"CodeSHA256 ({expected_sha256}) is different from current CodeSHA256 in $LATEST ({current}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


def _active_version(latest: FunctionVersion, now: float, description: str | None) -> FunctionVersion:
    """A copy of a `$LATEST` that is ready: as ready as that, unless a snapshot is to be taken first."""
    if latest.config.snap_starts:
        return pending_version(latest, now, description)
    return replace(
        _copy(latest, now, description),
        state=State.ACTIVE,
        last_update_status=UpdateStatus.SUCCESSFUL,
    )


def pending_version(latest: FunctionVersion, now: float, description: str | None = None) -> FunctionVersion:
    """A copy of a `$LATEST` that is itself still to be prepared. The store gives it its number."""
    return creating(_copy(latest, now, description))


def _copy(latest: FunctionVersion, now: float, description: str | None) -> FunctionVersion:
    """Code and configuration; neither tags nor the story of `$LATEST`'s updates."""
    own = latest.config.description if description is None else description
    return FunctionVersion(
        scope=latest.scope,
        name=latest.name,
        config=replace(latest.config, description=own),
        code=latest.code,
        revision_id=new_revision(),
        last_modified=timestamp(now),
        source_description=latest.config.description,
    )


async def list_versions_by_function(services: Services, call: Call) -> Mapping[str, Any]:
    name = asked_name(call).name
    versions = services.store.catalog.versions(call.scope, name)
    if not versions:
        raise function_missing(call.scope, name)
    records, next_marker = page(versions, position, call.params.get("Marker"), call.params.get("MaxItems"))
    return {
        "Versions": [listed_configuration(each, each.version) for each in records],
        "NextMarker": next_marker,
    }


def position(record: FunctionVersion) -> str:
    """Where a version is in lists: by name, then `$LATEST` first, then by number."""
    number = 0 if record.version == LATEST else int(record.version)
    return f"{record.name}\0{number:020d}"


OPERATIONS: dict[str, Operation] = {
    "ListVersionsByFunction": list_versions_by_function,
    "PublishVersion": publish_version,
}
