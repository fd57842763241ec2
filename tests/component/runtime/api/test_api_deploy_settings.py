"""`berth deploy` and what is configured beside functions: concurrency, URLs, policies, event sources, against the REST door."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.cli import main
from runtime.deploy.service import Service, ServiceError

ARN = "arn:aws:lambda:us-east-1:123456789012"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:jobs"
PLAIN = """
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      Runtime: python3.11
      Handler: app.handler
      CodeUri: src
      AutoPublishAlias: live
"""
FULL = (
    PLAIN
    + f"""
      ReservedConcurrentExecutions: 20
      ProvisionedConcurrencyConfig: {{ProvisionedConcurrentExecutions: 2}}
      EventInvokeConfig:
        MaximumRetryAttempts: 0
        MaximumEventAgeInSeconds: 60
        DestinationConfig: {{OnFailure: {{Type: SQS, Destination: "{QUEUE}"}}}}
      FunctionUrlConfig:
        AuthType: NONE
        InvokeMode: RESPONSE_STREAM
        Cors: {{AllowOrigins: ["*"], MaxAge: 10, AllowCredentials: true}}
      RecursiveLoop: Allow
      RuntimeManagementConfig: {{UpdateRuntimeOn: FunctionUpdate}}
  Policy:
    Type: AWS::Lambda::Permission
    Properties:
      {{Action: "lambda:InvokeFunction", FunctionName: !Ref F.Alias, Principal: s3.amazonaws.com, SourceArn: "arn:aws:s3:::b"}}
  Source:
    Type: AWS::Lambda::EventSourceMapping
    Properties: {{FunctionName: !Ref F.Alias, EventSourceArn: "{QUEUE}", BatchSize: 5, Enabled: false}}
  Words: {{Type: AWS::Serverless::LayerVersion, Properties: {{ContentUri: src}}}}
  Share:
    Type: AWS::Lambda::LayerVersionPermission
    Properties: {{Action: "lambda:GetLayerVersion", LayerVersionArn: !Ref Words, Principal: "*"}}
Outputs:
  Url: {{Value: !GetAtt FUrl.FunctionUrl}}
"""
)
WITHOUT = PLAIN + "  Words: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: src}}\n"
BROKEN = """
  Last:
    Type: AWS::Serverless::Function
    DependsOn: [F, Policy, Source, Share]
    Properties: {Runtime: cobol1, Handler: app.handler, CodeUri: src}
