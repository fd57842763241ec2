"""An advanced course's exercises on layers, versions, aliases and concurrency, as printed; what `conftest` changes apart.

Changed: where an exercise sleeps, or goes on at once, the function is waited for. `$LATEST` is quoted, for a shell
takes it for a variable of its own. The CLI wants the qualifier of provisioned concurrency beside the name, and there is
less of it. The way of a canary to its end says nothing of its routing, which is what the setting `lenient_routing` is
for. Answers are counted with their quotes escaped, as they stand in an answer's body.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

ACCOUNT = "ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)\n"


def answering(**body: Any) -> str:
    """A function's source that answers with this."""
    return (
        "import json\n\n"
        "def lambda_handler(event, context):\n"
        f"    return {{'statusCode': 200, 'body': json.dumps({body!r})}}\n"
    )


LAYER_TEST = """
import json
import requests  # This comes from the layer!

def lambda_handler(event, context):
    try:
        # Make HTTP request using library from layer
        response = requests.get('https://httpbin.org/get')

        return {
            'statusCode': 200,
            'body': json.dumps({
                'message': 'Successfully used layer!',
                'response_code': response.status_code,
                'layer_test': 'PASSED'
            })
        }
    except Exception as e:
        return {
            'statusCode': 500,
            'body': json.dumps({
                'error': str(e),
                'layer_test': 'FAILED'
            })
        }
"""
PASSED = {"message": "Successfully used layer!", "response_code": 200, "layer_test": "PASSED"}


def test_exercise_with_a_layer(exercise: Callable[..., Any]) -> None:
    """Create a layer, use it in a function, update it, clean up."""
    course = exercise()
    course.run("""
# Create layer directory structure
mkdir -p my-requests-layer/python/lib/python3.9/site-packages
cd my-requests-layer

# Install requests library into layer
pip install requests -t python/lib/python3.9/site-packages/

# Verify structure
ls python/lib/python3.9/site-packages/

# Create zip
zip -r ../my-requests-layer.zip python/
cd ..
""")
    published = course.json("""
# Publish layer to AWS
aws lambda publish-layer-version \\
  --layer-name requests-layer \\
  --description "Requests library for HTTP calls" \\
  --zip-file fileb://my-requests-layer.zip \\
  --compatible-runtimes python3.9 python3.10 python3.11

# Save the LayerVersionArn from output
""")
    assert published["Version"] == 1
    course.write("function.py", LAYER_TEST)
    course.run("""
# Package function (just your code, no dependencies!)
zip function.zip function.py

# Get account ID
ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)

# Get layer ARN (replace with your actual ARN from step 2)
LAYER_ARN="arn:aws:lambda:us-east-1:${ACCOUNT_ID}:layer:requests-layer:1"

# Create function with layer
aws lambda create-function \\
  --function-name LayerTestFunction \\
  --runtime python3.9 \\
  --role arn:aws:iam::${ACCOUNT_ID}:role/MyFirstLambdaRole \\
  --handler function.lambda_handler \\
  --zip-file fileb://function.zip \\
  --layers $LAYER_ARN
""")
    course.run("""
# Invoke function
aws lambda invoke \\
  --function-name LayerTestFunction \\
  --cli-binary-format raw-in-base64-out \\
  --payload '{}' \\
  response.json && cat response.json
""")
    assert course.answer() == PASSED
    course.run(f"""
{ACCOUNT}
# Install newer version of requests
pip install requests==2.31.0 -t my-requests-layer/python/lib/python3.9/site-packages/

# Create new zip
cd my-requests-layer
zip -r ../my-requests-layer-v2.zip python/
cd ..

# Publish version 2
aws lambda publish-layer-version \\
  --layer-name requests-layer \\
  --zip-file fileb://my-requests-layer-v2.zip \\
  --compatible-runtimes python3.9

# Update function to use version 2
LAYER_ARN_V2="arn:aws:lambda:us-east-1:${{ACCOUNT_ID}}:layer:requests-layer:2"

aws lambda update-function-configuration \\
  --function-name LayerTestFunction \\
  --layers $LAYER_ARN_V2
""")
    course.run("""
aws lambda invoke \\
  --function-name LayerTestFunction \\
  --payload '{}' \\
  response.json && cat response.json
""")
    assert course.answer() == PASSED
    course.run("""
# Delete function
aws lambda delete-function --function-name LayerTestFunction

# Delete layer versions
aws lambda delete-layer-version --layer-name requests-layer --version-number 1
aws lambda delete-layer-version --layer-name requests-layer --version-number 2

# Remove local files
rm -rf my-requests-layer/ my-requests-layer.zip my-requests-layer-v2.zip function.zip response.json function.py
""")
    assert course.json("aws lambda list-layers") == {"Layers": []}


