"""What whoever waits for an environment is told where there will be none: errors of the Lambda API, or the function's own."""

import logging

from rapid.exchange import Ticket
from rapid.invocation import Fault, Invocation
from rapid.records import Report, ending
from runtime.core.room import Bound, Bounds
from runtime.errors import LambdaError
from runtime.model import FunctionVersion
from runtime.spawners.base import SpawnerError

logger = logging.getLogger(__name__)

REASON = "ConcurrentInvocationLimitExceeded"
"""AWS's word for a lack of concurrency that no limit of the function itself explains."""


def no_room(bounds: Bounds, bound: Bound, seconds: float) -> LambdaError:
    """Whatever there is of `bound` was in use for so long."""
    return _throttled(
        f"No room for another execution environment within {seconds:g} s: "
        f"all of {_amount(bounds, bound)} are in use (setting {bound.value})."
    )


def too_large(bounds: Bounds, bound: Bound) -> LambdaError:
    """Nothing that ends would make room."""
    return _throttled(
        "The function does not fit into what the host has for functions, "
        f"{_amount(bounds, bound)} less what is provisioned (setting {bound.value})."
    )


def too_long(seconds: float) -> LambdaError:
    """The time that an invocation may wait for anything is over."""
    return _throttled(f"No execution environment became free within {seconds:.0f} s: see the server's log.")


def no_environment(version: FunctionVersion, error: BaseException) -> LambdaError:
    """It could not be launched; the log has why, too."""
    known = isinstance(error, (SpawnerError, OSError))
    logger.error("no environment for %s: %s", version.arn, error, exc_info=None if known else error)
    text = str(error) if known else "see the server's log"
    return LambdaError("ServiceException", f"The execution environment could not be launched: {text}")


def lost_again_and_again() -> LambdaError:
    """One environment after the other ended before it began."""
    return LambdaError("ServiceException", "The execution environment was lost before the function began.")


def shutting_down() -> LambdaError:
    """Nothing begins any more."""
    return LambdaError("ServiceException", "Berth is shutting down.")


def _throttled(text: str) -> LambdaError:
    return LambdaError("TooManyRequestsException", text, reason=REASON, retry_after=1)


def _amount(bounds: Bounds, bound: Bound) -> str:
    return f"{bounds.memory} MB" if bound is Bound.MEMORY else f"{bounds.environments} environments"


class InitialisationFailed(Exception):
    """An environment of many invocations at once ended before it could take one: its initialisation failed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def never_run(invocation: Invocation, fault: Fault, memory_size: int, ticket: Ticket) -> Ticket:
    """The end of an invocation that got no environment, for a reason that is the function's own."""
    ticket.respond(fault.outcome(invocation.request_id))
    status, error_type = ending(fault)
    ticket.complete(Report(invocation.request_id, 0.0, None, memory_size, 0, status, error_type))
    return ticket