"""
"""A resource that cannot be deployed, after all others."""
Deploys = Callable[..., Awaitable[tuple[int, Any, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    (folder / "src").mkdir(parents=True)
    (folder / "src/app.py").write_text("x = 1\n")
    return folder


@pytest.fixture
def deploy(door: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> Deploys:
    """Deploys a template; exit code, the document on stdout, stderr."""

    async def run(text: str, *arguments: str) -> tuple[int, Any, str]:
        (folder / "template.yaml").write_text(text)
        template = ("--template", str(folder / "template.yaml"))
        code = await door.aside(main, ["deploy", *template, "--url", door.url, "--json", *arguments])
        captured = capfd.readouterr()
        return code, json.loads(captured.out) if captured.out else None, captured.err

    return run


async def answer(door: Any, operation: str, **members: Any) -> Any:
    """An answer without what is each time another; None where there is no such thing."""
    try:
        found = await door.call(operation, **members)
    except door.client().exceptions.ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return None
    for name in ("ResponseMetadata", "RevisionId", "LastModified", "LastModifiedTime", "CreationTime"):
        found.pop(name, None)
    return found


async def state(door: Any) -> dict[str, Any]:
    """Everything that is configured beside the function."""
    live = {"FunctionName": "shop-F", "Qualifier": "live"}
    mappings = (await door.call("list_event_source_mappings"))["EventSourceMappings"]
    found = {
        "reserved": await answer(door, "get_function_concurrency", FunctionName="shop-F"),
        "provisioned": await answer(door, "get_provisioned_concurrency_config", **live),
        "invocations": await answer(door, "get_function_event_invoke_config", **live),
        "url": await answer(door, "get_function_url_config", **live),
        "recursion": await answer(door, "get_function_recursion_config", FunctionName="shop-F"),
        "runtime": await answer(door, "get_runtime_management_config", FunctionName="shop-F"),
        "policy": await answer(door, "get_policy", **live),
        "layer": await answer(door, "get_layer_version_policy", LayerName="shop-Words", VersionNumber=1),
        "mappings": [
            {name: each.get(name) for name in ("EventSourceArn", "FunctionArn", "BatchSize")}
            for each in mappings
        ],
    }
    if found["url"]:
        found["url"].pop("FunctionUrl")  # one that was deleted never comes back
    return found


def actions(document: Any) -> dict[str, str]:
    return {each["logical_id"]: each["action"] for each in document["resources"]}


def changes(document: Any, logical_id: str) -> list[str]:
    return next(each["changes"] for each in document["resources"] if each["logical_id"] == logical_id)


async def test_everything_is_set(door: Any, deploy: Deploys) -> None:
    """On the alias what SAM puts there, on the function the rest; the URL that it has got is an output."""
    code, document, err = await deploy(FULL)
    assert code == 0, err
    assert document["warnings"] == []
    found = await state(door)
    assert found["reserved"] == {"ReservedConcurrentExecutions": 20}
    assert found["provisioned"]["RequestedProvisionedConcurrentExecutions"] == 2
    assert found["invocations"] == {
        "FunctionArn": f"{ARN}:function:shop-F:live",
        "MaximumRetryAttempts": 0,
        "MaximumEventAgeInSeconds": 60,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {"Destination": QUEUE}},
    }
    assert found["url"] == {
        "FunctionArn": f"{ARN}:function:shop-F:live",
        "AuthType": "NONE",
        "InvokeMode": "RESPONSE_STREAM",
        "Cors": {"AllowOrigins": ["*"], "MaxAge": 10, "AllowCredentials": True},
    }
    assert found["recursion"] == {"RecursiveLoop": "Allow"}
    assert found["runtime"]["UpdateRuntimeOn"] == "FunctionUpdate"
    assert found["mappings"] == [
        {"EventSourceArn": QUEUE, "FunctionArn": f"{ARN}:function:shop-F:live", "BatchSize": 5}
    ]
    (statement,) = json.loads(found["policy"]["Policy"])["Statement"]
    assert statement["Sid"].startswith("shop-Policy-")
    assert statement["Condition"] == {"ArnLike": {"AWS:SourceArn": "arn:aws:s3:::b"}}
    (statement,) = json.loads(found["layer"]["Policy"])["Statement"]
    assert statement["Principal"] == "*"
    told = await door.call("get_function_url_config", FunctionName="shop-F", Qualifier="live")
    assert document["outputs"] == {"Url": told["FunctionUrl"]}


async def test_a_second_run_changes_nothing(door: Any, deploy: Deploys) -> None:
    """Not a revision is another."""
    await deploy(FULL)

    async def seen() -> list[Any]:
        answers = [
            await door.call("get_function", FunctionName="shop-F"),
            await door.call("get_alias", FunctionName="shop-F", Name="live"),
            await door.call("get_layer_version_policy", LayerName="shop-Words", VersionNumber=1),
            await door.call("list_event_source_mappings"),
            await door.call("get_function_url_config", FunctionName="shop-F", Qualifier="live"),
        ]
        for each in answers:
            del each["ResponseMetadata"]
        answers[0]["Code"].pop("Location")
        return answers

    before = await seen()
    code, document, err = await deploy(FULL)
    assert (code, err, set(actions(document).values())) == (0, "", {"unchanged"})
    assert await seen() == before
    _, document, _ = await deploy(FULL, "--dry-run")
    assert set(actions(document).values()) == {"unchanged"}


async def test_what_the_template_no_longer_says_is_taken_off(door: Any, deploy: Deploys) -> None:
    """Settings, statements and mappings; what somebody else has put into policies stays."""
    await deploy(WITHOUT)
    nothing = await state(door)
    await deploy(FULL)
    await door.call(
        "add_permission",
        FunctionName="shop-F",
        Qualifier="live",
        StatementId="theirs",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
    )
    code, document, err = await deploy(WITHOUT, "--dry-run")
    assert (code, err) == (0, "")
    told = changes(document, "F")
    code, document, err = await deploy(WITHOUT)
    assert code == 0, err
    assert changes(document, "F") == told
    assert {name for name in told if not name.startswith("shop-")} == {
        *("ReservedConcurrentExecutions", "ProvisionedConcurrencyConfig", "EventInvokeConfig"),
        *("FunctionUrlConfig", "RecursiveLoop", "RuntimeManagementConfig", "EventSourceMapping"),
    }
    found = await state(door)
    (statement,) = json.loads(found.pop("policy")["Policy"])["Statement"]
    assert statement["Sid"] == "theirs"
    assert found == {name: value for name, value in nothing.items() if name != "policy"}
    _, document, _ = await deploy(WITHOUT)
    assert set(actions(document).values()) == {"unchanged"}


async def test_a_failed_run_is_taken_back(
    door: Any, deploy: Deploys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    1. Everything is set anew, and the last resource fails: nothing is set.
    2. Everything is set, then each is another, and the last resource fails: it is as it was.
    3. The template says nothing of it, and the last thing to be taken off cannot be: it is as it was.
    """
    await deploy(WITHOUT)
    nothing = await state(door)
    code, _, _ = await deploy(FULL.replace("Outputs:", f"{BROKEN}Outputs:"))
    assert (code, await state(door)) == (2, nothing)
    await deploy(FULL)
    before = await state(door)
    text = FULL.replace("Executions: 20", "Executions: 30").replace("Executions: 2}", "Executions: 3}")
    for old, new in (
        ("Seconds: 60", "Seconds: 70"),
        ("AuthType: NONE", "AuthType: AWS_IAM"),
        ("UpdateRuntimeOn: FunctionUpdate", "UpdateRuntimeOn: Auto"),
        ("arn:aws:s3:::b", "arn:aws:s3:::c"),
        ("BatchSize: 5", "BatchSize: 6"),
        ('Principal: "*"', 'Principal: "123456789012"'),
    ):
        text = text.replace(old, new)
    code, _, err = await deploy(text.replace("Outputs:", f"{BROKEN}Outputs:"))
    assert "putting back ReservedConcurrentExecutions of shop-F" in err
    assert (code, await state(door)) == (2, before)
    call = Service.call

    def stubborn(self: Service, operation: str, /, **members: Any) -> dict[str, Any]:
        if operation == "delete_event_source_mapping":
            raise ServiceError("ServiceException", "not now")
        return call(self, operation, **members)

    monkeypatch.setattr(Service, "call", stubborn)
    code, _, err = await deploy(WITHOUT)
    assert "shop-F:live has a function URL again, but another one\n" in err
    assert err.endswith("ServiceException: not now\n")
    assert (code, await state(door)) == (2, before)


