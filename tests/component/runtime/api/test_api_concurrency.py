"""Reserved and provisioned concurrency and the account's figures, through boto3."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.core.provisioning import Progress, Status
from runtime.model import Scope

SCOPE = Scope("123456789012", "us-east-1")
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
INVALID, MISSING = "InvalidParameterValueException", "ResourceNotFoundException"
RESERVED_FLOOR = (
    "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
    "minimum value of [100]."
)
PROVISIONED_FLOOR = (
    "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its "
    "minimum value of [100]."
)


async def reserve(door: Any, executions: int, name: str = "f") -> None:
    await door.call("put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=executions)


async def provision(door: Any, executions: int, qualifier: str = "1") -> Any:
    params = {"FunctionName": "f", "Qualifier": qualifier, "ProvisionedConcurrentExecutions": executions}
    return await door.call("put_provisioned_concurrency_config", **params)


async def unreserved(door: Any) -> int:
    settings = await door.call("get_account_settings")
    left: int = settings["AccountLimit"]["UnreservedConcurrentExecutions"]
    return left


async def test_life_of_reserved_concurrency(door: Any) -> None:
    """Put, shown by itself and with the function, replaced, deleted."""
    await door.created()
    params = {"FunctionName": "f", "ReservedConcurrentExecutions": 3}
    put = await door.call("put_function_concurrency", **params)
    assert (put["ResponseMetadata"]["HTTPStatusCode"], put["ReservedConcurrentExecutions"]) == (200, 3)
    await reserve(door, 0, ARN)
    for operation, shown in (("get_function_concurrency", None), ("get_function", "Concurrency")):
        got = await door.call(operation, FunctionName="f")
        assert (got[shown] if shown else got)["ReservedConcurrentExecutions"] == 0
    for _ in range(2):
        deleted = await door.call("delete_function_concurrency", FunctionName="f")
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await door.call("get_function_concurrency", FunctionName="f")).keys() == {"ResponseMetadata"}
    assert "Concurrency" not in await door.call("get_function", FunctionName="f")


async def test_reserved_concurrency_leaves_100(door: Any) -> None:
    """What functions reserve comes out of the account's 1,000, of which 100 stay for all others."""
    await door.created()
    await door.created("g")
    params = {"FunctionName": "f", "ReservedConcurrentExecutions": 901}
    with pytest.raises(ClientError) as error:
        await door.call("put_function_concurrency", **params)
    response = error.value.response
    assert response["Error"] == {"Code": INVALID, "Message": RESERVED_FLOOR}
    assert "Type" not in response
    await reserve(door, 900)
    await reserve(door, 900)  # its own former figure does not count
    assert await unreserved(door) == 100
    refused = await door.refused("put_function_concurrency", FunctionName="g", ReservedConcurrentExecutions=1)
    assert refused == (400, INVALID, RESERVED_FLOOR)
    await reserve(door, 0, "g")
    await door.call("delete_function", FunctionName="f")
    assert await unreserved(door) == 1000


async def test_reserving_together(door: Any) -> None:
    """Callers who together ask for more than there is do not all get it."""
    names = [f"f{i}" for i in range(12)]
    for name in names:
        await door.created(name)
    client = door.client()
    outcomes = await asyncio.gather(
        *(
            door.aside(client.put_function_concurrency, FunctionName=name, ReservedConcurrentExecutions=100)
            for name in names
        ),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, ClientError) for outcome in outcomes) == 3
    assert await unreserved(door) == 100


async def test_reserved_refusals(door: Any) -> None:
    """Only functions as a whole have it."""
    await door.published()
    unqualified = (
        "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
        "Please specify either a function name or an unqualified function ARN."
    )
    for operation in ("put_function_concurrency", "get_function_concurrency", "delete_function_concurrency"):
        value = {"ReservedConcurrentExecutions": 1000} if operation.startswith("put") else {}
        for name in (f"{ARN}:1", "f:$LATEST"):
            assert await door.refused(operation, FunctionName=name, **value) == (400, INVALID, unqualified)
        missing = f"Function not found: {ARN}x" + (":$LATEST" if value else "")
        assert await door.refused(operation, FunctionName="fx", **value) == (404, MISSING, missing)
    _, code, _ = await door.refused(
        "put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=-1
    )
    assert code == "ValidationException"


