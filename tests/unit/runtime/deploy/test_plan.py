"""Whole templates: what they come to, in which order, and what is wrong with them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.deploy.documents import parse
from runtime.deploy.errors import TemplateError
from runtime.deploy.plan import Plan, make_plan
from runtime.deploy.template import Stack
from runtime.deploy.wanted import (
    DEFAULTS,
    AliasWanted,
    Build,
    FunctionWanted,
    LayerWanted,
    Source,
    StoredObject,
    VersionWanted,
)

STACK = Stack("demo", "123456789012", "eu-central-1")
ARN = "arn:aws:lambda:eu-central-1:123456789012"
FUNCTION = "Runtime: python3.11\n      Handler: app.handler\n      CodeUri: src"
TYPES = [
    *("AWS::Serverless::Function", "AWS::Lambda::Function", "AWS::Lambda::Version", "AWS::Lambda::Alias"),
    *("AWS::Serverless::LayerVersion", "AWS::Lambda::LayerVersion", "AWS::SQS::Queue"),
]


def plan(text: str, **given: str) -> Plan:
    return make_plan(parse(text), STACK, given)


def function(text: str = "", rest: str = "", **given: str) -> FunctionWanted:
    """The function F of a template with these further properties and sections."""
    template = f"Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      {FUNCTION}\n"
    wanted = plan(f"{template}{text}\n{rest}", **given).wanted("F", {})
    assert isinstance(wanted, FunctionWanted)
    return wanted


def test_a_plain_function_has_defaults() -> None:
    """Name from stack and identifier, a role that is none, Lambda's defaults, the stack's tags."""
    wanted = function()
    assert wanted.name == "demo-F"
    assert wanted.configuration == DEFAULTS | {
        "Runtime": "python3.11",
        "Handler": "app.handler",
        "Role": "arn:aws:iam::123456789012:role/demo-FRole",
    }
    assert wanted.source == Source(("Resources", "F", "Properties", "CodeUri"), "src")
    assert wanted.tags == {"berth:stack": "demo", "berth:logical-id": "F"}
    assert wanted.alias is None


@pytest.mark.parametrize(
    ("kind", "properties", "version"),
    [
        ("Serverless::Function", "Runtime: r\n      Handler: h\n      CodeUri: s3://b/a/k.zip", None),
        (
            "Serverless::Function",
            "Runtime: r\n      Handler: h\n      CodeUri: {Bucket: b, Key: a/k.zip, Version: '3'}",
            "3",
        ),
        (
            "Lambda::Function",
            "Runtime: r\n      Handler: h\n      Code: {S3Bucket: b, S3Key: a/k.zip, S3ObjectVersion: v}",
            "v",
        ),
        ("Lambda::LayerVersion", "Content: {S3Bucket: b, S3Key: a/k.zip}", None),
        ("Serverless::LayerVersion", "ContentUri: s3://b/a/k.zip", None),
        ("Serverless::LayerVersion", "ContentUri: {Bucket: b, Key: a/k.zip}", None),
    ],
)
def test_packages_in_s3(kind: str, properties: str, version: str | None) -> None:
    """In each form that SAM and CloudFormation have for them."""
    text = f"Resources:\n  F:\n    Type: AWS::{kind}\n    Properties:\n      {properties}\n"
    [source] = plan(text).sources
    assert (source.path, source.object) == (None, StoredObject("b", "a/k.zip", version))


@pytest.mark.parametrize(
    ("text", "member", "value"),
    [
        ("FunctionName: !Sub '${AWS::StackName}-x'", "", "demo-x"),
        ("Role: !GetAtt R.Arn", "Role", "arn:aws:iam::123456789012:role/demo-R"),
        ("MemorySize: !FindInMap [Sizes, !Ref Stage, Memory]", "MemorySize", 256),
        ("Timeout: !If [IsProd, 60, !Ref AWS::NoValue]", "Timeout", 3),
        ("Architectures: [arm64]", "Architectures", ["arm64"]),
        ("EphemeralStorage: {Size: 1024}", "EphemeralStorage", {"Size": 1024}),
        ("Tracing: Active", "TracingConfig", {"Mode": "Active"}),
        ("Tracing: Disabled", "TracingConfig", {"Mode": "PassThrough"}),
        ("SnapStart: {ApplyOn: PublishedVersions}", "SnapStart", {"ApplyOn": "PublishedVersions"}),
        ("KmsKeyArn: arn:k", "KMSKeyArn", "arn:k"),
        (
            "DeadLetterQueue: {Type: SQS, TargetArn: !GetAtt Q.Arn}",
            "DeadLetterConfig",
            {"TargetArn": "arn:aws:sqs:eu-central-1:123456789012:jobs"},
        ),
        (
            "LoggingConfig: {LogFormat: JSON, ApplicationLogLevel: DEBUG}",
            "LoggingConfig",
            {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
        ),
        ("Layers: [!Ref L, 'arn:x']", "Layers", [f"{ARN}:layer:demo-L:7", "arn:x"]),
        (
            "Environment: {Variables: {Q: !Ref Q, T: !GetAtt T.StreamArn, B: !Ref B, S: !Ref S, N: 010, D: true, A: !Sub 'https://${ServerlessRestApi}.x'}}",
            "Environment",
            {
                "Variables": {
                    "Q": "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs",
                    "T": "arn:aws:dynamodb:eu-central-1:123456789012:table/demo-T/stream/berth",
                    "B": "demo-b",
                    "S": "arn:aws:sns:eu-central-1:123456789012:demo-S",
                    "N": "010",
                    "D": "true",
                    "A": "https://demo-ServerlessRestApi.x",
                }
            },
        ),
        (
            "Environment: {Variables: {R: !GetAtt FRole.Arn}}",
            "Environment",
            {"Variables": {"R": "arn:aws:iam::123456789012:role/demo-FRole"}},
        ),
    ],
)
def test_properties_become_members(text: str, member: str, value: Any) -> None:
    """Each property, worked out, as the API's member; what is not done here has a likely name or ARN."""
    rest = """
  L: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer}}
  Q: {Type: AWS::SQS::Queue, Properties: {QueueName: jobs}}
  T: {Type: AWS::DynamoDB::Table}
  B: {Type: AWS::S3::Bucket}
  S: {Type: AWS::SNS::Topic, Properties: {TopicName: !Ref Q}}
  R: {Type: AWS::IAM::Role}
Mappings: {Sizes: {dev: {Memory: 256}}}
Parameters: {Stage: {Type: String, Default: dev}}
Conditions: {IsProd: !Equals [!Ref Stage, prod]}
"""
    template = f"Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      {FUNCTION}\n      {text}{rest}"
    wanted = plan(template).wanted("F", {"L": {"Ref": f"{ARN}:layer:demo-L:7"}})
    assert isinstance(wanted, FunctionWanted)
    assert (wanted.configuration[member] if member else wanted.name) == value


