"""Constraint violations in AWS's words."""

from typing import Any

import pytest
from botocore.model import ServiceModel

from runtime.api.protocol import load_service
from runtime.api.validation import CHECKED_ELSEWHERE, OVERRIDES, compiled_pattern, validate
from runtime.errors import LambdaError

SERVICE = load_service()
GOOD: dict[str, Any] = {
    "FunctionName": "fn",
    "Role": "arn:aws:iam::123456789012:role/r",
    "Code": {"ZipFile": b"x"},
}


def problems(shape: str, params: dict[str, Any]) -> str:
    with pytest.raises(LambdaError) as error:
        validate(SERVICE.shape_for(shape), params)
    assert error.value.code == "ValidationException"
    return error.value.message


def one(path: str, value: str, constraint: str) -> str:
    return (
        f"1 validation error detected: Value {value} at '{path}' failed to satisfy constraint: {constraint}"
    )


def test_good_input_passes() -> None:
    """Nothing is said about an input that satisfies the model."""
    validate(SERVICE.shape_for("CreateFunctionRequest"), GOOD)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Timeout": 0}, one("timeout", "'0'", "Member must have value greater than or equal to 1")),
        ({"Timeout": 901}, one("timeout", "'901'", "Member must have value less than or equal to 900")),
        (
            {"MemorySize": 10241},
            one("memorySize", "'10241'", "Member must have value less than or equal to 10240"),
        ),
        (
            {"MemorySize": 127},
            one("memorySize", "'127'", "Member must have value greater than or equal to 128"),
        ),
        (
            {"EphemeralStorage": {"Size": 511}},
            one("ephemeralStorage.size", "'511'", "Member must have value greater than or equal to 512"),
        ),
        (
            {"EphemeralStorage": {}},
            one("ephemeralStorage.size", "null", "Member must not be null"),
        ),
        (
            {"Handler": "a b"},
            one("handler", "'a b'", r"Member must satisfy regular expression pattern: [^\s]+"),
        ),
        (
            {"Description": "x" * 257},
            one("description", f"'{'x' * 257}'", "Member must have length less than or equal to 256"),
        ),
        (
            {"Role": "nobody"},
            one(
                "role",
                "'nobody'",
                "Member must satisfy regular expression pattern: "
                r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
            ),
        ),
        (
            {"PackageType": "Rpm"},
            one("packageType", "'Rpm'", "Member must satisfy enum value set: [Zip, Image]"),
        ),
        (
            {"Architectures": ["x86_64", "arm64"]},
            one("architectures", "'[x86_64, arm64]'", "Member must have length less than or equal to 1"),
        ),
        (
            {"Architectures": ["sparc"]},
            one(
                "architectures",
                "'[sparc]'",
                "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]",
            ),
        ),
        (
            {"FileSystemConfigs": [{"Arn": None}]},
            (
                "2 validation errors detected: "
                "Value null at 'fileSystemConfigs.1.member.localMountPath' failed to satisfy constraint: "
                "Member must not be null; "
                "Value null at 'fileSystemConfigs.1.member.arn' failed to satisfy constraint: Member must not be null"
            ),
        ),
        (
            {"Tags": {"a!": "1"}},
            one(
                "tags",
                "'{a!=1}'",
                "Map keys must satisfy constraint: [Member must have length less than or equal to 128, "
                "Member must have length greater than or equal to 1, "
                r"Member must satisfy regular expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*), Member must not be null]",
            ),
        ),
        (
            {"Tags": {"a": "x" * 257}},
            one(
                "tags",
                f"'{{a={'x' * 257}}}'",
                "Map value must satisfy constraint: [Member must have length less than or equal to 256, "
                "Member must have length greater than or equal to 0, "
                r"Member must satisfy regular expression pattern: ([\p{L}\p{Z}\p{N}_.:/=+\-@]*), Member must not be null]",
            ),
        ),
    ],
)
def test_texts(changes: dict[str, Any], expected: str) -> None:
    """Each kind of constraint has AWS's text, with the member's path in camel case."""
    assert problems("CreateFunctionRequest", GOOD | changes) == expected


