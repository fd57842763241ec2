"""Each error that an operation's model declares: reached by a call, or named here as one that is not.

A new operation, or a new error in a newer model, has to find its place in these tables.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from runtime.api.server import IMPLEMENTED
from runtime.model import FunctionPolicy, LayerPolicy, Scope
from tests.helpers.model_inputs import SERVICE, Params, least_input

TESTS = Path(__file__).parents[3]
ARN = "arn:aws:lambda:us-east-1:123456789012"
FUNCTION, LAYER = f"{ARN}:function:f", f"{ARN}:layer:lib:1"
NOWHERE = f"{ARN}:code-signing-config:csc-{'0' * 17}"
QUEUE = "arn:aws:sqs:us-east-1:123456789012:queue"
STALE = "00000000-0000-0000-0000-000000000000"


NEVER: dict[str, str] = {
    "AliasLimitExceededException": "the number of aliases is not limited",
    "CodeArtifactUserDeletedException": "no user of AWS's stands between code and Lambda",
    "CodeArtifactUserFailedException": "the same",
    "CodeArtifactUserPendingException": "the same",
    "DurableExecutionAlreadyStartedException": "durable functions are refused",
    "EC2AccessDeniedException": "VPC settings are kept, and no network interface is made",
    "EC2ThrottledException": "the same",
    "EC2UnexpectedException": "the same",
    "EFSIOException": "file systems are kept, and none is mounted",
    "EFSMountConnectivityException": "the same",
    "EFSMountFailureException": "the same",
    "EFSMountTimeoutException": "the same",
    "ENILimitReachedException": "VPC settings are kept, and no network interface is made",
    "ENINotReadyException": "the same",
    "InvalidCodeSignatureException": "no package is signed, so none is signed wrongly",
    "InvalidRuntimeException": "a runtime that cannot be had fails the function, and then it is a ResourceConflict",
    "InvalidSecurityGroupIDException": "VPC settings are kept, and no network interface is made",
    "InvalidSubnetIDException": "the same",
    "InvalidZipFileException": "packages are checked when they come",
    "KMSAccessDeniedException": "KMSKeyArn is kept, and Berth's own key is used",
    "KMSDisabledException": "the same",
    "KMSInvalidStateException": "the same",
    "KMSNotFoundException": "the same",
    "ModeNotSupportedException": "no function is of a kind that cannot be invoked so",
    "NoPublishedVersionException": "`$LATEST` of managed instances can be invoked too",
    "PublicPolicyException": "nothing blocks policies that are open to everybody",
    "RecursiveInvocationException": "loops are not looked for",
    "RequestTooLargeException": "its wire code is RequestEntityTooLargeException, as recorded",
    "ResourceInUseException": "a mapping is never in the middle of anything",
    "ResourceNotReadyException": "a function that is not ready is a ResourceConflict",
    "RuntimeAliasDeletedException": "runtimes are not versioned by AWS",
    "RuntimeVersionDeletedException": "the same",
    "S3FilesMountConnectivityException": "file systems are kept, and none is mounted",
    "S3FilesMountFailureException": "the same",
    "S3FilesMountTimeoutException": "the same",
    "SerializedRequestEntityTooLargeException": "of functions that Berth refuses",
    "ServiceQuotaExceededException": "of durable functions and the like, which are refused",
    "SnapStartException": "no snapshot is kept: versions start as usual",
    "SnapStartNotReadyException": "the same",
    "SnapStartRegenerationFailureException": "the same",
    "SnapStartTimeoutException": "the same",
    "SubnetIPAddressLimitReachedException": "VPC settings are kept, and no network interface is made",
    "TooManyRequestsException": "calls are not limited, but for invocations",
    "UnsupportedMediaTypeException": "a payload is what its bytes are, whatever its type is said to be",
}
"""Errors that Berth never answers with, except as `ELSEWHERE_OF` says, and why."""

_NO_RULE = "the model holds all of its rules: what breaks one is a ValidationException"
_UNDISTURBED = "AWS refuses while an update is in progress; here the two do not disturb each other"
_TOLERANT = "what is not there is an empty list, or deleted already, as on AWS"
NEVER_OF: dict[tuple[str, str], str] = {
    **{
        (operation, "InvalidParameterValueException"): _NO_RULE
        for operation in (
            *("CreateCodeSigningConfig", "DeleteCodeSigningConfig", "GetCodeSigningConfig"),
            *("UpdateCodeSigningConfig", "DeleteEventSourceMapping", "GetEventSourceMapping"),
            *("GetFunctionRecursionConfig", "PutFunctionRecursionConfig", "GetLayerVersionByArn"),
            *("DeleteCapacityProvider", "GetCapacityProvider"),
        )
    },
    **{
        (operation, "ResourceConflictException"): _UNDISTURBED
        for operation in (
            *("DeleteAlias", "DeleteFunctionCodeSigningConfig", "DeleteFunctionConcurrency"),
            *(
                "DeleteFunctionEventInvokeConfig",
                "DeleteFunctionUrlConfig",
                "DeleteProvisionedConcurrencyConfig",
            ),
            *("DeleteEventSourceMapping", "DeleteResourcePolicy", "PutFunctionCodeSigningConfig"),
            *("PutFunctionConcurrency", "PutFunctionEventInvokeConfig", "PutFunctionRecursionConfig"),
            *(
                "PutResourcePolicy",
                "PutRuntimeManagementConfig",
                "RemoveLayerVersionPermission",
                "TagResource",
            ),
            *("UntagResource", "UpdateAlias", "UpdateEventSourceMapping", "UpdateFunctionEventInvokeConfig"),
            *("UpdateFunctionUrlConfig", "PutFunctionScalingConfig", "UpdateCapacityProvider"),
        )
    },
    **{
        (operation, "ResourceNotFoundException"): _TOLERANT
        for operation in ("DeleteLayerVersion", "ListEventSourceMappings", "ListLayerVersions")
    },
    (
        "CreateFunction",
        "ResourceNotFoundException",
    ): "what a function refers to and is not there has errors of its own",
    (
        "CreateEventSourceMapping",
        "ResourceNotFoundException",
    ): "a function that is not there is an InvalidParameterValue, as recorded",
    ("PublishLayerVersion", "ResourceNotFoundException"): "a new layer is made",
    **{
        (
            operation,
            "CodeSigningConfigNotFoundException",
        ): "a configuration that a function uses cannot be deleted"
        for operation in (
            *("DeleteFunctionCodeSigningConfig", "GetFunctionCodeSigningConfig", "UpdateFunctionCode"),
            "UpdateFunctionConfiguration",
        )
    },
}
"""Further ones, of single operations."""

ELSEWHERE: dict[str, str] = {
    "ServiceException": "test_bug_in_an_operation",
    "CapacityProviderLimitExceededException": "test_limits_of_providers",
    "CodeStorageExceededException": "test_full_disk",
    "FunctionVersionsPerCapacityProviderLimitExceededException": "test_limits_of_providers",
}
"""Errors that take more than a call: the test that reaches them."""
ELSEWHERE_OF: dict[tuple[str, str], str] = {
    (operation, "TooManyRequestsException"): "test_refusals_on_the_wire"
    for operation in ("Invoke", "InvokeWithResponseStream")
}
"""The same for single operations."""

QUALIFIED = {"FunctionName": "f:1", "Qualifier": "2"}
WHOLE = {"FunctionName": "f:1"}
MISSING = {"FunctionName": "nope"}
AT_LAYER = {"LayerName": "lib", "VersionNumber": 1}
PERMISSION = {"StatementId": "s", "Action": "lambda:InvokeFunction", "Principal": "*"}
LAYER_PERMISSION = {"StatementId": "s", "Action": "lambda:GetLayerVersion", "Principal": "*"}
TWO_ALIASES = {"FunctionName": "f:live", "Qualifier": "other"}
STATEMENT = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": FUNCTION}
LONG_POLICY = {"Statement": {**STATEMENT, "Condition": {"StringEquals": {"aws:x": ["ä" * 12_000]}}}}
EXAMPLES: dict[tuple[str, str], Params] = {
    ("AddLayerVersionPermission", "InvalidParameterValueException"): AT_LAYER | {"VersionNumber": 0},
    ("AddLayerVersionPermission", "PolicyLengthExceededException"): AT_LAYER | {"LayerName": "full"},
    ("AddLayerVersionPermission", "PreconditionFailedException"): AT_LAYER | {"RevisionId": STALE},
    ("AddLayerVersionPermission", "ResourceConflictException"): AT_LAYER | LAYER_PERMISSION,
    ("AddPermission", "PolicyLengthExceededException"): PERMISSION | {"FunctionName": "full"},
    ("AddPermission", "PreconditionFailedException"): PERMISSION | {"RevisionId": STALE},
    ("AddPermission", "ResourceConflictException"): PERMISSION,
    ("CreateCapacityProvider", "InvalidParameterValueException"): {"Tags": {"aws:a": "b"}},
    ("CreateCapacityProvider", "ResourceConflictException"): {"CapacityProviderName": "here"},
    ("DeleteCapacityProvider", "ResourceConflictException"): {"CapacityProviderName": "here"},
    ("GetFunctionScalingConfig", "InvalidParameterValueException"): {"Qualifier": "1"},
    ("ListFunctionVersionsByCapacityProvider", "InvalidParameterValueException"): {
        "CapacityProviderName": "here",
        "Marker": "x",
    },
    ("PutFunctionScalingConfig", "InvalidParameterValueException"): {"Qualifier": "1"},
    ("UpdateCapacityProvider", "InvalidParameterValueException"): {
        "CapacityProviderName": "here",
        "CapacityProviderScalingConfig": {
            "ScalingPolicies": [
                {"PredefinedMetricType": "LambdaCapacityProviderAverageCPUUtilization", "TargetValue": 50.0}
            ]
        },
    },
    ("CreateAlias", "ResourceConflictException"): {"Name": "live", "FunctionVersion": "1"},
    ("CreateEventSourceMapping", "InvalidParameterValueException"): MISSING | {"EventSourceArn": QUEUE},
    ("CreateEventSourceMapping", "ResourceConflictException"): {"EventSourceArn": QUEUE},
    ("CreateFunction", "CodeSigningConfigNotFoundException"): MISSING | {"CodeSigningConfigArn": NOWHERE},
    ("CreateFunction", "CodeVerificationFailedException"): MISSING | {"CodeSigningConfigArn": "{enforced}"},
    ("CreateFunctionUrlConfig", "InvalidParameterValueException"): TWO_ALIASES,
    ("CreateFunctionUrlConfig", "ResourceConflictException"): {"FunctionName": "f"},
    ("DeleteCodeSigningConfig", "ResourceConflictException"): {"CodeSigningConfigArn": "{enforced}"},
    ("DeleteFunction", "ResourceConflictException"): WHOLE,
    ("DeleteFunction", "InvalidParameterValueException"): {"FunctionName": "f:$LATEST"},
    ("DeleteFunctionUrlConfig", "InvalidParameterValueException"): TWO_ALIASES,
    ("DeleteLayerVersion", "InvalidParameterValueException"): AT_LAYER | {"VersionNumber": 0},
    ("DeleteResourcePolicy", "InvalidParameterValueException"): {"ResourceArn": f"{FUNCTION}:$LATEST"},
    ("DeleteResourcePolicy", "ResourceNotFoundException"): {"ResourceArn": f"{FUNCTION}:2"},
    ("DeleteResourcePolicy", "PreconditionFailedException"): {"ResourceArn": FUNCTION, "RevisionId": STALE},
    ("GetFunctionUrlConfig", "InvalidParameterValueException"): TWO_ALIASES,
    ("GetLayerVersion", "InvalidParameterValueException"): AT_LAYER | {"VersionNumber": 0},
    ("GetLayerVersionPolicy", "InvalidParameterValueException"): AT_LAYER | {"VersionNumber": 0},
    ("GetProvisionedConcurrencyConfig", "ProvisionedConcurrencyConfigNotFoundException"): {"Qualifier": "1"},
    ("GetResourcePolicy", "InvalidParameterValueException"): {"ResourceArn": f"{ARN}:runtime/python"},
    ("GetResourcePolicy", "ResourceNotFoundException"): {"ResourceArn": f"{FUNCTION}:2"},
    ("Invoke", "InvalidRequestContentException"): {"Payload": b"{"},
    ("Invoke", "ResourceConflictException"): {"FunctionName": "pending"},
    ("InvokeWithResponseStream", "InvalidRequestContentException"): {"Payload": b"{"},
    ("InvokeWithResponseStream", "ResourceConflictException"): {"FunctionName": "pending"},
    ("ListFunctionsByCodeSigningConfig", "InvalidParameterValueException"): {
        "CodeSigningConfigArn": "{enforced}",
        "Marker": "x",
    },
    ("ListTags", "InvalidParameterValueException"): {"Resource": f"{FUNCTION}:1"},
    ("ListTags", "ResourceNotFoundException"): {"Resource": f"{FUNCTION}x"},
    ("PutFunctionCodeSigningConfig", "CodeSigningConfigNotFoundException"): {"CodeSigningConfigArn": NOWHERE},
    ("PutFunctionCodeSigningConfig", "InvalidParameterValueException"): WHOLE
    | {"CodeSigningConfigArn": "{enforced}"},
    ("PutFunctionCodeSigningConfig", "ResourceNotFoundException"): MISSING
    | {"CodeSigningConfigArn": "{enforced}"},
    ("PutFunctionEventInvokeConfig", "ResourceNotFoundException"): MISSING | {"MaximumRetryAttempts": 1},
    ("PutProvisionedConcurrencyConfig", "ResourceConflictException"): {"Qualifier": "1"},
    ("PutResourcePolicy", "InvalidParameterValueException"): {"ResourceArn": FUNCTION, "Policy": "{}"},
    ("PutResourcePolicy", "PolicyLengthExceededException"): {
        "ResourceArn": FUNCTION,
        "Policy": json.dumps(LONG_POLICY, ensure_ascii=False),
    },
    ("PutResourcePolicy", "PreconditionFailedException"): {
        "ResourceArn": FUNCTION,
        "Policy": json.dumps({"Statement": STATEMENT}),
        "RevisionId": STALE,
    },
    ("PutResourcePolicy", "ResourceNotFoundException"): {"ResourceArn": f"{FUNCTION}:2"},
    ("RemoveLayerVersionPermission", "InvalidParameterValueException"): AT_LAYER | {"VersionNumber": 0},
    ("RemoveLayerVersionPermission", "PreconditionFailedException"): AT_LAYER | {"RevisionId": STALE},
    ("TagResource", "InvalidParameterValueException"): {"Resource": f"{FUNCTION}:1", "Tags": {"a": "b"}},
    ("TagResource", "ResourceNotFoundException"): {"Resource": f"{FUNCTION}x", "Tags": {"a": "b"}},
    ("UntagResource", "InvalidParameterValueException"): {"Resource": f"{FUNCTION}:1"},
    ("UntagResource", "ResourceNotFoundException"): {"Resource": f"{FUNCTION}x"},
    ("UpdateEventSourceMapping", "InvalidParameterValueException"): MISSING | {"UUID": "{mapping}"},
    ("UpdateEventSourceMapping", "ResourceNotFoundException"): {"UUID": STALE},
    ("UpdateFunctionCode", "CodeVerificationFailedException"): {"FunctionName": "signed", "ZipFile": b"x"},
    ("UpdateFunctionConfiguration", "CodeVerificationFailedException"): {
        "FunctionName": "signed",
        "Layers": [LAYER],
    },
    ("UpdateFunctionEventInvokeConfig", "ResourceNotFoundException"): MISSING | {"MaximumRetryAttempts": 1},
    ("UpdateFunctionUrlConfig", "InvalidParameterValueException"): TWO_ALIASES,
}
"""Members over the least valid ones of the operation, for a function `f`; see `world` for what else there is."""


def example(operation: str, code: str) -> Params:
    """What reaches an error: written above, or what reaches it in every operation with such members."""
    shape = SERVICE.operation_model(operation).input_shape
    members = {} if shape is None else shape.members
    params = least_input(operation)
    if "FunctionName" in params:
        params["FunctionName"] = "f"
    qualified = QUALIFIED if "Qualifier" in members else WHOLE
    usual = {
        "InvalidParameterValueException": {"Marker": "x"} if "Marker" in members else qualified,
        "PreconditionFailedException": {"RevisionId": STALE},
        "ResourceConflictException": {"FunctionName": "busy"},
        "ResourceNotFoundException": MISSING,
    }
    found = EXAMPLES.get((operation, code)) or usual.get(code, {})
    return params | {name: value for name, value in found.items() if name in members}


def pairs() -> list[tuple[str, str]]:
    """Every operation with each of its errors that is to be reached by a call."""
    every = [
        (name, shape.name)
        for name in sorted(IMPLEMENTED)
        for shape in SERVICE.operation_model(name).error_shapes
    ]
    return [pair for pair in every if pair[1] not in NEVER | ELSEWHERE and pair not in NEVER_OF]


@dataclass
class World:
    """A door with all that examples speak of."""

    door: Any
    client: Any
    made: dict[str, str] = field(default_factory=dict)

    async def call(self, operation: str, **params: Any) -> Any:
        return await self.door.aside(getattr(self.client, operation), **params)

    async def code(self, operation: str, params: Params) -> str:
        """What the call ends with."""
        filled = {
            name: self.made.get(value.strip("{}"), value) if isinstance(value, str) else value
            for name, value in params.items()
        }
        try:
            await self.call(xform_name(operation), **filled)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "no error"


@pytest.fixture
async def world(door: Any, zip_of: Any) -> AsyncIterator[World]:
    """Functions `f` with version 1 and alias `live`, `full` with a policy that nothing more fits in, `signed`, whose
    code must be, and `busy`, whose update is in progress, and `pending`; layers `lib` and `full`; things attached to
    them; a capacity provider `here` with a function.
    """
    world = World(door, door.client())
    await door.published()
    await door.alias()
    for name in ("full", "signed", "busy"):
        await door.created(name)
    await world.call("add_permission", FunctionName="f", **PERMISSION)
    for name in ("lib", "full"):
        await world.call("publish_layer_version", LayerName=name, Content={"ZipFile": zip_of()})
    await world.call("add_layer_version_permission", **AT_LAYER, **LAYER_PERMISSION)
    scope = door.store.catalog.function(Scope("123456789012", "us-east-1"), "f").scope
    filling = ({"Sid": "filling", "Condition": "x" * 20_400},)
    for kind, qualifier in ((FunctionPolicy, ""), (LayerPolicy, "1")):
        policy = kind(scope=scope, owner="full", qualifier=qualifier, revision_id="r", statements=filling)
        await door.store.attach(policy)
    made = await world.call(
        "create_code_signing_config",
        AllowedPublishers={"SigningProfileVersionArns": [PROFILE]},
        CodeSigningPolicies={"UntrustedArtifactOnDeployment": "Enforce"},
    )
    world.made["enforced"] = made["CodeSigningConfig"]["CodeSigningConfigArn"]
    signing = {"FunctionName": "signed", "CodeSigningConfigArn": world.made["enforced"]}
    await world.call("put_function_code_signing_config", **signing)
    mapping = await world.call("create_event_source_mapping", FunctionName="f", EventSourceArn=QUEUE)
    world.made["mapping"] = mapping["UUID"]
    provider = least_input("CreateCapacityProvider") | {"CapacityProviderName": "here"}
    made = await world.call("create_capacity_provider", **provider)
    arn = made["CapacityProvider"]["CapacityProviderArn"]
    capacity = {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": arn}}
    await door.created("managed", Runtime="python3.13", CapacityProviderConfig=capacity)
    provision = {"Qualifier": "live", "ProvisionedConcurrentExecutions": 1}
    await world.call("put_provisioned_concurrency_config", FunctionName="f", **provision)
    await world.call("create_function_url_config", FunctionName="f", AuthType="NONE")
    door.readiness.allowed.clear()
    await world.call("update_function_configuration", FunctionName="busy", Timeout=9)
    await door.create("pending")
    yield world
    door.readiness.allowed.set()
    world.client.close()


PROFILE = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/test"


async def test_each_declared_error(world: World) -> None:
    """Reached as the tables say."""
    wrong = []
    for operation, code in pairs():
        got = await world.code(operation, example(operation, code))
        if got != code:
            wrong.append(f"{operation}: {code} wanted, {got} got")
    assert not wrong, "\n".join(wrong)


def test_the_tables_are_about_declared_errors() -> None:
    """Nothing in them has become untrue by a newer model."""
    declared = {
        (name, shape.name)
        for name in SERVICE.operation_names
        for shape in SERVICE.operation_model(name).error_shapes
    }
    codes = {code for _, code in declared}
    assert NEVER_OF.keys() | EXAMPLES.keys() | ELSEWHERE_OF.keys() <= declared
    assert NEVER.keys() | ELSEWHERE.keys() <= codes
    assert not NEVER_OF.keys() & EXAMPLES.keys()


@pytest.mark.parametrize("name", sorted({*ELSEWHERE.values(), *ELSEWHERE_OF.values()}))
def test_the_other_tests_are_there(name: str) -> None:
    """By their names."""
    assert any(f"def {name}(" in path.read_text() for path in TESTS.rglob("test_*.py"))