INSIGHTS = "arn:aws:lambda:us-east-1:580247275435:layer:LambdaInsightsExtension:14"


def test_layers_of_a_function(exercise: Callable[..., Any]) -> None:
    """Layers as a function is created, added later, replaced, shared; and one of another account."""
    course = exercise()
    course.write("index.py", answering())
    course.run("zip function.zip index.py")
    course.run("""
mkdir -p python/lib/python3.9/site-packages
pip install requests -t python/lib/python3.9/site-packages/
zip -r my-layer.zip python/
aws lambda publish-layer-version \\
  --layer-name my-dependencies-layer \\
  --description "Requests library for HTTP calls" \\
  --zip-file fileb://my-layer.zip \\
  --compatible-runtimes python3.9 python3.10 python3.11
for number in 1 2; do
  aws lambda publish-layer-version --layer-name another-layer --zip-file fileb://function.zip
done
""")
    course.run("""
# Attach layer when creating function
aws lambda create-function \\
  --function-name MyFunction \\
  --runtime python3.9 \\
  --handler index.lambda_handler \\
  --role arn:aws:iam::123456789012:role/lambda-role \\
  --zip-file fileb://function.zip \\
  --layers arn:aws:lambda:us-east-1:123456789012:layer:my-dependencies-layer:1
""")
    both = course.json("""
# Add layer to existing function
aws lambda update-function-configuration \\
  --function-name MyFunction \\
  --layers \\
    arn:aws:lambda:us-east-1:123456789012:layer:my-dependencies-layer:1 \\
    arn:aws:lambda:us-east-1:123456789012:layer:another-layer:2
""")
    assert len(both["Layers"]) == 2
    course.run("""
# Update dependencies
pip install requests==2.28.0 -t python/lib/python3.9/site-packages/

# Create new zip
zip -r my-layer-v2.zip python/

# Publish NEW VERSION (version 2)
aws lambda publish-layer-version \\
  --layer-name my-dependencies-layer \\
  --zip-file fileb://my-layer-v2.zip \\
  --compatible-runtimes python3.9
""")
    course.run("""
# Update function to use layer version 2
aws lambda update-function-configuration \\
  --function-name MyFunction \\
  --layers arn:aws:lambda:us-east-1:123456789012:layer:my-dependencies-layer:2
""")
    course.run("""
# Grant permission to other AWS accounts
aws lambda add-layer-version-permission \\
  --layer-name my-dependencies-layer \\
  --version-number 1 \\
  --principal 123456789012 \\
  --statement-id AllowAccount123 \\
  --action lambda:GetLayerVersion

# Make layer public (accessible to all AWS accounts)
aws lambda add-layer-version-permission \\
  --layer-name my-dependencies-layer \\
  --version-number 1 \\
  --principal '*' \\
  --statement-id PublicAccess \\
  --action lambda:GetLayerVersion
""")
    attach = """
aws lambda update-function-configuration \\
  --function-name MyFunction \\
  --layers arn:aws:lambda:us-east-1:580247275435:layer:LambdaInsightsExtension:14
"""
    assert f"Layer version {INSIGHTS} does not exist." in course.run(attach, fails=True)
    course.run("""
# Layers that AWS publishes are to be had from whoever brings their package
export AWS_ACCESS_KEY_ID=580247275435
for number in {1..14}; do
  aws lambda publish-layer-version --layer-name LambdaInsightsExtension --zip-file fileb://my-layer.zip
done
aws lambda add-layer-version-permission --layer-name LambdaInsightsExtension --version-number 14 \\
  --statement-id all --principal '*' --action lambda:GetLayerVersion
""")
    assert course.json(attach)["Layers"][0]["Arn"] == INSIGHTS