def test_lambdas_own_function() -> None:
    """CloudFormation's form of the same: tags as a list, tracing as a map, code in the template."""
    wanted = plan(
        """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties:
      Runtime: nodejs22.x
      Handler: index.handler
      Role: arn:aws:iam::1:role/x
      Code: {ZipFile: "exports.handler = 1"}
      TracingConfig: {Mode: Active}
      Tags: [{Key: a, Value: 1}]
"""
    ).wanted("F", {})
    assert isinstance(wanted, FunctionWanted)
    assert wanted.configuration["TracingConfig"] == {"Mode": "Active"}
    assert (wanted.source.file, wanted.source.inline) == ("index.js", "exports.handler = 1")
    assert wanted.tags["a"] == "1"


def test_globals_are_of_serverless_functions() -> None:
    """They are under a function's own properties, and no concern of CloudFormation's function."""
    made = plan(
        f"""
Globals:
  Function:
    {FUNCTION.replace("      ", "    ")}
    Environment: {{Variables: {{A: 1, B: 1}}}}
Resources:
  F: {{Type: AWS::Serverless::Function, Properties: {{Environment: {{Variables: {{B: 2}}}}}}}}
  G: {{Type: AWS::Serverless::Function}}
  H: {{Type: AWS::Lambda::Function, Properties: {{Runtime: python3.11, Handler: a.b, Code: x}}}}
"""
    )
    variables = [made.wanted(each, {}).configuration["Environment"]["Variables"] for each in "FGH"]  # type: ignore[union-attr]
    assert variables == [{"A": "1", "B": "2"}, {"A": "1", "B": "1"}, {}]


