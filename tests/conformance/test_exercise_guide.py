"""A study guide's commands on layers, versions and aliases, as printed; what `conftest` changes apart.

Changed: an alias's environment variables, which AWS and its CLI do not have, are set with `berth alias`.
"""

import json
from collections.abc import Callable
from typing import Any

SOURCE = """
import json, os
try:
    import requests
    LIBRARY = requests.__version__
except ImportError:
    LIBRARY = None

def handler(event, context):
    found = {"release": RELEASE, "library": LIBRARY, "database": os.environ.get("DATABASE_URL")}
    return {"statusCode": 200, "body": json.dumps(found)}
"""
PACKAGE = "rm -f app.zip && zip app.zip app.py"
CREATE = """
aws lambda create-function --function-name my-function --runtime python3.9 --handler app.handler \\
  --role arn:aws:iam::123456789012:role/lambda-role --zip-file fileb://app.zip
"""
UPDATE = "aws lambda update-function-code --function-name my-function --zip-file fileb://app.zip"
INVOKE = """
aws lambda invoke \\
  --function-name my-function:prod \\
  response.json
"""


def release(exercise: Any, number: int, then: str) -> None:
    """The function's code of this release, packaged and sent."""
    exercise.write("app.py", f"RELEASE = {number}\n{SOURCE}")
    exercise.run(PACKAGE)
    exercise.run(then)


def releases(exercise: Any, count: int) -> None:
    """A function with versions from 1 to `count`."""
    release(exercise, 1, CREATE)
    for number in range(1, count + 1):
        if number > 1:
            release(exercise, number, UPDATE)
        exercise.run("aws lambda publish-version --function-name my-function")


def test_layers(exercise: Callable[..., Any]) -> None:
    """A layer is packaged, published, attached and shared; the function imports from it."""
    guide = exercise()
    release(guide, 1, CREATE)
    guide.run("""
# Python example
mkdir -p layer/python
pip install requests -t layer/python/
cd layer
zip -r requests-layer.zip python/

aws lambda publish-layer-version \\
  --layer-name requests-layer \\
  --description "Python requests library" \\
  --zip-file fileb://requests-layer.zip \\
  --compatible-runtimes python3.9 python3.10
""")
    guide.run("""
aws lambda update-function-configuration \\
  --function-name my-function \\
  --layers arn:aws:lambda:us-east-1:123456789012:layer:requests-layer:1
""")
    guide.run("""
aws lambda invoke \\
  --function-name my-function \\
  response.json
""")
    assert guide.answer()["library"] == "0"
    guide.run(
        "aws lambda publish-layer-version --layer-name my-layer --zip-file fileb://layer/requests-layer.zip"
    )
    shared = guide.json("""
aws lambda add-layer-version-permission \\
  --layer-name my-layer \\
  --version-number 1 \\
  --statement-id public-access \\
  --action lambda:GetLayerVersion \\
  --principal "*"
""")
    assert json.loads(shared["Statement"])["Principal"] == "*"


def test_versions(exercise: Callable[..., Any]) -> None:
    """Versions are published, invoked, listed and deleted."""
    guide = exercise()
    release(guide, 1, CREATE)
    guide.run("aws lambda publish-version --function-name my-function")
    release(guide, 2, UPDATE)
    published = guide.json("""
aws lambda publish-version \\
  --function-name my-function \\
  --description "Added authentication feature"
""")
    assert (published["Version"], published["Description"]) == ("2", "Added authentication feature")
    release(guide, 3, UPDATE)
    guide.run("""
aws lambda invoke \\
  --function-name my-function \\
  response.json
""")
    assert guide.answer()["release"] == 3
    guide.run("""
aws lambda invoke \\
  --function-name my-function:2 \\
  response.json
""")
    assert guide.answer()["release"] == 2
    listed = "aws lambda list-versions-by-function --function-name my-function"
    assert [each["Version"] for each in guide.json(listed)["Versions"]] == ["$LATEST", "1", "2"]
    guide.run("aws lambda delete-function --function-name my-function:2")
    assert [each["Version"] for each in guide.json(listed)["Versions"]] == ["$LATEST", "1"]


def test_aliases(exercise: Callable[..., Any]) -> None:
    """An alias is made, moved, split by weight, and moved back."""
    guide = exercise()
    releases(guide, 3)
    made = guide.json("""
aws lambda create-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 3 \\
  --description "Production environment"
""")
    assert made["AliasArn"] == "arn:aws:lambda:us-east-1:123456789012:function:my-function:prod"
    release(guide, 4, UPDATE)
    assert guide.json("""
aws lambda publish-version --function-name my-function
# Returns: Version 4
""")["Version"] == "4"  # fmt: skip
    guide.run("""
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 4
""")
    guide.run(INVOKE)
    assert guide.answer()["release"] == 4
    split = guide.json("""
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 4 \\
  --routing-config '{"AdditionalVersionWeights": {"3": 0.9}}'
""")
    assert split["RoutingConfig"] == {"AdditionalVersionWeights": {"3": 0.9}}
    guide.run("""
# 50% to v4
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 4 \\
  --routing-config '{"AdditionalVersionWeights": {"3": 0.5}}'
""")
    whole = guide.json("""
# 100% to v4 (remove weight)
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 4 \\
  --routing-config '{}'
""")
    assert "RoutingConfig" not in whole
    guide.run(INVOKE)
    assert guide.answer()["release"] == 4
    guide.run("""
# Current: prod → Version 4 (buggy)
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 3
# Now: prod → Version 3 (previous stable version)
""")
    guide.run(INVOKE)
    assert guide.answer()["release"] == 3


def test_an_aliass_own_variables_and_permissions(exercise: Callable[..., Any]) -> None:
    """
    The CLI does not know the option; `berth alias` does what the guide says of it.
    Result: the alias's variable wins over the version's, and its policy is its own.
    """
    guide = exercise()
    release(guide, 1, f"{CREATE.rstrip()} --environment 'Variables={{DATABASE_URL=dev}}'")
    guide.run("aws lambda publish-version --function-name my-function")
    guide.run("aws lambda create-alias --function-name my-function --name prod --function-version 1")
    refused = guide.run(
        """
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 3 \\
  --environment-variables '{"DATABASE_URL": "prod-database.example.com"}'
""",
        fails=True,
    )
    assert "Unknown options: --environment-variables" in refused
    guide.run("berth alias my-function prod --environment DATABASE_URL=prod-database.example.com")
    guide.run(INVOKE)
    assert guide.answer()["database"] == "prod-database.example.com"
    guide.run("aws lambda invoke --function-name my-function:1 response.json")
    assert guide.answer()["database"] == "dev"
    added = guide.json("""
aws lambda add-permission \\
  --function-name my-function:prod \\
  --statement-id api-gateway-invoke \\
  --action lambda:InvokeFunction \\
  --principal apigateway.amazonaws.com \\
  --source-arn arn:aws:execute-api:us-east-1:123456789012:api-id/*
""")
    assert json.loads(added["Statement"])["Resource"].endswith(":my-function:prod")
    guide.run("aws lambda get-policy --function-name my-function", fails=True)
