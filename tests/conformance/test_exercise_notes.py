"""Two collections of short notes on layers, configuration, versions and aliases: their commands as printed.

Changed: functions, packages and as many versions as a command needs are made first. Lambda has no option
`--reserved-concurrent-executions` of UpdateFunctionConfiguration: it is an operation of its own.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.helpers.s3 import serving_s3


def make(notes: Any, name: str, versions: int = 0) -> None:
    """A function with as many versions."""
    notes.write("app.py", "def handler(event, context): return 1\n")
    notes.run("rm -f app.zip && zip app.zip app.py")
    notes.client.create_function(
        FunctionName=name,
        Runtime="python3.11",
        Handler="app.handler",
        Role="arn:aws:iam::123456789012:role/r",
        Code={"ZipFile": (notes.folder / "app.zip").read_bytes()},
    )
    notes.settle()
    for number in range(1, versions + 1):
        notes.client.update_function_configuration(FunctionName=name, Description=str(number))
        notes.settle()
        notes.client.publish_version(FunctionName=name)


def test_versions_and_an_alias(exercise: Callable[..., Any]) -> None:
    """A version is published, an alias made, shown, split and deleted."""
    notes = exercise()
    make(notes, "MyLambda", versions=2)
    notes.client.update_function_configuration(FunctionName="MyLambda", Timeout=9)
    notes.settle()
    assert notes.json("aws lambda publish-version --function-name MyLambda")["Version"] == "3"
    listed = notes.json("aws lambda list-versions-by-function --function-name MyLambda")
    assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "1", "2", "3"]
    notes.run("aws lambda create-alias --function-name MyLambda --name Prod --function-version 2")
    shown = notes.json("aws lambda get-alias --function-name MyLambda --name Prod")
    assert (shown["Name"], shown["FunctionVersion"], shown["Description"]) == ("Prod", "2", "")
    split = notes.json("""
aws lambda update-alias --function-name MyLambda --name Prod \\
  --routing-config '{"AdditionalVersionWeights": {"3": 0.1}}'
""")
    assert (split["FunctionVersion"], split["RoutingConfig"]["AdditionalVersionWeights"]) == ("2", {"3": 0.1})
    notes.run("aws lambda delete-alias --function-name MyLambda --name Prod")
    assert notes.json("aws lambda list-aliases --function-name MyLambda") == {"Aliases": []}


async def test_a_layer_from_s3(exercise: Callable[..., Any]) -> None:
    """The layer's package is read from a bucket, attached and listed."""
    async with serving_s3() as s3:
        notes = await asyncio.to_thread(exercise, "--aws-endpoint-url", f"s3={s3.url}")
        await asyncio.to_thread(make, notes, "MyLambdaFunction")
        await asyncio.to_thread(
            notes.run,
            """
mkdir -p python/lib/python3.8/site-packages
pip install numpy -t python/lib/python3.8/site-packages/
zip -r numpy-layer.zip python
""",
        )
        s3.put("my-bucket", "numpy-layer.zip", (notes.folder / "numpy-layer.zip").read_bytes())
        layer = await asyncio.to_thread(
            notes.json,
            """
aws lambda publish-layer-version \\
  --layer-name numpy-layer \\
  --description "NumPy for Python 3.8" \\
  --content S3Bucket=my-bucket,S3Key=numpy-layer.zip \\
  --compatible-runtimes python3.8
""",
        )
        assert layer["Content"]["CodeSize"] == (notes.folder / "numpy-layer.zip").stat().st_size
        attached = await asyncio.to_thread(
            notes.json,
            """
aws lambda update-function-configuration \\
  --function-name MyLambdaFunction \\
  --layers arn:aws:lambda:us-east-1:123456789012:layer:numpy-layer:1
""",
        )
        assert [each["Arn"] for each in attached["Layers"]] == [layer["LayerVersionArn"]]
        listed = await asyncio.to_thread(notes.json, "aws lambda list-layers")
        assert [each["LayerName"] for each in listed["Layers"]] == ["numpy-layer"]


def test_a_layer_for_three_runtimes(exercise: Callable[..., Any]) -> None:
    """Its package is a folder `python`."""
    notes = exercise()
    made = notes.json("""
mkdir python
pip install requests -t python/ > /dev/null
zip -qr my-python-layer.zip python/
aws lambda publish-layer-version \\
    --layer-name my-python-layer \\
    --description "My custom Python dependencies" \\
    --zip-file fileb://my-python-layer.zip \\
    --compatible-runtimes python3.9 python3.10 python3.11 \\
    --region us-east-1
""")
    assert made["LayerVersionArn"].endswith(":layer:my-python-layer:1")


def test_configuration(exercise: Callable[..., Any]) -> None:
    """Variables, memory and timeout; the CLI itself refuses what is no option, and the right command does it."""
    notes = exercise()
    make(notes, "my-function-name")
    changed = notes.json("""
aws lambda update-function-configuration \\
  --function-name my-function-name \\
  --environment "Variables={DB_HOST=mydb.example.com,API_KEY=xyz123}"
""")
    assert changed["Environment"]["Variables"] == {"DB_HOST": "mydb.example.com", "API_KEY": "xyz123"}
    refused = notes.run(
        """
aws lambda update-function-configuration \\
  --function-name my-function-name \\
  --memory-size 1024 \\
  --timeout 300 \\
  --reserved-concurrent-executions 10
""",
        fails=True,
    )
    assert "Unknown options: --reserved-concurrent-executions" in refused
    changed = notes.json("""
aws lambda update-function-configuration \\
  --function-name my-function-name \\
  --memory-size 1024 \\
  --timeout 300
""")
    assert (changed["MemorySize"], changed["Timeout"]) == (1024, 300)
    reserved = notes.json("""
aws lambda put-function-concurrency \\
  --function-name my-function-name \\
  --reserved-concurrent-executions 10
""")
    assert reserved == {"ReservedConcurrentExecutions": 10}


def test_stages(exercise: Callable[..., Any]) -> None:
    """An alias goes from one version to the next."""
    notes = exercise()
    make(notes, "my-function", versions=5)
    notes.run("""
aws lambda create-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 5
""")
    notes.client.update_function_configuration(FunctionName="my-function", Description="next")
    notes.settle()
    assert notes.json("aws lambda publish-version --function-name my-function")["Version"] == "6"
    moved = notes.json("""
aws lambda update-alias \\
  --function-name my-function \\
  --name prod \\
  --function-version 6
""")
    assert moved["FunctionVersion"] == "6"