def my_function(course: Any, versions: int) -> None:
    """A function whose versions say their number, and one of another content that is not yet published."""
    for number in range(1, versions + 2):
        course.write("index.py", answering(number=number))
        course.run("rm -f new-code.zip && zip new-code.zip index.py")
        if number == 1:
            course.run("""
aws lambda create-function --function-name MyFunction --runtime python3.9 --handler index.lambda_handler \\
  --role arn:aws:iam::123456789012:role/lambda-role --zip-file fileb://new-code.zip
""")
        else:
            course.run("aws lambda publish-version --function-name MyFunction")
            course.run(
                "aws lambda update-function-code --function-name MyFunction --zip-file fileb://new-code.zip"
            )


def test_versions_of_a_function(exercise: Callable[..., Any]) -> None:
    """Publish, invoke, list, look at and delete versions."""
    course = exercise()
    my_function(course, 1)
    course.run("""
# Update function code first
aws lambda update-function-code \\
  --function-name MyFunction \\
  --zip-file fileb://new-code.zip
""")
    published = course.json("""
# Publish current $LATEST as new version
aws lambda publish-version \\
  --function-name MyFunction \\
  --description "Version 1.0 - Initial release"
""")
    assert published["Version"] == "2"
    asked = {}
    for name in ("MyFunction", "'MyFunction:$LATEST'", "MyFunction:1", "MyFunction:2"):
        course.run(f"""
aws lambda invoke \\
  --function-name {name} \\
  response.json
""")
        asked[name] = course.answer()["number"]
    assert list(asked.values()) == [2, 2, 1, 2]
    refused = course.run(
        """
# Or explicitly
aws lambda invoke \\
  --function-name MyFunction:$LATEST \\
  response.json
""",
        fails=True,
    )
    assert "ValidationException" in refused
    listed = course.json("""
aws lambda list-versions-by-function \\
  --function-name MyFunction
""")
    assert len(listed["Versions"]) == 3
    shown = course.json("""
aws lambda get-function \\
  --function-name MyFunction:1
""")
    assert shown["Configuration"]["Version"] == "1"
    course.run("""
# Delete version 1 (if no aliases point to it)
aws lambda delete-function \\
  --function-name MyFunction:1

# Note: Cannot delete $LATEST
""")
    same = course.run("""
# Use descriptions to track versions
aws lambda publish-version \\
  --function-name MyFunction \\
  --description "v1.0.0 - Initial release"

aws lambda publish-version \\
  --function-name MyFunction \\
  --description "v1.1.0 - Added feature X"

aws lambda publish-version \\
  --function-name MyFunction \\
  --description "v1.1.1 - Bug fix for feature X"
""")
    assert same.count('"Version": "2"') == 3, "nothing has changed since version 2"


