"""How what the APIs of an environment raise is said to whoever called: as one of `rapid.errors`."""

import logging

from rapid import errors
from rapid.concurrent_lifecycle import TooLate, TooManyWaiting
from rapid.extensions import ExtensionRefused
from rapid.lifecycle import UnknownRequest
from rapid.states import IllegalTransition

logger = logging.getLogger(__name__)

_REFUSALS: tuple[tuple[type[Exception], errors.Refusal], ...] = (
    (TooManyWaiting, errors.INTERNAL),
    (TooLate, errors.TOO_LATE),
    (UnknownRequest, errors.INVALID_REQUEST_ID),
    (errors.BodyBroken, errors.TRUNCATED),
)
"""Those that say the same whatever is refused; of two that apply, the first."""


def refusal(what: str, error: Exception, where: object) -> errors.Refusal:
    """What is not foreseen is in the log, with what was asked for and where."""
    for kind, said in _REFUSALS:
        if isinstance(error, kind):
            return said
    match error:
        case ExtensionRefused():
            return error.refusal
        case IllegalTransition():
            return errors.illegal_transition(error.current, error.target)
        case errors.BodyTooLong():
            return errors.too_large(error.limit)
    logger.error("%s of %r failed", what, where, exc_info=error)
    return errors.INTERNAL
