"""Functions that isolate tenants: how they are made, and who has to say for whom an invocation is."""

from typing import Any

import pytest

TENANCY = {"TenantIsolationMode": "PER_TENANT"}
PATH = "/2015-03-31/functions/f/invocations"
NEEDED = (
    "The invoked function is enabled with tenancy configuration. "
    "Add a valid tenant ID in your request and try again."
)
UNWANTED = (
    "The invoked function is not enabled with tenancy configuration. "
    "Remove the tenant ID from your request and try again."
)
ARN = "arn:aws:sqs:us-east-1:123456789012:queue"


@pytest.fixture
async def isolated(door: Any) -> Any:
    """A function `f` that isolates tenants, and its version 1."""
    await door.created(TenancyConfig=TENANCY, Publish=True)
    return door


async def test_it_is_shown_everywhere_and_copied(isolated: Any) -> None:
    """Of the function, of its versions, in lists, after a restart of the configuration."""
    await isolated.call("update_function_configuration", FunctionName="f", MemorySize=256)
    await isolated.wait("function_updated_v2")
    listed = await isolated.call("list_versions_by_function", FunctionName="f")
    assert [each["TenancyConfig"] for each in listed["Versions"]] == [TENANCY, TENANCY]
    [function] = (await isolated.call("list_functions"))["Functions"]
    assert function["TenancyConfig"] == TENANCY
    found = await isolated.call("get_function", FunctionName="f", Qualifier="1")
    assert found["Configuration"]["TenancyConfig"] == TENANCY


async def test_others_have_none(door: Any) -> None:
    """The member is left out."""
    assert "TenancyConfig" not in await door.created()


async def test_it_never_changes(isolated: Any) -> None:
    """UpdateFunctionConfiguration has no such member: what is sent is ignored, as on AWS."""
    body = b'{"TenancyConfig": {"TenantIsolationMode": "OTHER"}, "Description": "new"}'
    status, _, _ = await isolated.raw("PUT", "/2015-03-31/functions/f/configuration", body)
    assert status == 200
    found = await isolated.call("get_function_configuration", FunctionName="f")
    assert (found["TenancyConfig"], found["Description"]) == (TENANCY, "new")


@pytest.mark.parametrize("tenancy", [{}, {"TenantIsolationMode": "PER_USER"}])
async def test_modes_are_the_models(door: Any, tenancy: dict[str, str]) -> None:
    """A mode is required, and there is one."""
    status, code, text = await door.refused(
        "create_function",
        FunctionName="f",
        Runtime="python3.12",
        Handler="app.handler",
        Role="arn:aws:iam::123456789012:role/r",
        Code={"ZipFile": b""},
        TenancyConfig=tenancy,
    )
    assert (status, code) == (400, "ValidationException")
    assert "tenancyConfig.tenantIsolationMode" in text


@pytest.mark.parametrize("tenant", ["blue", "A.b_c:d/e=f+g-h@i j", "x" * 256])
@pytest.mark.parametrize("operation", ["invoke", "invoke_with_response_stream"])
async def test_the_invoker_hears_the_tenant(isolated: Any, operation: str, tenant: str) -> None:
    """Through both doors."""
    answer = await isolated.call(operation, FunctionName="f", TenantId=tenant)
    await isolated.aside(list, answer.get("EventStream", ()))
    assert [request.tenant_id for request in isolated.invoker.requests] == [tenant]


@pytest.mark.parametrize("tenant", ["", "x" * 257, "a,b", "a\tb", "é"])
async def test_identifiers_are_the_models(isolated: Any, tenant: str) -> None:
    """Others are refused, whether the function wants one or not."""
    status, headers, body = await isolated.raw("POST", PATH, X_Amz_Tenant_Id=tenant)
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationException")
    assert b"at 'tenantId' failed to satisfy constraint" in body


@pytest.mark.parametrize("operation", ["invoke", "invoke_with_response_stream"])
@pytest.mark.parametrize("params", [{}, {"InvocationType": "DryRun"}, {"Qualifier": "1"}])
async def test_a_tenant_is_needed(isolated: Any, operation: str, params: dict[str, str]) -> None:
    """Of every version, and a dry run says so too."""
    refused = await isolated.refused(operation, FunctionName="f", **params)
    assert refused == (400, "InvalidParameterValueException", NEEDED)


async def test_a_tenant_is_unwanted(door: Any) -> None:
    """A function that everybody shares would mix them."""
    await door.created()
    refused = await door.refused("invoke", FunctionName="f", TenantId="blue")
    assert refused == (400, "InvalidParameterValueException", UNWANTED)


@pytest.mark.parametrize(
    ("operation", "feature", "params"),
    [
        ("create_function_url_config", "FunctionUrl", {"AuthType": "NONE"}),
        (
            "put_provisioned_concurrency_config",
            "Provisioned Concurrency",
            {"Qualifier": "1", "ProvisionedConcurrentExecutions": 1},
        ),
        ("create_event_source_mapping", "An event source", {"EventSourceArn": ARN}),
        ("update_function_configuration", "SnapStart", {"SnapStart": {"ApplyOn": "PublishedVersions"}}),
    ],
)
async def test_what_knows_no_tenants(
    isolated: Any, operation: str, feature: str, params: dict[str, Any]
) -> None:
    """Is refused for such functions."""
    refused = await isolated.refused(operation, FunctionName="f", **params)
    text = f"{feature} is not supported for functions with tenant isolation mode."
    assert refused == (400, "InvalidParameterValueException", text)


async def test_snap_start_at_creation(door: Any) -> None:
    """The same; SnapStart that is off asks for nothing."""
    await door.created(TenancyConfig=TENANCY, SnapStart={"ApplyOn": "None"})
    status, code, text = await door.refused(
        "create_function",
        FunctionName="g",
        Runtime="python3.12",
        Handler="app.handler",
        Role="arn:aws:iam::123456789012:role/r",
        Code={"ZipFile": b""},
        TenancyConfig=TENANCY,
        SnapStart={"ApplyOn": "PublishedVersions"},
    )
    assert (status, code) == (400, "InvalidParameterValueException")
    assert text == "SnapStart is not supported for functions with tenant isolation mode."