def test_exercise_with_versions(exercise: Callable[..., Any]) -> None:
    """Publish and manage versions, to the end."""
    course = exercise()
    first = {"message": "Version 1.0 - Initial release", "version": "1.0"}
    second = {"message": "Version 2.0 - Added new feature", "version": "2.0", "feature": "New functionality"}
    course.write("versioned_function.py", answering(**first))
    course.run("""
# Package and deploy
zip function-v1.zip versioned_function.py

ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)

aws lambda create-function \\
  --function-name VersionedFunction \\
  --runtime python3.9 \\
  --role arn:aws:iam::${ACCOUNT_ID}:role/MyFirstLambdaRole \\
  --handler versioned_function.lambda_handler \\
  --zip-file fileb://function-v1.zip
""")
    course.run("""
# Invoke $LATEST
aws lambda invoke \\
  --function-name VersionedFunction \\
  --cli-binary-format raw-in-base64-out \\
  --payload '{}' \\
  response.json && cat response.json
""")
    assert course.answer() == first
    published = course.json("""
# Publish version 1
aws lambda publish-version \\
  --function-name VersionedFunction \\
  --description "v1.0.0 - Initial release"

# Note the version number in response (should be 1)
""")
    assert published["Version"] == "1"
    course.write("versioned_function.py", answering(**second))
    course.run("""
# Package new version
zip function-v2.zip versioned_function.py

# Update $LATEST
aws lambda update-function-code \\
  --function-name VersionedFunction \\
  --zip-file fileb://function-v2.zip
""")
    published = course.json("""
# Publish version 2
aws lambda publish-version \\
  --function-name VersionedFunction \\
  --description "v2.0.0 - Added new feature"
""")
    assert published["Version"] == "2"
    said = course.run("""
# Invoke $LATEST (version 2.0)
echo "=== $LATEST ==="
aws lambda invoke \\
  --function-name VersionedFunction \\
  --payload '{}' \\
  response.json && cat response.json && echo ""

# Invoke Version 1
echo "=== Version 1 ==="
aws lambda invoke \\
  --function-name VersionedFunction:1 \\
  --payload '{}' \\
  response.json && cat response.json && echo ""

# Invoke Version 2
echo "=== Version 2 ==="
aws lambda invoke \\
  --function-name VersionedFunction:2 \\
  --payload '{}' \\
  response.json && cat response.json && echo ""
""")
    assert [json.loads(json.loads(line)["body"]) for line in said.splitlines() if "statusCode" in line] == [
        second,
        first,
        second,
    ]
    assert '"ExecutedVersion": "1"' in said
    listed = course.json("""
aws lambda list-versions-by-function \\
  --function-name VersionedFunction
""")
    assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "1", "2"]
    course.run("""
# Delete versions (in reverse order)
aws lambda delete-function --function-name VersionedFunction:2
aws lambda delete-function --function-name VersionedFunction:1

# Delete function ($LATEST)
aws lambda delete-function --function-name VersionedFunction

# Remove files
rm function-v*.zip response.json versioned_function.py
""")
    assert course.json("aws lambda list-functions") == {"Functions": []}


def test_aliases_of_a_function(exercise: Callable[..., Any]) -> None:
    """Create, move, split, permit, list, show and delete aliases."""
    course = exercise("--lenient-routing")
    my_function(course, 2)
    course.run("""
# Create PROD alias pointing to version 1
aws lambda create-alias \\
  --function-name MyFunction \\
  --name PROD \\
  --function-version 1 \\
  --description "Production environment"
""")
    course.run("""
# Point PROD to version 2
aws lambda update-alias \\
  --function-name MyFunction \\
  --name PROD \\
  --function-version 2
""")
    course.run("""
# Invoke PROD alias
aws lambda invoke \\
  --function-name MyFunction:PROD \\
  response.json
""")
    assert course.answer() == {"number": 2}
    course.run("aws lambda delete-alias --function-name MyFunction --name PROD")
    split = course.json("""
# PROD: 90% on Version 1, 10% on Version 2
aws lambda create-alias \\
  --function-name MyFunction \\
  --name PROD \\
  --function-version 1 \\
  --routing-config AdditionalVersionWeights={"2"=0.1}
""")
    assert split["RoutingConfig"]["AdditionalVersionWeights"] == {"2": 0.1}
    course.run("""
# Increase to 50/50 split
aws lambda update-alias \\
  --function-name MyFunction \\
  --name PROD \\
  --routing-config AdditionalVersionWeights={"2"=0.5}
""")
    whole = course.json("""
# Shift to 100% Version 2
aws lambda update-alias \\
  --function-name MyFunction \\
  --name PROD \\
  --function-version 2
  # (omit routing-config for 100% on single version)
""")
    assert (whole["FunctionVersion"], "RoutingConfig" in whole) == ("2", False)
    course.run("""
# Allow API Gateway to invoke PROD alias
aws lambda add-permission \\
  --function-name MyFunction:PROD \\
  --statement-id AllowAPIGatewayInvoke \\
  --action lambda:InvokeFunction \\
  --principal apigateway.amazonaws.com \\
  --source-arn arn:aws:execute-api:us-east-1:123456789012:api-id/*
""")
    course.run(
        "aws lambda create-alias --function-name MyFunction --name STAGING --function-version '$LATEST'"
    )
    listed = course.json("""
aws lambda list-aliases \\
  --function-name MyFunction
""")
    assert [each["Name"] for each in listed["Aliases"]] == ["PROD", "STAGING"]
    shown = course.json("""
aws lambda get-alias \\
  --function-name MyFunction \\
  --name PROD
""")
    assert shown["FunctionVersion"] == "2"
    course.run("""
aws lambda delete-alias \\
  --function-name MyFunction \\
  --name STAGING
""")