async def test_each_is_changed_by_itself(door: Any, deploy: Deploys) -> None:
    """What differs is put and told; a mapping keeps its identity unless it would be another one."""
    await deploy(FULL)
    mapping = (await door.call("list_event_source_mappings"))["EventSourceMappings"][0]
    text = FULL.replace("AuthType: NONE", "AuthType: AWS_IAM").replace("BatchSize: 5", "BatchSize: 7")
    _, document, _ = await deploy(text)
    assert actions(document) == {
        "F": "updated",
        "Policy": "unchanged",
        "Source": "updated",
        "Words": "unchanged",
        "Share": "unchanged",
    }
    assert changes(document, "F") == ["FunctionUrlConfig"]
    (found,) = (await door.call("list_event_source_mappings"))["EventSourceMappings"]
    assert (found["UUID"], found["BatchSize"]) == (mapping["UUID"], 7)
    _, document, _ = await deploy(text.replace(":jobs", ":others").replace(':b"', ':c"'))
    assert (actions(document)["Source"], actions(document)["Policy"]) == ("updated", "updated")
    (found,) = (await door.call("list_event_source_mappings"))["EventSourceMappings"]
    assert (found["UUID"] == mapping["UUID"], found["EventSourceArn"]) == (False, f"{QUEUE[:-4]}others")
    policy = await door.call("get_policy", FunctionName="shop-F", Qualifier="live")
    assert len(json.loads(policy["Policy"])["Statement"]) == 1


