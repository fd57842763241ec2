"""The size rules for packages and their layers."""

from typing import cast

import pytest

from runtime.api.calls import Services
from runtime.api.packages import check_total_size, inspect_package
from runtime.errors import LambdaError
from runtime.model import Code

MB = 1 << 20


def layer(size: int) -> Code:
    return Code("0" * 64, 1, size)


def test_code_and_layers_fit_together() -> None:
    """250 MB in all are allowed."""
    check_total_size(50 * MB, [layer(100 * MB), layer(100 * MB)])


def test_layers_alone_are_too_large() -> None:
    """Layers that leave no room for any code are refused for themselves."""
    with pytest.raises(LambdaError, match="Layers consume more than the available size of 262144000 bytes"):
        check_total_size(0, [layer(200 * MB), layer(51 * MB)])


def test_code_and_layers_are_too_large() -> None:
    """One byte too many is one too many, and the text says how many there are."""
    with pytest.raises(LambdaError) as error:
        check_total_size(50 * MB + 1, [layer(200 * MB)])
    assert error.value.message == (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes. "
        "The actual size is 262144001 bytes."
    )


async def test_zip_that_is_too_large_is_not_opened() -> None:
    """The zipped size counts before anything is read."""
    with pytest.raises(LambdaError) as error:
        await inspect_package(cast("Services", None), {"ZipFile": bytes(52_428_801)})
    assert (error.value.status, error.value.message) == (
        413,
        "Zipped size must be smaller than 52428800 bytes",
    )