COUNT_20 = """
# Invoke 20 times and count responses
for i in {1..20}; do
  aws lambda invoke \\
    --function-name AliasTestFunction:PROD \\
    --payload '{}' \\
    response.json > /dev/null 2>&1
  cat response.json | grep -o 'version\\\\": [0-9]' | cut -d' ' -f2
done | sort | uniq -c
"""


def shares(printed: str) -> Counter[str]:
    """What `uniq -c` counted."""
    lines = (line.split() for line in printed.splitlines())
    return Counter({line[1]: int(line[0]) for line in lines if len(line) == 2 and line[0].isdigit()})


def two_versions(course: Any) -> None:
    """Step 1. The second package has another module, so its handler must be named too."""
    course.write("alias_function_v1.py", answering(message="Version 1 - Stable", version=1))
    course.write(
        "alias_function_v2.py",
        answering(message="Version 2 - New Feature", version=2, feature="Enhanced response"),
    )
    course.run("""
# Deploy version 1
zip function-v1.zip alias_function_v1.py

ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)

aws lambda create-function \\
  --function-name AliasTestFunction \\
  --runtime python3.9 \\
  --role arn:aws:iam::${ACCOUNT_ID}:role/MyFirstLambdaRole \\
  --handler alias_function_v1.lambda_handler \\
  --zip-file fileb://function-v1.zip
""")
    course.run("""
# Publish version 1
aws lambda publish-version \\
  --function-name AliasTestFunction \\
  --description "Version 1 - Stable"
""")
    course.run("""
# Update to version 2
zip function-v2.zip alias_function_v2.py

aws lambda update-function-code \\
  --function-name AliasTestFunction \\
  --zip-file fileb://function-v2.zip
""")
    course.run("""
aws lambda update-function-configuration --function-name AliasTestFunction \\
  --handler alias_function_v2.lambda_handler
""")
    course.run("""
# Publish version 2
aws lambda publish-version \\
  --function-name AliasTestFunction \\
  --description "Version 2 - New Feature"
""")


def test_exercise_with_aliases(exercise: Callable[..., Any]) -> None:
    """A canary from 10 % over 50 % to the whole, and back."""
    course = exercise("--lenient-routing")
    two_versions(course)
    course.run("""
# Create PROD alias pointing to version 1
aws lambda create-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 1 \\
  --description "Production environment"

# Test PROD alias
aws lambda invoke \\
  --function-name AliasTestFunction:PROD \\
  --payload '{}' \\
  response.json && cat response.json
""")
    assert course.answer()["version"] == 1
    counted = shares(
        course.run(f"""
# Update PROD: 90% Version 1, 10% Version 2
aws lambda update-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 1 \\
  --routing-config AdditionalVersionWeights={{"2"=0.1}}

echo "Starting canary deployment: 90% v1, 10% v2"
echo "Invoking 20 times to see traffic distribution..."
{COUNT_20}""")
    )
    assert counted.total() == 20
    assert counted["1"] >= 8, "fewer has a chance of one in a billion"
    counted = shares(
        course.run(f"""
# Update to 50/50 split
aws lambda update-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 1 \\
  --routing-config AdditionalVersionWeights={{"2"=0.5}}

echo "Increased canary: 50% v1, 50% v2"
echo "Invoking 20 times..."
{COUNT_20}""")
    )
    assert set(counted) == {"1", "2"}
    counted = shares(
        course.run(f"""
# Switch to 100% Version 2
aws lambda update-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 2

echo "Completed migration: 100% v2"
echo "Invoking 10 times..."
{COUNT_20.replace("20", "10")}""")
    )
    assert counted == {"2": 10}
    course.run("""
# Simulate issue with Version 2, rollback to Version 1
echo "Simulating rollback to Version 1..."

aws lambda update-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 1

# Test
aws lambda invoke \\
  --function-name AliasTestFunction:PROD \\
  --payload '{}' \\
  response.json && cat response.json
""")
    assert course.answer()["version"] == 1
    course.run("""
# Delete alias
aws lambda delete-alias \\
  --function-name AliasTestFunction \\
  --name PROD

# Delete versions
aws lambda delete-function --function-name AliasTestFunction:2
aws lambda delete-function --function-name AliasTestFunction:1

# Delete function
aws lambda delete-function --function-name AliasTestFunction

# Remove files
rm function-v*.zip response.json alias_function_v*.py
""")
    assert course.json("aws lambda list-functions") == {"Functions": []}


