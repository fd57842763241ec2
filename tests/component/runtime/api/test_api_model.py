"""Every operation of the service model through boto3, with inputs made from the model itself.

The least valid input gets an answer that the operation's clients know; each single violation of a constraint gets a
ValidationException that names the member.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.model import Shape

from runtime.api.server import IMPLEMENTED, refusal
from runtime.api.validation import CHECKED_ELSEWHERE, constraints
from tests.helpers.model_inputs import SERVICE, Params, bounds, least_input, valid

FRONT_DOOR = {"ValidationException", "AccessDeniedException", "RequestEntityTooLargeException"}
"""Codes that any operation may answer with although it does not model them."""


def violations(shape: Shape) -> Iterator[Any]:
    """Values that violate one constraint of the shape each, as far as they can be sent."""
    limits, kind = bounds(shape), shape.type_name
    most, least = limits.get("max"), limits.get("min", 0)
    if kind in {"integer", "long", "double", "float"}:
        yield from ([] if most is None else [most + 1]) + ([least - 1] if "min" in limits else [])
    elif kind == "list":
        yield from [] if most is None else [[valid(shape.member)] * (most + 1)]
        yield from [[]] if least and not shape.serialization.get("location") else []
    elif kind == "map":
        yield from [] if most is None else [{f"k{each}": valid(shape.value) for each in range(most + 1)}]
        yield from [{}] if least else []
    elif kind == "string":
        if shape.enum:
            yield "NO SUCH VALUE"
        elif most is not None and most <= 10_000:
            yield "a" * (most + 1)
        if least and not shape.serialization.get("location"):
            yield ""
        if any(not constraint.holds("\n?") for constraint in constraints(shape)):
            yield "\n?"


def cases(shape: Shape, path: str = "") -> Iterator[tuple[str, Params]]:
    """Where each violation is, and the members that hold it."""
    for name, member in shape.members.items():
        place = f"{path}{name[:1].lower()}{name[1:]}"
        others = {other: valid(shape.members[other]) for other in shape.required_members}
        location = member.serialization.get("location")
        if (shape.name, name) in CHECKED_ELSEWHERE or location in {"header", "headers"}:
            continue
        if name in shape.required_members and location is None:
            yield place, {other: value for other, value in others.items() if other != name}
        for inner, value in (*((place, value) for value in violations(member)), *nested(member, place)):
            yield inner, others | {name: value}


def nested(member: Shape, place: str) -> Iterator[tuple[str, Any]]:
    """Violations inside a structure, a list or a map."""
    if member.type_name == "structure":
        yield from cases(member, f"{place}.")
    elif member.type_name == "map" and member.key.type_name == "string":
        yield from ((place, {key: valid(member.value)}) for key in violations(member.key))
        if member.value.type_name in {"string", "double", "float", "integer"}:
            yield from ((place, {valid(member.key): value}) for value in violations(member.value))
    elif member.type_name == "list" and member.member.type_name == "structure":
        yield from ((inner, [item]) for inner, item in cases(member.member, f"{place}.1.member."))
    elif member.type_name == "list":
        least = max(1, bounds(member).get("min", 1))
        yield from ((place, [value] * least) for value in violations(member.member))


@pytest.fixture
def client(door: Any) -> Iterator[Any]:
    """One client for all of a test's calls, without checks of its own."""
    client = door.client()
    yield client
    client.close()


def answer(client: Any, name: str, params: Params) -> tuple[int, str, str]:
    """Status, and the code and text of an error."""
    try:
        response = getattr(client, xform_name(name))(**params)
    except ClientError as error:
        failed = error.response
        status = failed["ResponseMetadata"]["HTTPStatusCode"]
        return status, failed["Error"]["Code"], failed["Error"]["Message"]
    for member in response.values():
        if hasattr(member, "close"):  # a stream, which holds its connection
            member.close()
    return response["ResponseMetadata"]["HTTPStatusCode"], "", ""


@pytest.mark.parametrize("name", sorted(SERVICE.operation_names))
async def test_least_input(door: Any, client: Any, name: str) -> None:
    """It is done, or refused with an error that the operation models; what is not implemented is refused by name."""
    await door.created(valid(SERVICE.shape_for("FunctionName")))
    operation = SERVICE.operation_model(name)
    status, code, text = await door.aside(answer, client, name, least_input(name))
    if name not in IMPLEMENTED:
        expected = refusal(operation)
        assert (status, code, text) == (expected.status, expected.code, expected.message)
    elif code:
        assert code in {shape.name for shape in operation.error_shapes} | FRONT_DOOR
        assert 400 <= status < 500
        assert code != "ValidationException"
    else:
        assert 200 <= status < 300


@pytest.mark.parametrize(
    "name", sorted(name for name in IMPLEMENTED if SERVICE.operation_model(name).input_shape)
)
async def test_each_violation(door: Any, client: Any, name: str) -> None:
    """Each value that the model forbids is refused by the name of its member, whatever exists."""

    def check() -> int:
        count = 0
        for place, params in cases(SERVICE.operation_model(name).input_shape):
            status, code, text = answer(client, name, params)
            seen = f"{place}: {str(params)[:300]} got {status} {code} {text[:300]}"
            assert (status, code) == (400, "ValidationException"), seen
            assert f"at '{place}' failed to satisfy constraint: " in text, seen
            count += 1
        return count

    assert await door.aside(check) > 0 or name in WITHOUT_CONSTRAINTS


WITHOUT_CONSTRAINTS = {"GetAccountSettings"}
