"""Functions through boto3: their life, and how AWS words every refusal."""

from typing import Any


async def test_life_of_a_function(door: Any) -> None:
    """A function is created pending, becomes active, answers, changes and goes."""
    created = await door.create()
    assert (created["State"], created["StateReasonCode"]) == ("Pending", "Creating")
    await door.wait("function_active_v2")
    got = await door.call("get_function", FunctionName="f")
    assert got["Configuration"]["State"] == "Active"
    answer = await door.call("invoke", FunctionName="f", Payload=b'{"a": 1}')
    assert answer["Payload"].read() == b'{"a": 1}'