def test_exercise_with_aliases_as_on_aws(exercise: Callable[..., Any]) -> None:
    """
    Without the setting.
    1. The step that names version 2 and says nothing of routing is refused; with an empty routing it is done.
    2. A version that an alias leads to is not deleted.
    """
    course = exercise()
    two_versions(course)
    course.run("""
aws lambda create-alias --function-name AliasTestFunction --name PROD --function-version 1 \\
  --routing-config AdditionalVersionWeights={"2"=0.5}
""")
    step = """
aws lambda update-alias \\
  --function-name AliasTestFunction \\
  --name PROD \\
  --function-version 2
"""
    refused = course.run(step, fails=True)
    assert "Function version 2 is already included in routing configuration." in refused
    refused = course.run("aws lambda delete-function --function-name AliasTestFunction:2", fails=True)
    assert "the following aliases reference it: [PROD]" in refused
    assert "RoutingConfig" not in course.json(f"{step.rstrip()} --routing-config '{{}}'")


def test_concurrency_of_functions(exercise: Callable[..., Any]) -> None:
    """Reserved and provisioned concurrency are taken, and a function is switched off.

    Of the hundred and fifty environments to be initialised ahead, there is room for four here.
    """
    course = exercise("--max-environments", "4")
    my_function(course, 1)
    for name in ("PaymentAPI", "UserAPI", "BuggyFunction"):
        course.run(f"""
aws lambda create-function --function-name {name} --runtime python3.9 --handler index.lambda_handler \\
  --role arn:aws:iam::123456789012:role/lambda-role --zip-file fileb://new-code.zip --publish
""")
    for name in ("MyFunction", "UserAPI"):
        course.run(f"aws lambda create-alias --function-name {name} --name PROD --function-version 1")
    course.run("""
aws lambda put-function-concurrency \\
  --function-name MyFunction \\
  --reserved-concurrent-executions 200
""")
    printed = """
# Must be set on alias or version, NOT $LATEST
aws lambda put-provisioned-concurrency-config \\
  --function-name MyFunction:PROD \\
  --provisioned-concurrent-executions 2
"""
    assert "the following arguments are required: --qualifier" in course.run(printed, fails=True)
    assert (
        course.json(f"{printed.rstrip()} --qualifier PROD")["RequestedProvisionedConcurrentExecutions"] == 2
    )
    ready = "aws lambda get-provisioned-concurrency-config --function-name MyFunction --qualifier PROD"
    looks = (course.json(ready)["Status"] for _ in range(100))
    assert next(status for status in looks if status != "IN_PROGRESS") == "READY"
    course.run("""
# Reserve 300 for payment API (critical)
aws lambda put-function-concurrency \\
  --function-name PaymentAPI \\
  --reserved-concurrent-executions 300
""")
    course.run("""
# Example: User-facing API
aws lambda put-provisioned-concurrency-config \\
  --function-name UserAPI:PROD \\
  --provisioned-concurrent-executions 1 \\
  --qualifier PROD
""")
    off = course.json("""
# Emergency: Disable function completely
aws lambda put-function-concurrency \\
  --function-name BuggyFunction \\
  --reserved-concurrent-executions 0

# No executions allowed (effectively disabled)
""")
    assert off == {"ReservedConcurrentExecutions": 0}