WEIGHTED = f"""
Resources:
  Live:
    Type: AWS::Lambda::Alias
    Properties:
      Name: live
      FunctionName: !GetAtt F.Arn
      FunctionVersion: !GetAtt V2.Version
      RoutingConfig: {{AdditionalVersionWeights: [{{FunctionVersion: !GetAtt V1.Version, FunctionWeight: 0.1}}]}}
  V2: {{Type: AWS::Lambda::Version, DependsOn: V1, Properties: {{FunctionName: !Ref F, Description: second}}}}
  V1: {{Type: AWS::Lambda::Version, Properties: {{FunctionName: !Ref F}}}}
  F:
    Type: AWS::Serverless::Function
    Properties:
      {FUNCTION}
      Layers: [!Ref L]
      AutoPublishAlias: auto
  L: {{Type: AWS::Lambda::LayerVersion, Properties: {{Content: layer.zip, LayerName: words, CompatibleRuntimes: [python3.11]}}}}
Outputs:
  Auto: {{Value: !Ref F.Alias}}
  Version: {{Value: !Ref F.Version}}
  Made: {{Value: !Ref FAliasauto}}
  Live: {{Value: !Ref Live}}
  V1: {{Value: !Ref V1}}
"""


def test_references_decide_the_order() -> None:
    """Layer, function, versions, alias; each is told what those before it became."""
    made = plan(WEIGHTED)
    assert made.order == ("L", "F", "V1", "V2", "Live")
    known = {
        "V1": {"Version": "4"},
        "V2": {"Version": "5"},
        "F": {"Arn": f"{ARN}:function:demo-F", "Ref": "demo-F"},
    }
    assert made.wanted("Live", known) == AliasWanted("demo-F", "live", "5", "", {"4": 0.1})
    assert made.wanted("V2", known) == VersionWanted("demo-F", "second [demo/V2]", "[demo/V2]")
    assert made.wanted("V1", known) == VersionWanted("demo-F", "[demo/V1]", "[demo/V1]")
    layer = made.wanted("L", {})
    assert isinstance(layer, LayerWanted)
    assert (layer.name, layer.source.path, layer.details["CompatibleRuntimes"]) == (
        "words",
        "layer.zip",
        ["python3.11"],
    )
    assert [source.path for source in made.sources] == ["layer.zip", "src"]


def test_outputs_are_worked_out() -> None:
    """SAM's names for what a function publishes included; an output whose condition fails is none."""
    known = {
        "F": {"Alias": "alias", "Version": "version"},
        "Live": {"Ref": "live"},
        "V1": {"Ref": "v1"},
    }
    no = "  No: {Condition: Never, Value: !Ref Missing}\nConditions: {Never: !Equals [a, b]}"
    assert plan(WEIGHTED + no).outputs(known) == {
        "Auto": "alias",
        "Version": "version",
        "Made": "alias",
        "Live": "live",
        "V1": "v1",
    }


def test_what_is_not_done_is_told_once() -> None:
    """One line for each resource and property that is left out, none for permissions; nothing in them is looked at."""
    made = plan(
        f"""
Resources:
  F:
    Type: AWS::Serverless::Function
    Properties:
      {FUNCTION}
      Events: {{Api: {{Type: Api, Properties: {{X: !Cidr [a]}}}}}}
      Policies: [{{Fn::Transform: x}}]
      VpcConfig: {{SubnetIds: [!Ref Missing]}}
  G:
    Type: AWS::Serverless::Function
    DependsOn: [Table]
    Properties:
      {FUNCTION}
      VpcConfig: {{}}
  Table: {{Type: AWS::DynamoDB::Table, Properties: {{TableName: !Cidr [a]}}}}
  Never: {{Type: AWS::DynamoDB::Table, Condition: Missed}}
  Role: {{Type: AWS::IAM::Role}}
Conditions: {{Missed: !Equals [a, b]}}
"""
    )
    assert made.warnings == (
        "Table (AWS::DynamoDB::Table): not done here; a placeholder stands for it",
        "Events of F: left out",
        "VpcConfig of F, G: left out",
    )
    assert made.order == ("F", "G")