RESOURCES = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: {Runtime: python3.11, Handler: app.handler, Code: src, ReservedConcurrentExecutions: 0}
  V:
    Type: AWS::Lambda::Version
    Properties:
      FunctionName: !Ref F
      ProvisionedConcurrencyConfig: {ProvisionedConcurrentExecutions: 1}
      RuntimePolicy: {UpdateRuntimeOn: FunctionUpdate}
  Live:
    Type: AWS::Lambda::Alias
    Properties: {FunctionName: !Ref F, Name: live, FunctionVersion: !GetAtt V.Version}
  Url: {Type: AWS::Lambda::Url, Properties: {TargetFunctionArn: !Ref Live, AuthType: AWS_IAM}}
  Later:
    Type: AWS::Lambda::EventInvokeConfig
    Properties: {FunctionName: !Ref F, Qualifier: !GetAtt V.Version, MaximumRetryAttempts: 1}
Outputs:
  Url: {Value: !GetAtt Url.FunctionUrl}
"""


async def test_settings_may_be_resources(door: Any, deploy: Deploys) -> None:
    """In CloudFormation's form: of versions, by ARNs, as resources of their own; a second run changes nothing."""
    text = RESOURCES.replace("Executions: 0}", "Executions: 5}")
    code, document, err = await deploy(text)
    assert code == 0, err
    one = {"FunctionName": "shop-F", "Qualifier": "1"}
    found = await door.call("get_provisioned_concurrency_config", **one)
    assert found["RequestedProvisionedConcurrentExecutions"] == 1
    assert (await door.call("get_runtime_management_config", **one))["UpdateRuntimeOn"] == "FunctionUpdate"
    assert (await door.call("get_function_event_invoke_config", **one))["MaximumRetryAttempts"] == 1
    told = await door.call("get_function_url_config", FunctionName="shop-F", Qualifier="live")
    assert document["outputs"] == {"Url": told["FunctionUrl"]}
    _, document, _ = await deploy(text)
    assert set(actions(document).values()) == {"unchanged"}


async def test_a_function_may_have_no_concurrency(door: Any, deploy: Deploys) -> None:
    """Zero is a number: such a function cannot be invoked."""
    await deploy(PLAIN + "      ReservedConcurrentExecutions: 0\n")
    found = await door.call("get_function_concurrency", FunctionName="shop-F")
    assert found["ReservedConcurrentExecutions"] == 0


async def test_concurrency_goes_up_and_down(door: Any, deploy: Deploys) -> None:
    """Provisioned concurrency is always within what is reserved, whichever way both go; a failed run goes back the same way."""

    def template(reserved: int | None, provisioned: int | None) -> str:
        text = PLAIN
        if reserved is not None:
            text += f"      ReservedConcurrentExecutions: {reserved}\n"
        if provisioned is not None:
            text += (
                f"      ProvisionedConcurrencyConfig: {{ProvisionedConcurrentExecutions: {provisioned}}}\n"
            )
        return text

    async def found() -> tuple[int | None, int | None]:
        now = await state(door)
        provisioned = now["provisioned"] or {}
        return (
            now["reserved"].get("ReservedConcurrentExecutions"),
            provisioned.get("RequestedProvisionedConcurrentExecutions"),
        )

    steps = [
        (None, 9),
        (9, 9),
        (20, 20),
        (3, 3),
        (30, 25),
        (2, None),
        (5, 5),
        (None, 1),
        (1, 1),
        (None, None),
    ]
    for step in steps:
        code, _, err = await deploy(template(*step))
        assert (code, await found()) == (0, step), err
    for before, after in (((20, 15), (10, 5)), ((10, 5), (20, 15)), ((10, 5), (3, None))):
        await deploy(template(*before))
        code, _, _ = await deploy(f"{template(*after)}{BROKEN.replace(', Policy, Source, Share', '')}")
        assert (code, await found()) == (2, before)


