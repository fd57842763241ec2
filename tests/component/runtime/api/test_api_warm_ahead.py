"""When the API says that a version may soon be invoked for the first time."""

from typing import Any


async def warmed(door: Any, count: int) -> set[tuple[str, str | None]]:
    """The next ones that are said: the version, and its variable STAGE."""
    said = [await door.readiness.warmed.get() for _ in range(count)]
    assert door.readiness.warmed.empty()
    return {(each.version, (each.config.environment or {}).get("STAGE")) for each in said}


async def test_created_and_updated(door: Any) -> None:
    """A function that has become active, and again with each change; a failed one is not worth it."""
    await door.created()
    assert await warmed(door, 1) == {("$LATEST", None)}
    await door.call(
        "update_function_configuration", FunctionName="f", Environment={"Variables": {"STAGE": "a"}}
    )
    assert await warmed(door, 1) == {("$LATEST", "a")}
    door.readiness.fail()
    await door.call("update_function_configuration", FunctionName="f", Timeout=9)
    await door.wait("function_exists")
    door.readiness.failure = None
    await door.created("g")
    assert await warmed(door, 1) == {("$LATEST", None)}


async def test_published(door: Any) -> None:
    """A new version, whether it is published with the function or later."""
    await door.created(Publish=True)
    assert await warmed(door, 2) == {("$LATEST", None), ("1", None)}
    await door.call("update_function_configuration", FunctionName="f", Description="other")
    await door.wait("function_updated_v2")
    await warmed(door, 1)
    await door.call("publish_version", FunctionName="f")
    assert await warmed(door, 1) == {("2", None)}


async def test_led_to(door: Any) -> None:
    """What a new or changed alias leads to, as it runs there."""
    await door.published(2)
    await warmed(door, 4)
    await door.alias("live", "1")
    assert await warmed(door, 1) == {("1", None)}
    weights = {"AdditionalVersionWeights": {"1": 0.5}}
    await door.call("update_alias", FunctionName="f", Name="live", FunctionVersion="2", RoutingConfig=weights)
    assert await warmed(door, 2) == {("1", None), ("2", None)}
