"""Finding the function that a request means, or the 404 that AWS words for it."""

from runtime.api.calls import Call, Services
from runtime.errors import LambdaError, conflict, invalid_parameter, unfit_state
from runtime.model import LATEST, Alias, FunctionVersion, State, UpdateStatus
from runtime.names import FunctionName, function_missing, names_alias, resolve_function

UNQUALIFIED_ONLY = (
    "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
    "Please specify either a function name or an unqualified function ARN."
)

LATEST_ONLY = (
    "Current operation does not support versions other than $LATEST. "
    "Please set the version to $LATEST or do not set a version in your request."
)


def asked_name(call: Call) -> FunctionName:
    return resolve_function(call.params["FunctionName"], call.params.get("Qualifier"), call.scope)


def find_version(services: Services, call: Call) -> tuple[FunctionVersion, str | None]:
    """The version that name and qualifier lead to, and the qualifier as asked. Of a weighted alias, its first one."""
    asked = asked_name(call)
    catalog, version = services.store.catalog, asked.qualifier or LATEST
    if names_alias(version) and (alias := catalog.alias(call.scope, asked.name, version)):
        version = alias.version
    found = catalog.function(call.scope, asked.name, version)
    if found is None:
        raise function_missing(call.scope, asked.name, asked.qualifier)
    return found, asked.qualifier


def find_latest(services: Services, call: Call) -> FunctionVersion:
    """`$LATEST`, for operations that change it."""
    asked = asked_name(call)
    if asked.qualifier not in {None, LATEST}:
        raise invalid_parameter(LATEST_ONLY)
    found = services.store.catalog.function(call.scope, asked.name)
    if found is None:
        raise function_missing(call.scope, asked.name)
    return found


def find_writable(services: Services, call: Call) -> FunctionVersion:
    """`$LATEST`, if it may be written now and is at the revision that the caller expects."""
    found = find_latest(services, call)
    check_revision(found, call.params.get("RevisionId"))
    if found.state is State.PENDING:
        raise unfit_state(found.state)
    if found.last_update_status is UpdateStatus.IN_PROGRESS:
        raise update_in_progress(found)
    return found


def check_revision(
    record: FunctionVersion | Alias, expected: str | None, told_by: str = "GetFunction/GetAlias"
) -> None:
    """`told_by` is the operation that AWS sends a caller to who is at another revision."""
    if expected is not None and expected != record.revision_id:
        raise LambdaError(
            "PreconditionFailedException",
            "The Revision Id provided does not match the latest Revision Id. "
            f"Call the {told_by} API to retrieve the latest Revision Id",
        )


def update_in_progress(version: FunctionVersion) -> LambdaError:
    return conflict(
        "The operation cannot be performed at this time. "
        f"An update is in progress for resource: {version.arn}"
    )