def test_other_services_are_named(exercise: Callable[..., Any]) -> None:
    """Metrics are CloudWatch's, which Berth is not: the CLI shows where to say where that is."""
    course = exercise()
    refused = course.run(
        """
# Check throttles
aws cloudwatch get-metric-statistics \\
  --namespace AWS/Lambda \\
  --metric-name Throttles \\
  --dimensions Name=FunctionName,Value=ConcurrencyTest \\
  --start-time $(date -u -d '5 minutes ago' +%Y-%m-%dT%H:%M:%S) \\
  --end-time $(date -u +%Y-%m-%dT%H:%M:%S) \\
  --period 60 \\
  --statistics Sum
""",
        fails=True,
    )
    assert "Berth answers for Lambda and STS, not for cloudwatch: set AWS_ENDPOINT_URL_CLOUDWATCH" in refused


CONCURRENCY_TEST = """
import json
import time

def lambda_handler(event, context):
    duration = event.get('duration', 10)

    print(f"Starting execution, will run for {duration} seconds")
    time.sleep(duration)
    print("Execution complete")

    return {
        'statusCode': 200,
        'body': json.dumps({
            'message': f'Completed after {duration} seconds',
            'requestId': context.aws_request_id
        })
    }
"""


def test_exercise_with_concurrency(exercise: Callable[..., Any]) -> None:
    """A function is limited, invoked ten times at once, and given back to what all share."""
    course = exercise()
    course.write("concurrency_test.py", CONCURRENCY_TEST)
    course.run("""
# Deploy function
zip concurrency-test.zip concurrency_test.py

ACCOUNT_ID=$(aws sts get-caller-identity --query Account --output text)

aws lambda create-function \\
  --function-name ConcurrencyTest \\
  --runtime python3.9 \\
  --role arn:aws:iam::${ACCOUNT_ID}:role/MyFirstLambdaRole \\
  --handler concurrency_test.lambda_handler \\
  --timeout 30 \\
  --zip-file fileb://concurrency-test.zip
""")
    limited = course.run("""
# Limit to 3 concurrent executions
aws lambda put-function-concurrency \\
  --function-name ConcurrencyTest \\
  --reserved-concurrent-executions 3

echo "Reserved concurrency set to 3"
""")
    assert '"ReservedConcurrentExecutions": 3' in limited
    seen = course.run("""
set +o pipefail  # the exercise's own `wait` waits for nobody, so it looks for files that are still to come
# Invoke 10 functions in parallel (each runs for 10 seconds)
echo "Invoking 10 functions concurrently..."
echo "Expected: 3 succeed immediately, 7 throttled or queued"

for i in {1..10}; do
  (
    aws lambda invoke \\
      --function-name ConcurrencyTest \\
      --invocation-type RequestResponse \\
      --payload '{"duration": 10}' \\
      response-${i}.json 2>&1 | grep -E "(StatusCode|TooManyRequests)" &
  )
done

wait

echo "Checking responses..."
ls response-*.json 2>/dev/null | wc -l
""")
    done, throttled = seen.count('"StatusCode": 200'), seen.count("TooManyRequestsException")
    assert done + throttled == 10
    assert done >= 3  # more where the CLI takes longer to start than a function to end
    assert throttled > 0
    course.run("""
# Remove reserved concurrency (back to unreserved)
aws lambda delete-function-concurrency \\
  --function-name ConcurrencyTest

echo "Concurrency limit removed, now using shared pool"
""")
    course.run("""
# Delete function
aws lambda delete-function --function-name ConcurrencyTest

# Remove files
rm concurrency-test.zip concurrency_test.py response-*.json 2>/dev/null
""")