async def test_life_of_provisioned_concurrency(door: Any) -> None:
    """Put for a version, shown with how far its environments have come, listed and deleted."""
    await door.published(2)
    put = await provision(door, 5)
    assert put.pop("ResponseMetadata")["HTTPStatusCode"] == 202
    assert put.pop("LastModified").endswith("+0000")
    assert put == {
        "RequestedProvisionedConcurrentExecutions": 5,
        "AllocatedProvisionedConcurrentExecutions": 0,
        "AvailableProvisionedConcurrentExecutions": 0,
        "Status": "IN_PROGRESS",
    }
    assert door.provisions.changes == [(SCOPE, "f")]
    got = await door.call("get_provisioned_concurrency_config", FunctionName="f:1", Qualifier="1")
    assert put.items() <= got.items()
    door.provisions.made["1"] = Progress(4, Status.FAILED, "FUNCTION_ERROR_INIT_FAILURE")
    got = await door.call("get_provisioned_concurrency_config", FunctionName="f", Qualifier="1")
    assert got["AllocatedProvisionedConcurrentExecutions"] == 4
    assert got["AvailableProvisionedConcurrentExecutions"] == 4
    assert (got["Status"], got["StatusReason"]) == ("FAILED", "FUNCTION_ERROR_INIT_FAILURE")
    again = await provision(door, 5)
    assert (again["Status"], again["AvailableProvisionedConcurrentExecutions"]) == ("IN_PROGRESS", 0)
    door.provisions.made["1"] = Progress(5, Status.READY)
    await provision(door, 7, "2")
    listed = await door.call("list_provisioned_concurrency_configs", FunctionName="f", MaxItems=1)
    (first,) = listed["ProvisionedConcurrencyConfigs"]
    assert (first["FunctionArn"], first["RequestedProvisionedConcurrentExecutions"]) == (f"{ARN}:1", 5)
    assert (first["Status"], first["AvailableProvisionedConcurrentExecutions"]) == ("READY", 5)
    rest = await door.call(
        "list_provisioned_concurrency_configs", FunctionName="f", Marker=listed["NextMarker"]
    )
    (second,) = rest["ProvisionedConcurrencyConfigs"]
    assert (second["FunctionArn"], "NextMarker" in rest) == (f"{ARN}:2", False)
    assert await unreserved(door) == 988
    door.provisions.changes.clear()
    for _ in range(2):
        deleted = await door.call("delete_provisioned_concurrency_config", FunctionName="f", Qualifier="1")
        assert deleted["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert door.provisions.changes == [(SCOPE, "f")]
    refused = await door.refused("get_provisioned_concurrency_config", FunctionName="f", Qualifier="1")
    none = "No Provisioned Concurrency Config found for this function"
    assert refused == (404, "ProvisionedConcurrencyConfigNotFoundException", none)


async def test_provisioned_within_reserved(door: Any) -> None:
    """All of a function's provisioned concurrency fits into what it has reserved."""
    await door.published(2)
    await reserve(door, 10)
    await provision(door, 6)
    assert await unreserved(door) == 990
    params = {"FunctionName": "f", "Qualifier": "2", "ProvisionedConcurrentExecutions": 5}
    above = "Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function"
    assert await door.refused("put_provisioned_concurrency_config", **params) == (400, INVALID, above)
    await provision(door, 4, "2")
    below = " ReservedConcurrentExecutions  9 should not be lower than function's total provisioned concurrency [10]."
    refused = await door.refused("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=9)
    assert refused == (400, INVALID, below)


async def test_provisioned_out_of_the_account(door: Any) -> None:
    """Without reserved concurrency it comes out of what all functions share."""
    await door.published(2)
    await door.created("g")
    await reserve(door, 300, "g")
    put = "put_provisioned_concurrency_config"
    params = {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 701}
    above = (
        "Specified ConcurrentExecutions for function is greater than account's unreserved concurrency [700]."
    )
    assert await door.refused(put, **params) == (400, INVALID, above)
    floor = (400, INVALID, PROVISIONED_FLOOR)
    assert await door.refused(put, **(params | {"ProvisionedConcurrentExecutions": 601})) == floor
    await provision(door, 600)
    assert (
        await door.refused(put, **(params | {"Qualifier": "2", "ProvisionedConcurrentExecutions": 1}))
        == floor
    )
    refused = await door.refused(
        "put_function_concurrency", FunctionName="g", ReservedConcurrentExecutions=301
    )
    assert refused == (400, INVALID, RESERVED_FLOOR)


async def test_provisioned_aliases(door: Any) -> None:
    """A version is provisioned for itself or for an alias; what an alias has goes with it."""
    await door.published(2)
    await door.alias("live", "1")
    await door.alias("other", "2", RoutingConfig={"AdditionalVersionWeights": {"1": 0.5}})
    await door.alias("dev", "$LATEST")
    put, params = (
        "put_provisioned_concurrency_config",
        {"FunctionName": "f", "ProvisionedConcurrentExecutions": 1},
    )
    await provision(door, 2, "1")
    for alias in ("live", "other"):
        text = (
            "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version"
        )
        expected = (409, "ResourceConflictException", text)
        assert await door.refused(put, Qualifier=alias, **params) == expected
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    assert await door.refused(put, Qualifier="dev", **params) == (400, INVALID, unpublished)
    await door.call("delete_provisioned_concurrency_config", FunctionName="f", Qualifier="1")
    await provision(door, 3, "live")
    pointed = (409, "ResourceConflictException", "Version is pointed by a Provisioned Concurrency alias")
    assert await door.refused(put, Qualifier="1", **params) == pointed
    (listed,) = (await door.call("list_provisioned_concurrency_configs", FunctionName="f"))[
        "ProvisionedConcurrencyConfigs"
    ]
    assert listed["FunctionArn"] == f"{ARN}:live"
    await door.call("delete_alias", FunctionName="f", Name="live")
    gone = (404, MISSING, f"Cannot find alias arn: {ARN}:live")
    params = {"FunctionName": "f", "Qualifier": "live"}
    assert await door.refused("get_provisioned_concurrency_config", **params) == gone
    assert await unreserved(door) == 1000


async def test_moved_aliases(door: Any) -> None:
    """An alias with provisioned concurrency leads to no version that has its own, and not to `$LATEST`."""
    await door.published(3)
    await door.alias("live", "1")
    await provision(door, 3, "live")
    await provision(door, 1, "2")
    update = {"FunctionName": "f", "Name": "live"}
    taken = (
        409,
        "ResourceConflictException",
        "Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version",
    )
    weights = {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.1}}}
    assert await door.refused("update_alias", **update, FunctionVersion="2") == taken
    assert await door.refused("update_alias", **update, **weights) == taken
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    assert await door.refused("update_alias", **update, FunctionVersion="$LATEST") == (
        400,
        INVALID,
        unpublished,
    )
    door.retired.clear()
    await door.call("update_alias", **update, FunctionVersion="3")
    assert door.retired == [(SCOPE, "f")]
    await door.call("delete_provisioned_concurrency_config", FunctionName="f", Qualifier="live")
    await door.call("update_alias", **update, FunctionVersion="2")


