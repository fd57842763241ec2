"""Durable executions, of which there are none, through boto3."""

from typing import Any

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
MISSING = "ResourceNotFoundException"


async def test_no_function_has_any(door: Any) -> None:
    """Of a function that is there, or a version or alias of it; one that is not there has no list."""
    await door.published()
    await door.alias()
    for params in ({}, {"Qualifier": "1"}, {"Qualifier": "live"}, {"Statuses": ["RUNNING"], "MaxItems": 3}):
        listed = await door.call("list_durable_executions_by_function", FunctionName="f", **params)
        assert listed["DurableExecutions"] == []
        assert "NextMarker" not in listed
    refused = await door.refused("list_durable_executions_by_function", FunctionName="fx")
    assert refused == (404, MISSING, f"Function not found: {FUNCTION}x")


async def test_none_is_there(door: Any) -> None:
    """Whichever is asked for; clients read it as what it is."""
    arn = f"{FUNCTION}:1/durable-execution/name/id"
    for operation in ("get_durable_execution", "stop_durable_execution", "get_durable_execution_history"):
        assert (await door.refused(operation, DurableExecutionArn=arn))[:2] == (404, MISSING)
    refused = await door.refused("send_durable_execution_callback_heartbeat", CallbackId="x")
    assert refused[:2] == (404, MISSING)


async def test_no_durable_function_is_made_or_invoked(door: Any) -> None:
    """Accepting what is ignored would mislead."""
    await door.created()
    config = {"ExecutionTimeout": 60}
    refused = await door.refused("update_function_configuration", FunctionName="f", DurableConfig=config)
    assert refused[:2] == (400, "InvalidParameterValueException")
    refused = await door.refused("invoke", FunctionName="f", DurableExecutionName="d")
    assert refused[:2] == (400, "InvalidParameterValueException")
