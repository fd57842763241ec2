"""The error table agrees with Lambda's published model, and says so where it means to differ."""

import pytest

from runtime.api.protocol import load_service
from runtime.errors import ERRORS, LambdaError, validation_error

UNMODELLED = {
    "AccessDeniedException",
    "RequestEntityTooLargeException",
    "SerializationException",
    "UnknownOperationException",
    "ValidationException",
}
RENAMED = "RequestTooLargeException"
"""On the wire it is RequestEntityTooLargeException."""
MODELLED = sorted(shape.name for shape in load_service().error_shapes if shape.name != RENAMED)


@pytest.mark.parametrize("code", MODELLED)
def test_row_agrees_with_the_model(code: str) -> None:
    """Status, spelling of the text's member and whose fault it is are the model's."""
    shape, row = load_service().shape_for(code), ERRORS[code]
    assert row.status == shape.metadata["error"]["httpStatusCode"]
    assert row.text in shape.members
    assert row.type == ("User" if row.status < 500 else "Server")


def test_nothing_else_is_in_the_table() -> None:
    """Codes outside the model are those of AWS's front door, and no others."""
    assert ERRORS.keys() - set(MODELLED) == UNMODELLED


def test_unknown_code_is_a_bug() -> None:
    """A code without a row cannot be raised by mistake."""
    with pytest.raises(KeyError):
        LambdaError("NoSuchException", "text")


def test_validation_errors_are_counted() -> None:
    """One problem is an error, two are errors."""
    assert validation_error("a").message == "1 validation error detected: a"
    assert validation_error("a", "b").message == "2 validation errors detected: a; b"