async def test_small_account(serve: Callable[..., Any], tmp_path: Path) -> None:
    """An account with less than the minimum keeps all of it, as a new one on AWS: only nothing can be reserved."""
    async with serve(tmp_path / "data", account_concurrency=50) as door:
        await door.published()
        limits = (await door.call("get_account_settings"))["AccountLimit"]
        assert (limits["ConcurrentExecutions"], limits["UnreservedConcurrentExecutions"]) == (50, 50)
        await reserve(door, 0)
        floor = RESERVED_FLOOR.replace("[100]", "[50]")
        refused = await door.refused(
            "put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=1
        )
        assert refused == (400, INVALID, floor)
        await door.call("delete_function_concurrency", FunctionName="f")
        floor = PROVISIONED_FLOOR.replace("[100]", "[50]")
        params = {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 1}
        assert await door.refused("put_provisioned_concurrency_config", **params) == (400, INVALID, floor)


async def test_provisioned_refusals(door: Any) -> None:
    """Never for `$LATEST`; the version or alias must be there."""
    await door.published()
    unpublished = "Provisioned Concurrency Configs cannot be applied to unpublished function versions."
    published_only = "The function resource provided must be an alias or a published version."
    put = {"ProvisionedConcurrentExecutions": 1}
    for operation, value, latest in (
        ("put_provisioned_concurrency_config", put, unpublished),
        ("get_provisioned_concurrency_config", {}, published_only),
        ("delete_provisioned_concurrency_config", {}, published_only),
    ):
        for name, qualifier, expected in (
            ("f", "$LATEST", (400, INVALID, latest)),
            ("f", "42", (404, MISSING, f"Function not found: {ARN}:42")),
            ("f", "no", (404, MISSING, f"Cannot find alias arn: {ARN}:no")),
            ("fx", "1", (404, MISSING, f"Function not found: {ARN}x:1")),
            ("fx", "no", (404, MISSING, f"Cannot find alias arn: {ARN}x:no")),
        ):
            params = {"FunctionName": name, "Qualifier": qualifier, **value}
            assert await door.refused(operation, **params) == expected
    zero = {"FunctionName": "f", "Qualifier": "1", "ProvisionedConcurrentExecutions": 0}
    assert (await door.refused("put_provisioned_concurrency_config", **zero))[1] == "ValidationException"
    refused = await door.refused("list_provisioned_concurrency_configs", FunctionName="fx")
    assert refused == (404, MISSING, f"Function not found: {ARN}x")