def test_conditions_leave_resources_out() -> None:
    """A resource whose condition fails is not there, and whoever needs it is told so."""
    template = f"""
Parameters: {{Stage: {{Type: String, Default: dev}}}}
Conditions: {{IsProd: !Equals [!Ref Stage, prod]}}
Resources:
  F: {{Type: AWS::Serverless::Function, Condition: IsProd, Properties: {{Runtime: r, Handler: h, CodeUri: c}}}}
  G:
    Type: AWS::Serverless::Function
    Properties:
      {FUNCTION}
      Environment: {{Variables: {{F: !Ref F}}}}
"""
    assert plan(template, Stage="prod").order == ("F", "G")
    with pytest.raises(TemplateError, match="F is left out by its condition"):
        plan(template)


@pytest.mark.parametrize(
    ("declared", "given", "value"),
    [
        ("Type: String, Default: a", None, "a"),
        ("Type: String, Default: a", "b", "b"),
        ("Type: Number, Default: 5", None, "5"),
        ("Type: CommaDelimitedList, Default: 'a, b'", None, ["a", "b"]),
        ("Type: List<Number>", "1,2", ["1", "2"]),
        ("Type: AWS::SSM::Parameter::Value<String>, Default: /a/b", None, "/a/b"),
        ("Type: String, AllowedValues: [a, b]", "b", "b"),
        ("Type: String, MinLength: 2, MaxLength: 3, AllowedPattern: '[a-c]+'", "abc", "abc"),
    ],
)
def test_parameters_have_values(declared: str, given: str | None, value: Any) -> None:
    """The given one, else the default; lists where the type says so."""
    layers = "      Layers: !If [Yes, !Ref P, []]" if isinstance(value, list) else "      Description: !Ref P"
    rest = f"Parameters: {{P: {{{declared}}}}}\nConditions: {{Yes: !Equals [a, a]}}".replace("Yes", "Sure")
    configuration = function(
        layers.replace("Yes", "Sure"), rest, **({"P": given} if given else {})
    ).configuration
    assert configuration["Layers" if isinstance(value, list) else "Description"] == value