def test_required_members() -> None:
    """Everything that is missing is named at once."""
    assert problems("CreateFunctionRequest", {}) == (
        "3 validation errors detected: "
        "Value null at 'code' failed to satisfy constraint: Member must not be null; "
        "Value null at 'role' failed to satisfy constraint: Member must not be null; "
        "Value null at 'functionName' failed to satisfy constraint: Member must not be null"
    )


def test_layer_with_bad_runtime_and_architecture() -> None:
    """Recorded on AWS: both in one exception, runtimes first."""
    params = {
        "LayerName": "l",
        "Content": {},
        "CompatibleRuntimes": ["cobol"],
        "CompatibleArchitectures": ["sparc"],
    }
    message = problems("PublishLayerVersionRequest", params)
    assert message.startswith(
        "2 validation errors detected: Value '[cobol]' at 'compatibleRuntimes' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: ["
    )
    assert message.endswith(
        "; Value '[sparc]' at 'compatibleArchitectures' failed to satisfy constraint: "
        "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], Member must not be null]"
    )


def test_secrets_are_not_repeated() -> None:
    """Values that the model calls sensitive do not appear in the text."""
    message = problems("CreateFunctionRequest", GOOD | {"Environment": {"Variables": {"1BAD": "secret"}}})
    assert message == (
        "1 validation error detected: Value at 'environment.variables' failed to satisfy constraint: "
        "Map keys must satisfy constraint: "
        "[Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+, Member must not be null]"
    )


def test_runtime_is_not_checked_here() -> None:
    """A bad runtime has another exception on AWS, so the model's list is not applied to it."""
    validate(SERVICE.shape_for("CreateFunctionRequest"), GOOD | {"Runtime": "cobol"})


def test_structures_inside_maps_are_walked() -> None:
    """A path through a map goes by the key. Lambda's model has no such member today; the protocol has."""
    shapes = {
        "Name": {"type": "string", "min": 2},
        "Key": {"type": "string"},
        "Item": {"type": "structure", "members": {"Name": {"shape": "Name"}}, "required": ["Name"]},
        "Items": {"type": "map", "key": {"shape": "Key"}, "value": {"shape": "Item"}},
        "Input": {"type": "structure", "members": {"Items": {"shape": "Items"}}},
    }
    service = ServiceModel({"metadata": {}, "operations": {}, "shapes": shapes}, "test")
    with pytest.raises(LambdaError) as error:
        validate(service.shape_for("Input"), {"Items": {"k": {}}})
    assert error.value.message == one("items.k.member.name", "null", "Member must not be null")


@pytest.mark.parametrize("name", sorted(OVERRIDES))
def test_overridden_shapes_exist(name: str) -> None:
    """Quotas that differ from the model belong to shapes of the model."""
    assert SERVICE.shape_for(name).metadata["max"] > OVERRIDES[name]["max"]


def test_members_checked_elsewhere_exist() -> None:
    """Exemptions name members of the model."""
    assert all(member in SERVICE.shape_for(shape).members for shape, member in CHECKED_ELSEWHERE)


def test_every_pattern_of_the_model_compiles() -> None:
    """Patterns are written for Java; all of them can be used here."""
    shapes = SERVICE._service_description["shapes"].values()
    patterns = {shape["pattern"] for shape in shapes if "pattern" in shape}
    assert len(patterns) > 50
    for pattern in patterns:
        compiled_pattern(pattern)


@pytest.mark.parametrize(("text", "fits"), [("größe 1/2", True), ("名前", True), ("a!", False)])
def test_unicode_classes(text: str, fits: bool) -> None:
    """`\\p{L}` and its kin mean letters and numbers of all scripts."""
    pattern = compiled_pattern(SERVICE.shape_for("TagValue").metadata["pattern"])
    assert (pattern.fullmatch(text) is not None) is fits


def test_digits_are_ascii() -> None:
    """As in Java, `\\d` takes no other script's digits."""
    assert compiled_pattern(r"\d{2}").fullmatch("١٢") is None