async def test_account_settings(door: Any, zip_of: Callable[..., bytes]) -> None:
    """Limits are AWS's, usage counts what is stored: every version, and layers too."""
    empty = await door.call("get_account_settings")
    assert empty["AccountLimit"] == {
        "TotalCodeSize": 80_530_636_800,
        "CodeSizeUnzipped": 262_144_000,
        "CodeSizeZipped": 52_428_800,
        "ConcurrentExecutions": 1000,
        "UnreservedConcurrentExecutions": 1000,
    }
    assert empty["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    await door.published()
    layer = await door.call("publish_layer_version", LayerName="l", Content={"ZipFile": zip_of(lib="x = 1")})
    size = (await door.call("get_function_configuration", FunctionName="f"))["CodeSize"]
    used = (await door.call("get_account_settings"))["AccountUsage"]
    assert used == {"TotalCodeSize": 2 * size + layer["Content"]["CodeSize"], "FunctionCount": 1}


async def test_a_qualifier_in_the_name(door: Any) -> None:
    """Whoever writes `f:live` says it all; AWS's clients want the qualifier beside it, the wire does not."""
    await door.published()
    await door.alias()
    path = "/2019-09-30/functions/f:live/provisioned-concurrency"
    status, _, body = await door.raw("PUT", path, b'{"ProvisionedConcurrentExecutions": 2}')
    assert (status, json.loads(body)["RequestedProvisionedConcurrentExecutions"]) == (202, 2)
    status, _, body = await door.raw("GET", path)
    assert (status, json.loads(body)["RequestedProvisionedConcurrentExecutions"]) == (200, 2)
    assert (await door.raw("DELETE", path))[0] == 204
    status, _, body = await door.raw("GET", path.replace(":live", ""))
    assert (status, "Value null at 'qualifier'" in json.loads(body)["message"]) == (400, True)
    status, _, body = await door.raw("GET", f"{path}?Qualifier=1")
    assert (status, "does not match" in json.loads(body)["message"]) == (400, True)