@pytest.mark.parametrize(
    ("declared", "given", "words"),
    [
        ("Type: String", {}, "P: has no default: give it with --parameter P=VALUE"),
        ("Type: String", {"P": "a", "Q": "b"}, "the template has no parameter Q"),
        ("Type: Number", {"P": "x"}, "'x' is not a number"),
        ("Type: Number, MaxValue: 5", {"P": "6"}, "6 is beyond MaxValue 5"),
        ("Type: String, MinLength: 2", {"P": "a"}, "the length of 'a' is beyond MinLength 2"),
        ("Type: String, AllowedValues: [a, b]", {"P": "c"}, "'c' is not one of a, b"),
        ("Type: String, AllowedPattern: '[a-c]'", {"P": "d"}, "'d' does not match"),
        ("Type: String, AllowedPattern: '['", {"P": "d"}, "cannot be read as a pattern"),
        ("Type: String, Default: [a]", {}, "Default: a text is wanted"),
    ],
)
def test_bad_parameters_are_refused(declared: str, given: dict[str, str], words: str) -> None:
    """In a line that says which and why."""
    with pytest.raises(TemplateError, match=words.replace("[", r"\[")):
        function("", f"Parameters: {{P: {{{declared}}}}}", **given)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("Recources: {}", "Recources: is not a section"),
        ("Resources:", "Resources: the template has none"),
        ("Resources: [a]", "Resources: a map is wanted"),
        ("Resources: {A: {}}", "Resources.A: a resource has a Type"),
        ("Resources: {A-B: {Type: T}}", "letters and digits only"),
        ("Resources: {A: {Type: AWS::Lambda::Version, DependsOn: B}}", "A.DependsOn: there is no resource B"),
        ("Resources: {A: {Type: AWS::Lambda::Version, DependsOn: A}}", "depend on each other: A -> A"),
        ("Resources: {A: {Type: AWS::Lambda::Version, Condition: B}}", "there is no condition B"),
        ("Resources: {A: {Type: AWS::Lambda::Version, Properties: [a]}}", "A.Properties: a map is wanted"),
        ("Resources: {A: {Type: AWS::Lambda::Version}}", "A.Properties: FunctionName is missing"),
        (
            "Resources: {A: {Type: AWS::Lambda::Version, Properties: {FunctionName: f}}}\nOutputs: {O: {Value: [a]}}",
            "Outputs.O.Value: a text is wanted",
        ),
        (
            "Resources: {A: {Type: AWS::Lambda::Version, Properties: {FunctionName: !GetAtt A.Arn}}}",
            "depend on each other",
        ),
    ],
)
def test_bad_templates_are_refused(template: str, words: str) -> None:
    """Before anything is deployed, with the place."""
    with pytest.raises(TemplateError, match=words):
        plan(template)


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ("Timeout: soon", "F.Properties.Timeout: 'soon' is not a whole number"),
        ("Runtime: [a]", "Runtime: a text is wanted"),
        ("Environment: {Variables: {A: [b]}}", "Environment.Variables.A: a text is wanted"),
        ("Environment: {Variables: {A: }}", "Environment.Variables.A: a text is wanted"),
        ("Layers: a", "Layers: a list of texts"),
        ("Tracing: On", "'true' is not one of Active"),
        ("PackageType: Rpm", "'Rpm' is neither Zip nor Image"),
        ("PackageType: Image", "ImageUri is missing, and there are no Metadata"),
        ("CodeUri: s3://b", "CodeUri: 's3://b' is not s3://BUCKET/KEY"),
        ("CodeUri: {Bucket: b}", "CodeUri: Key is missing"),
        ("CodeUri: ", "CodeUri is missing"),
        ('CodeUri: "a\\0b"', "CodeUri: a path is wanted"),
        ("Handler: ", "Handler is missing"),
        (f"FunctionName: {'x' * 65}", "is longer than 64"),
        ("InlineCode: x\n      Runtime: java21", "code in the template is not possible with java21"),
        ("Environment: {Variables: {A: !GetAtt F.Arn}}", "depend on each other: F -> F"),
        ("Environment: {Variables: {A: !GetAtt G.Nope}}", "G has no attribute Nope"),
        ("FunctionName: demo-G", "has the same name as F: demo-G"),
        ("Tags: [{Value: a}]", "Tags.0: Key is missing"),
    ],
)
def test_bad_properties_are_refused(properties: str, words: str) -> None:
    """With resource and property."""
    lines = [line for line in FUNCTION.splitlines() if line.split(":")[0].strip() not in properties]
    text = "\n      ".join([*(line.strip() for line in lines), properties])
    with pytest.raises(TemplateError, match=words):
        plan(
            f"Resources:\n  F:\n    Type: AWS::Serverless::Function\n    Properties:\n      {text}\n"
            f"  G:\n    Type: AWS::Serverless::Function\n    Properties:\n      {FUNCTION}\n"
        )


def test_depth_is_bounded() -> None:
    """A value that is nested beyond reason is an error like others."""
    node: Any = "x"
    for _ in range(2000):
        node = [node]
    resource = {"Type": "AWS::Lambda::Version", "Properties": {"FunctionName": node}}
    with pytest.raises(TemplateError, match="is nested too deeply"):
        make_plan({"Resources": {"A": resource}}, STACK, {})