async def test_tenants_cannot_be_changed(door: Any, deploy: Deploys) -> None:
    """A function is created for tenants, or it is not."""
    plain = PLAIN.replace("      AutoPublishAlias: live\n", "")
    text = plain + "      TenancyConfig: {TenantIsolationMode: PER_TENANT}\n"
    code, _, err = await deploy(text)
    assert code == 0, err
    told = await door.call("get_function_configuration", FunctionName="shop-F")
    assert told["TenancyConfig"] == {"TenantIsolationMode": "PER_TENANT"}
    assert set(actions((await deploy(text))[1]).values()) == {"unchanged"}
    code, _, err = await deploy(plain)
    assert (code, "TenancyConfig of shop-F cannot be changed" in err) == (2, True)


async def test_capacity_providers(door: Any, deploy: Deploys) -> None:
    """One that is there runs the function, with the defaults that such functions have; it stays with it."""
    made = await door.call(
        "create_capacity_provider",
        CapacityProviderName="p",
        VpcConfig={"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        PermissionsConfig={"CapacityProviderOperatorRoleArn": "arn:aws:iam::123456789012:role/r"},
    )
    arn = made["CapacityProvider"]["CapacityProviderArn"]
    plain = PLAIN.replace("python3.11", "python3.13").replace("      AutoPublishAlias: live\n", "")
    text = plain + f"      CapacityProviderConfig: {{Arn: '{arn}'}}\n"
    code, document, err = await deploy(text)
    assert code == 0, err
    told = await door.call("get_function_configuration", FunctionName="shop-F")
    found = told["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert (found["CapacityProviderArn"], told["MemorySize"]) == (arn, 2048)
    assert set(actions((await deploy(text))[1]).values()) == {"unchanged"}
    _, document, _ = await deploy(text.replace("'}", "', PerExecutionEnvironmentMaxConcurrency: 3}"))
    assert changes(document, "F") == ["CapacityProviderConfig"]
    assert changes((await deploy(text))[1], "F") == ["CapacityProviderConfig"]
    code, _, err = await deploy(plain)
    assert (code, "CapacityProviderConfig of shop-F cannot be changed" in err) == (2, True)


async def test_code_signing(door: Any, deploy: Deploys) -> None:
    """Where the configuration is there; one that is a resource of the template is left out, by name."""
    signing = await door.call(
        "create_code_signing_config",
        AllowedPublishers={
            "SigningProfileVersionArns": [
                f"arn:aws:signer:us-east-1:123456789012:/signing-profiles/p/{'a' * 10}"
            ]
        },
    )
    arn = signing["CodeSigningConfig"]["CodeSigningConfigArn"]
    text = PLAIN + f"      CodeSigningConfigArn: {arn}\n"
    code, document, err = await deploy(text)
    assert code == 0, err
    found = await door.call("get_function_code_signing_config", FunctionName="shop-F")
    assert found["CodeSigningConfigArn"] == arn
    assert set(actions((await deploy(text))[1]).values()) == {"unchanged"}
    text = PLAIN + "      CodeSigningConfigArn: !Ref C\n  C: {Type: AWS::Lambda::CodeSigningConfig}\n"
    code, document, err = await deploy(text)
    assert code == 0, err
    assert document["warnings"] == [
        "C (AWS::Lambda::CodeSigningConfig): not done here; a placeholder stands for it",
        "CodeSigningConfigArn of F: left out",
    ]
    found = await door.call("get_function_code_signing_config", FunctionName="shop-F")
    assert "CodeSigningConfigArn" not in found