NAMES = ["A", "B", "AWS::Region", "AWS::NoValue", "A.Arn", "P", "C"]
KEYS = [
    *("Ref", "Fn::GetAtt", "Fn::Sub", "Fn::Join", "Fn::If", "Fn::Select", "Fn::Split", "Fn::FindInMap"),
    *("Fn::Equals", "Fn::Not", "Fn::And", "Condition", "FunctionName", "Runtime", "Handler", "CodeUri"),
    *("Layers", "Environment", "Variables", "Tags", "RoutingConfig", "AdditionalVersionWeights", "Name"),
    *("FunctionVersion", "Code", "ZipFile", "DependsOn", "Type", "Properties", "Default", "Value"),
]
NODES: Any = st.recursive(
    st.sampled_from([None, "", "1", "${A} ${B.Arn}", *NAMES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
RESOURCES = st.fixed_dictionaries(
    {"Type": st.sampled_from(TYPES), "Properties": st.dictionaries(st.sampled_from(KEYS), NODES, max_size=6)},
    optional={"DependsOn": NODES, "Condition": st.sampled_from(["C", "P"])},
)
DOCUMENTS = st.fixed_dictionaries(
    {"Resources": st.fixed_dictionaries({"A": RESOURCES, "B": RESOURCES | NODES})},
    optional={
        "Parameters": st.fixed_dictionaries({"P": NODES | st.just({"Default": "1"})}),
        "Conditions": st.fixed_dictionaries({"C": NODES, "P": NODES}),
        "Mappings": NODES,
        "Outputs": NODES | st.fixed_dictionaries({"O": NODES}),
        "Globals": NODES,
    },
)


@given(DOCUMENTS)
def test_any_document_is_a_plan_or_an_error(document: dict[str, Any]) -> None:
    """Whatever stands in a template, nothing but a TemplateError comes of it."""
    try:
        order = make_plan(document, STACK, {}).order
    except TemplateError:
        return
    assert set(order) <= {"A", "B"}


def test_an_image_that_is_built() -> None:
    """Its metadata say how; what packages have is not looked at, wherever it was said."""
    made = plan(
        """
Globals: {Function: {Runtime: python3.11, Handler: app.handler, Layers: [arn]}}
Parameters: {Level: {Type: String, Default: low}}
Resources:
  Greeter:
    Type: AWS::Serverless::Function
    Properties:
      PackageType: Image
      ImageConfig: {EntryPoint: [/run], Command: [a, b], WorkingDirectory: /app}
    Metadata:
      DockerContext: ./greet
      DockerBuildArgs: {LEVEL: !Ref Level, A: "1"}
      DockerBuildTarget: final
      BuildMethod: whatever
"""
    )
    wanted = made.wanted("Greeter", {})
    assert isinstance(wanted, FunctionWanted)
    assert wanted.source.build == Build(
        repository="demo-greeter",
        tag="latest",
        context="./greet",
        dockerfile="Dockerfile",
        target="final",
        arguments=(("A", "1"), ("LEVEL", "low")),
    )
    assert wanted.source.path == "./greet"
    assert wanted.configuration["PackageType"] == "Image"
    config = {"EntryPoint": ["/run"], "Command": ["a", "b"], "WorkingDirectory": "/app"}
    assert wanted.configuration["ImageConfig"] == config
    assert not {"Runtime", "Handler", "Layers", "SnapStart"} & wanted.configuration.keys()


def test_an_image_that_is_named() -> None:
    """In either form of templates; empty parts of ImageConfig are left to the image."""
    made = plan(
        """
Resources:
  A:
    Type: AWS::Serverless::Function
    Properties: {PackageType: Image, ImageUri: !Sub "team/app:${AWS::Region}", ImageConfig: {Command: []}}
    Metadata: {SamResourceId: A}
  B: {Type: AWS::Lambda::Function, Properties: {PackageType: Image, Code: {ImageUri: "team/app:2"}}}
"""
    )
    for logical_id, uri in (("A", "team/app:eu-central-1"), ("B", "team/app:2")):
        wanted = made.wanted(logical_id, {})
        assert isinstance(wanted, FunctionWanted)
        assert (wanted.source.image, wanted.source.path, wanted.source.build) == (uri, None, None)
        assert wanted.configuration["ImageConfig"] == {}
