"""`berth deploy` against the real REST door: what is deployed, and that it is deployed once."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.api.live_code import LiveCode
from runtime.cli import deploy as command
from runtime.cli import main
from runtime.cli.parser import make_parser
from runtime.deploy.errors import TemplateError
from runtime.deploy.service import Service, Unreachable
from runtime.directories import Directories
from runtime.model import Scope
from runtime.objects import Objects
from tests.helpers.s3 import serving_s3

TEMPLATE = """
Parameters: {Stage: {Type: String, Default: dev}}
Globals:
  Function: {Runtime: python3.11, Handler: app.handler, Timeout: 10, Environment: {Variables: {STAGE: !Ref Stage}}}
Resources:
  Words: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: words, Description: shared}}
  Greet:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: greet
      Layers: [!Ref Words]
      AutoPublishAlias: live
      Tags: {team: a}
  Plain: {Type: AWS::Serverless::Function, Properties: {CodeUri: greet, Handler: app.other}}
Outputs:
  Alias: {Value: !Ref Greet.Alias}
  Layer: {Value: !Ref Words}
"""
WEIGHTED = """
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: {{Runtime: python3.11, Handler: app.handler, Code: greet, MemorySize: {memory}, Role: "arn:aws:iam::123456789012:role/x"}}
  V1: {{Type: AWS::Lambda::Version, Properties: {{FunctionName: !Ref F, Description: first}}}}
  {second}
  Live:
    Type: AWS::Lambda::Alias
    Properties: {{FunctionName: !Ref F, Name: live, FunctionVersion: !GetAtt {version}.Version{routing}}}
"""
ARN = "arn:aws:lambda:us-east-1:123456789012"
Deploys = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A template with its code."""
    folder = tmp_path / "shop"
    for path in ("greet/app.py", "words/python/words.py"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text("x = 1\n")
    (folder / "template.yaml").write_text(TEMPLATE)
    return folder


@pytest.fixture
def deploy(door: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> Deploys:
    """The command, from the folder's template; exit code, stdout, stderr."""

    async def run(*arguments: str) -> tuple[int, str, str]:
        template = ("--template", str(folder / "template.yaml"))
        code = await door.aside(main, ["deploy", *template, "--url", door.url, *arguments])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return run


def write_anew(folder: Path) -> None:
    for file in folder.glob("**/*.py"):
        file.write_bytes(file.read_bytes())


async def actions(deploy: Deploys, *arguments: str) -> dict[str, str]:
    """What became of each resource."""
    code, out, err = await deploy("--json", *arguments)
    assert code == 0, err
    return {each["logical_id"]: each["action"] for each in json.loads(out)["resources"]}


async def test_a_template_is_deployed(door: Any, deploy: Deploys) -> None:
    """Functions with everything that was said of them, the layer, the published version and its alias."""
    code, out, err = await deploy()
    assert code == 0
    assert out == (
        "RESOURCE  RESULT               NAME\n"
        "Words     published            shop-Words\n"
        "Greet     created (live -> 1)  shop-Greet\n"
        "Plain     created              shop-Plain\n"
        "\n"
        "OUTPUT  VALUE\n"
        f"Alias   {ARN}:function:shop-Greet:live\n"
        f"Layer   {ARN}:layer:shop-Words:1\n"
    )
    assert err.splitlines() == [
        "Words: publishing layer shop-Words",
        "Greet: creating function shop-Greet",
        "Greet: publishing a version of shop-Greet",
        "Greet: pointing shop-Greet:live to version 1",
        "Plain: creating function shop-Plain",
    ]
    found = await door.call("get_function", FunctionName="shop-Greet", Qualifier="live")
    told = found["Configuration"]
    assert (told["Version"], told["Timeout"], told["Handler"]) == ("1", 10, "app.handler")
    assert told["Environment"] == {"Variables": {"STAGE": "dev"}}
    assert [layer["Arn"] for layer in told["Layers"]] == [f"{ARN}:layer:shop-Words:1"]
    assert told["Role"] == "arn:aws:iam::123456789012:role/shop-GreetRole"
    assert found["Tags"] == {"team": "a", "berth:stack": "shop", "berth:logical-id": "Greet"}


async def test_a_second_run_changes_nothing(door: Any, deploy: Deploys, folder: Path) -> None:
    """Everything is unchanged, not a revision is another; so too where the files were written anew."""
    await deploy()
    before = [
        await door.call("list_functions", FunctionVersion="ALL"),
        await door.call("get_alias", FunctionName="shop-Greet", Name="live"),
        await door.call("list_layer_versions", LayerName="shop-Words"),
    ]
    write_anew(folder)
    code, out, err = await deploy("--json")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert {each["action"] for each in document["resources"]} == {"unchanged"}
    assert document["outputs"]["Layer"] == f"{ARN}:layer:shop-Words:1"
    assert (document["left"], document["warnings"]) == ([], [])
    after = [
        await door.call("list_functions", FunctionVersion="ALL"),
        await door.call("get_alias", FunctionName="shop-Greet", Name="live"),
        await door.call("list_layer_versions", LayerName="shop-Words"),
    ]
    for one, other in zip(before, after, strict=True):
        one.pop("ResponseMetadata"), other.pop("ResponseMetadata")
    assert before == after


async def test_only_what_has_changed_is_deployed(door: Any, deploy: Deploys, folder: Path) -> None:
    """
    1. A variable changes; then the code; then the layer; then all goes back to before.
    Result: each time exactly what depends on it is updated, and a version published of what has an alias.
    """
    await deploy()
    assert await actions(deploy, "--parameter", "Stage=prod") == {
        "Words": "unchanged",
        "Greet": "updated",
        "Plain": "updated",
    }
    (folder / "greet/app.py").write_text("x = 2\n")
    assert (await actions(deploy))["Words"] == "unchanged"
    alias = await door.call("get_alias", FunctionName="shop-Greet", Name="live")
    assert alias["FunctionVersion"] == "3"
    (folder / "words/python/words.py").write_text("x = 2\n")
    _, out, _ = await deploy()
    assert out.splitlines()[1:4] == [
        "Words     published                    shop-Words",
        "Greet     updated (Layers, live -> 4)  shop-Greet",
        "Plain     unchanged                    shop-Plain",
    ]
    (folder / "template.yaml").write_text(
        TEMPLATE.replace("Timeout: 10, ", "").replace("Layers: [!Ref Words]", "")
    )
    _, out, _ = await deploy()
    assert "updated (Layers, Timeout, live -> 5)" in out
    told = await door.call("get_function_configuration", FunctionName="shop-Greet")
    assert (told["Timeout"], told.get("Layers")) == (3, None)


async def test_an_interrupted_run_is_taken_up(door: Any, deploy: Deploys) -> None:
    """Where the last run got no further than the function, the next one publishes; and an alias that was moved goes back."""
    await deploy()
    await door.call("update_function_configuration", FunctionName="shop-Greet", Timeout=20)
    await door.wait("function_updated_v2", "shop-Greet")
    await door.call("update_function_configuration", FunctionName="shop-Greet", Timeout=10, Description="hi")
    await door.wait("function_updated_v2", "shop-Greet")
    assert (await actions(deploy))["Greet"] == "updated"
    await door.call("publish_version", FunctionName="shop-Greet")
    await door.call(
        "update_alias",
        FunctionName="shop-Greet",
        Name="live",
        FunctionVersion="$LATEST",
    )
    assert (await actions(deploy))["Greet"] == "updated"
    alias = await door.call("get_alias", FunctionName="shop-Greet", Name="live")
    assert alias["FunctionVersion"] != "$LATEST"


async def test_an_alias_may_follow_a_version_with_words_of_its_own(door: Any, deploy: Deploys) -> None:
    """Where the alias leads to what the function is, whatever that version is called, nothing has changed."""
    await deploy()
    await door.call("update_function_configuration", FunctionName="shop-Greet", Timeout=20)
    await door.wait("function_updated_v2", "shop-Greet")
    await door.call("publish_version", FunctionName="shop-Greet")
    await door.call("update_function_configuration", FunctionName="shop-Greet", Timeout=10)
    await door.wait("function_updated_v2", "shop-Greet")
    made = await door.call("publish_version", FunctionName="shop-Greet", Description="by hand")
    await door.call("update_alias", FunctionName="shop-Greet", Name="live", FunctionVersion=made["Version"])
    assert set((await actions(deploy)).values()) == {"unchanged"}
    listed = await door.call("list_versions_by_function", FunctionName="shop-Greet")
    assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "1", "2", "3"]


async def test_a_dry_run_says_what_would_be(door: Any, deploy: Deploys, folder: Path) -> None:
    """Before and after a deployment, and it touches nothing."""
    code, out, err = await deploy("--dry-run", "--prune")
    assert (code, err) == (0, "")
    assert "Words     would be published" in out
    assert "Greet     would be created (live -> 1)" in out
    assert (await door.call("list_functions"))["Functions"] == []
    await deploy()
    (folder / "words/python/words.py").write_text("x = 2\n")
    _, out, _ = await deploy("--dry-run")
    assert "would be updated (Layers, live -> 2)" in out
    assert f"{ARN}:layer:shop-Words:2" in out
    assert len((await door.call("list_layer_versions", LayerName="shop-Words"))["LayerVersions"]) == 1


async def test_what_left_the_template_stays_until_pruned(door: Any, deploy: Deploys, folder: Path) -> None:
    """Functions of the stack and aliases of its functions are named, and deleted only when asked; others are let be."""
    await deploy()
    await door.created("theirs")
    (folder / "template.yaml").write_text(
        TEMPLATE.replace("Alias: live", "Alias: next").replace("Plain:", "Simple:")
    )
    _, out, _ = await deploy()
    assert out.endswith("\nnot in the template (--prune deletes): shop-Greet:live, shop-Plain\n")
    _, out, _ = await deploy("--prune", "--dry-run")
    assert out.endswith("\nwould be deleted: shop-Greet:live, shop-Plain\n")
    _, out, err = await deploy("--prune")
    assert out.endswith("\ndeleted: shop-Greet:live, shop-Plain\n")
    assert err == "shop: deleting shop-Greet:live\nshop: deleting shop-Plain\n"
    names = [each["FunctionName"] for each in (await door.call("list_functions"))["Functions"]]
    assert names == ["shop-Greet", "shop-Simple", "theirs"]
    listed = await door.call("list_aliases", FunctionName="shop-Greet")
    assert [each["Name"] for each in listed["Aliases"]] == ["next"]


async def test_versions_and_a_weighted_alias(door: Any, deploy: Deploys, folder: Path) -> None:
    """
    1. A function with a version and an alias is deployed twice.
    2. The function changes; then a second version gets a tenth, by another resource.
    Result: a version stays what it was when it was published, under its resource's name; the alias has both.
    """
    template = folder / "template.yaml"
    template.write_text(WEIGHTED.format(memory=128, second="", version="V1", routing=""))
    assert await actions(deploy) == {"F": "created", "V1": "published", "Live": "created"}
    assert set((await actions(deploy)).values()) == {"unchanged"}
    template.write_text(WEIGHTED.format(memory=256, second="", version="V1", routing=""))
    assert await actions(deploy) == {"F": "updated", "V1": "unchanged", "Live": "unchanged"}
    template.write_text(
        WEIGHTED.format(
            memory=256,
            second="V2: {Type: AWS::Lambda::Version, Properties: {FunctionName: !Ref F}}",
            version="V1",
            routing=", RoutingConfig: {AdditionalVersionWeights: [{FunctionVersion: !GetAtt V2.Version, FunctionWeight: 0.1}]}",
        )
    )
    assert await actions(deploy) == {
        "F": "unchanged",
        "V1": "unchanged",
        "V2": "published",
        "Live": "updated",
    }
    assert set((await actions(deploy)).values()) == {"unchanged"}
    alias = await door.call("get_alias", FunctionName="shop-F", Name="live")
    assert (alias["FunctionVersion"], alias["RoutingConfig"]) == (
        "1",
        {"AdditionalVersionWeights": {"2": 0.1}},
    )
    first = await door.call("get_function_configuration", FunctionName="shop-F", Qualifier="1")
    assert (first["MemorySize"], first["Description"]) == (128, "first [shop/V1]")
    template.write_text(WEIGHTED.format(memory=256, second="", version="V1", routing=""))
    assert (await actions(deploy))["Live"] == "updated"
    assert "RoutingConfig" not in await door.call("get_alias", FunctionName="shop-F", Name="live")


async def test_refusals_name_their_place(door: Any, deploy: Deploys, folder: Path) -> None:
    """Mistakes in the template, packages that are not there, the API's own words: one line, with file, line and resource."""
    template = folder / "template.yaml"

    async def error(text: str) -> str:
        template.write_text(text)
        code, out, err = await deploy()
        assert (code, out) == (2, "")
        return err.splitlines()[-1]

    assert await error(TEMPLATE.replace("CodeUri: greet\n", "CodeUri: nowhere\n")) == (
        f"berth: {template}:10: Resources.Greet.Properties.CodeUri: "
        f"cannot read {folder}/nowhere: No such file or directory"
    )
    assert (await door.call("list_layers"))["Layers"] == []
    assert await error(TEMPLATE.replace("Timeout: 10", "Timeout: soon")) == (
        f"berth: {template}:4: Resources.Greet.Properties.Timeout: 'soon' is not a whole number"
    )
    assert (
        await error("Resources: [")
        == f"berth: {template}:1: is not YAML: expected the node content, but found '<stream end>'"
    )
    assert await error(TEMPLATE.replace("python3.11", "cobol1")) == (
        f"berth: {template}:7: Resources.Greet: InvalidParameterValueException: Value cobol1 at 'runtime' failed to "
        "satisfy constraint: Member must satisfy enum value set: ["
        + (await runtimes(door))
        + "] or be a valid ARN"
    )
    template.write_text(TEMPLATE)
    door.readiness.fail("InvalidRuntime", "no image can be had")
    assert (await error(TEMPLATE)).endswith(
        ":7: Resources.Greet: shop-Greet cannot run: InvalidRuntime: no image can be had"
    )
    door.readiness.failure = None
    assert (await actions(deploy))["Greet"] == "created"


async def runtimes(door: Any) -> str:
    """The enum that the API quotes."""
    _, _, text = await door.refused(
        "create_function", FunctionName="f", Runtime="cobol1", Handler="h", Code={"ZipFile": b""}, Role=ROLE
    )
    return str(text.partition("[")[2].partition("]")[0])


ROLE = "arn:aws:iam::123456789012:role/x"


BROKEN = TEMPLATE.replace("Handler: app.other}", "Runtime: cobol1}, DependsOn: Greet")
"""The last resource cannot be deployed."""


def changed(folder: Path, text: str) -> None:
    """Everything about the stack is another, and its template is this."""
    (folder / "words/python/words.py").write_text("x = 2\n")
    (folder / "greet/app.py").write_text("x = 2\n")
    for old, new in (("Timeout: 10", "Timeout: 20"), ("team: a", "team: b, more: c")):
        text = text.replace(old, new)
    (folder / "template.yaml").write_text(text)


async def state(door: Any) -> Any:
    """Of everything that is deployed, as the API tells it."""
    functions = {}
    for name in ("shop-Greet", "shop-Plain"):
        found = await door.call("get_function", FunctionName=name)
        told = {
            key: value
            for key, value in found["Configuration"].items()
            if key not in ("LastModified", "RevisionId")
        }
        functions[name] = (told, found["Tags"])
    aliases = await door.call("list_aliases", FunctionName="shop-Greet")
    versions = await door.call("list_versions_by_function", FunctionName="shop-Greet")
    layers = await door.call("list_layer_versions", LayerName="shop-Words")
    return (
        functions,
        [(each["Name"], each["FunctionVersion"]) for each in aliases["Aliases"]],
        [each["Version"] for each in versions["Versions"]],
        [each["Version"] for each in layers["LayerVersions"]],
    )


async def test_a_run_that_fails_is_taken_back(door: Any, deploy: Deploys, folder: Path) -> None:
    """
    1. A stack is deployed; then everything about it changes, and its last resource cannot be deployed.
    Result: each change is taken back in reverse, and everything is as it was.
    """
    await deploy()
    before = await state(door)
    changed(folder, BROKEN)
    code, out, err = await deploy()
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert [line for line in lines if "again" in line or "back" in line or "deleting" in line] == [
        "Plain: putting back the code of shop-Plain",
        "Greet: pointing shop-Greet:live to version 1 again",
        "Greet: deleting version 2 of shop-Greet",
        "Greet: putting back the tags of shop-Greet",
        "Greet: putting back the configuration of shop-Greet: Layers, Timeout",
        "Greet: putting back the code of shop-Greet",
        "Words: deleting version 2 of layer shop-Words",
    ]
    assert "Resources.Plain: InvalidParameterValueException" in lines[-1]
    assert await state(door) == before


async def test_what_a_failed_run_created_is_deleted(door: Any, deploy: Deploys, folder: Path) -> None:
    """Functions, versions, aliases and layers."""
    (folder / "template.yaml").write_text(BROKEN)
    code, _, err = await deploy()
    assert (code, "Greet: deleting alias shop-Greet:live\n" in err) == (2, True)
    assert (await door.call("list_functions"))["Functions"] == []
    assert (await door.call("list_layers"))["Layers"] == []


async def test_a_failed_run_can_be_let_be(door: Any, deploy: Deploys, folder: Path) -> None:
    """With `--no-rollback` what was done stays, and the next run goes on from there."""
    await deploy()
    changed(folder, BROKEN)
    code, _, err = await deploy("--no-rollback")
    assert (code, "back" in err) == (2, False)
    told = await door.call("get_function_configuration", FunctionName="shop-Greet", Qualifier="live")
    assert (told["Timeout"], told["Version"]) == (20, "2")
    changed(folder, TEMPLATE)
    assert await actions(deploy) == {"Words": "unchanged", "Greet": "unchanged", "Plain": "updated"}


async def test_what_cannot_be_taken_back_is_told(
    door: Any, deploy: Deploys, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the rest is taken back nevertheless."""

    def download(self: Service, url: str) -> bytes:
        raise TemplateError("it is gone")

    await deploy()
    monkeypatch.setattr(Service, "download", download)
    changed(folder, BROKEN)
    _, _, err = await deploy()
    assert "Greet: putting back the code of shop-Greet failed: it is gone\n" in err
    told = await door.call("get_function_configuration", FunctionName="shop-Greet")
    assert told["Timeout"] == 10
    assert len((await door.call("list_layer_versions", LayerName="shop-Words"))["LayerVersions"]) == 1


async def test_nothing_is_taken_back_where_nobody_answers(
    deploy: Deploys, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays is told."""
    await deploy()
    changed(folder, TEMPLATE)
    call = Service.call

    def gone(self: Service, operation: str, /, **members: Any) -> dict[str, Any]:
        if operation == "publish_version":
            monkeypatch.setattr(Service, "call", gone_for_good)
        return call(self, operation, **members)

    def gone_for_good(self: Service, operation: str, /, **members: Any) -> dict[str, Any]:
        raise Unreachable("no answer")

    monkeypatch.setattr(Service, "call", gone)
    code, _, err = await deploy()
    assert code == 2
    assert "Greet: not done: putting back the code of shop-Greet\n" in err
    assert "Words: not done: deleting version 2 of layer shop-Words\n" in err


STORED = """
Resources:
  Words: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: s3://code/words.zip}}
  F:
    Type: AWS::Lambda::Function
    Properties:
      {Runtime: python3.11, Handler: app.handler, Role: "arn:aws:iam::123456789012:role/x", Layers: [!Ref Words],
       Code: {S3Bucket: code, S3Key: app.zip}}
"""


async def test_packages_in_s3(door: Any, deploy: Deploys, folder: Path, zip_of: Callable[..., bytes]) -> None:
    """Berth reads them, to compare too: what holds the same is not deployed again."""
    async with serving_s3() as s3:
        object.__setattr__(door.api._services, "objects", Objects(s3.url, "us-east-1"))
        for name in ("words.zip", "app.zip"):
            s3.put("code", name, zip_of(app=name))
        (folder / "template.yaml").write_text(STORED)
        assert await actions(deploy, "--dry-run") == {"Words": "published", "F": "created"}
        assert await actions(deploy) == {"Words": "published", "F": "created"}
        assert await actions(deploy) == {"Words": "unchanged", "F": "unchanged"}
        listed = await door.call("list_layer_versions", LayerName="shop-Words")
        assert [each["Version"] for each in listed["LayerVersions"]] == [1]
        s3.put("code", "app.zip", zip_of(app="other"))
        assert (await actions(deploy, "--dry-run"))["F"] == "updated"
        assert await actions(deploy) == {"Words": "unchanged", "F": "updated"}
        s3.put("code", "words.zip", zip_of(app="other"))
        assert await actions(deploy) == {"Words": "published", "F": "updated"}
        (folder / "template.yaml").write_text(STORED.replace("app.zip", "none.zip"))
        _, _, err = await deploy()
        assert "Resources.F: InvalidParameterValueException: Error occurred while GetObject." in err


async def test_stacks_do_not_share_functions(deploy: Deploys, folder: Path) -> None:
    """The same name in another stack is refused; an untagged function is taken over, its tags as far as the API lets us."""
    text = TEMPLATE.replace("CodeUri: greet\n", "CodeUri: greet\n      FunctionName: one\n")
    (folder / "template.yaml").write_text(text)
    assert (await deploy("--stack", "a"))[0] == 0
    code, _, err = await deploy("--stack", "b")
    assert (code, err.splitlines()[-1].partition("Resources")[2]) == (
        2,
        ".Greet: the function one belongs to the stack a",
    )


async def test_functions_made_by_hand_are_taken_over(door: Any, deploy: Deploys) -> None:
    """Their code and configuration become the template's; what the API does with tags is told."""
    await door.created("shop-Plain")
    code, out, err = await deploy()
    assert code == 0
    assert "Plain     updated (Code, " in out
    assert ("Tags" in out) or "warning: the tags of shop-Plain stay as they are: " in err
    told = await door.call("get_function_configuration", FunctionName="shop-Plain")
    assert told["Handler"] == "app.other"


async def test_the_callers_own_aws_is_not_looked_at(
    deploy: Deploys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Profiles, credentials, endpoints and proxies of the environment are no concern of Berth's."""
    (tmp_path / "config").write_text("[default]\nregion = \n[unreadable")
    for name, value in {
        "AWS_PROFILE": "missing",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "999999999999",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "http_proxy": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    code, out, _ = await deploy()
    assert (code, f"{ARN}:function:shop-Greet:live" in out) == (0, True)


async def test_account_and_region_are_the_command_s(door: Any, deploy: Deploys) -> None:
    """What is deployed is deployed there."""
    code, out, _ = await deploy("--account-id", "210987654321", "--region", "eu-west-1")
    assert code == 0
    assert "arn:aws:lambda:eu-west-1:210987654321:function:shop-Greet:live" in out
    there = door.client(key="210987654321", region="eu-west-1")
    listed = await door.aside(there.list_functions)
    assert [each["FunctionName"] for each in listed["Functions"]] == ["shop-Greet", "shop-Plain"]
    assert (await door.call("list_functions"))["Functions"] == []


async def test_a_watch_goes_on(door: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """
    1. Code changes; then it changes again and the template breaks; then that is mended and names other code, which changes.
    Result: each change is told and deployed, the broken one is told as an error, and an interrupt ends it.
    """
    template, other = folder / "template.yaml", folder / "other"
    mended = TEMPLATE.replace("CodeUri: greet\n", "CodeUri: other\n")

    def break_both() -> None:
        template.write_text("Resources: [")
        (folder / "greet/app.py").write_text("x = 333\n")

    def make_other() -> None:
        other.mkdir()
        (other / "app.py").write_text("x = 1\n")
        template.write_text(mended)

    def interrupt() -> None:
        raise KeyboardInterrupt

    changes: list[Callable[[], object]] = [
        lambda: (folder / "greet/app.py").write_text("x = 22\n"),
        break_both,
        make_other,
        lambda: (other / "app.py").write_text("x = 33\n"),
        interrupt,
    ]
    # Two looks for each: one that sees it, one that sees that it is over.
    steps = [step for change in changes for step in (change, lambda: None)]

    def pause(_seconds: float) -> None:
        steps.pop(0)()

    def watch() -> None:
        arguments = make_parser().parse_args(
            ["deploy", "--watch", "--template", str(template), "--url", door.url]
        )
        with pytest.raises(KeyboardInterrupt):
            command.run(arguments, pause)

    await door.aside(watch)
    told = [line for line in capfd.readouterr().err.splitlines() if line.startswith(("changed", "berth"))]
    assert told == [
        "changed: greet/app.py",
        "changed: greet/app.py, template.yaml",
        f"berth: {template}:1: is not YAML: expected the node content, but found '<stream end>'",
        "changed: template.yaml",
        "changed: other/app.py",
    ]
    alias = await door.call("get_alias", FunctionName="shop-Greet", Name="live")
    assert alias["FunctionVersion"] == "4"


LIVE = """
Resources:
  Plain:
    Type: AWS::Serverless::Function
    Properties: {Runtime: python3.11, Handler: app.handler, CodeUri: greet, MemorySize: 128}
"""


async def test_a_watch_with_hot_reload(
    tmp_path: Path, serve: Any, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """
    1. A folder below one that Berth may use is deployed under a watch; its code changes; then the template does.
    2. It is deployed without a watch, and watched again without hot reload.
    Result: the function runs the folder, so its code is nobody's concern; without a watch it has a package again.
    """
    template = folder / "template.yaml"
    template.write_text(LIVE)
    more = LIVE.replace("128", "256")
    changes = [lambda: (folder / "greet/app.py").write_text("x = 22\n"), lambda: template.write_text(more)]
    async with serve(tmp_path / "data", live=LiveCode(Directories([folder]))) as door:

        def watch(*arguments: str) -> None:
            steps = [step for change in changes for step in (change, lambda: None, lambda: None)]

            def pause(_seconds: float) -> None:
                if not steps:
                    raise KeyboardInterrupt
                steps.pop(0)()

            given = ["deploy", "--watch", "--template", str(template), "--url", door.url, *arguments]
            with pytest.raises(KeyboardInterrupt):
                command.run(make_parser().parse_args(given), pause)

        def directories() -> tuple[str, ...]:
            found = door.store.catalog.function(Scope("123456789012", "us-east-1"), "shop-Plain")
            return tuple(found.directories)

        await door.aside(watch)
        told = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("watching")]
        assert told == [
            "Plain: creating function shop-Plain",
            "changed: template.yaml",
            "Plain: updating the configuration of shop-Plain: MemorySize",
        ]
        assert directories() == (str(folder / "greet"),)
        arguments = ["deploy", "--template", str(template), "--url", door.url]
        assert await door.aside(main, arguments) == 0
        assert "Plain: updating the code of shop-Plain" in capfd.readouterr().err
        assert directories() == ()
        (folder / "greet/app.py").write_text("x = 333\n")
        await door.aside(watch, "--no-hot-reload")
        assert "changed: greet/app.py" in capfd.readouterr().err
        assert directories() == ()


async def test_a_watch_says_how_saves_would_be_live(
    door: Any, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Once, where Berth could use the folder if its settings named it."""
    template = folder / "template.yaml"
    template.write_text(LIVE)

    def watch() -> None:
        steps: list[Callable[[], object]] = [
            lambda: (folder / "greet/app.py").write_text("x = 22\n"),
            lambda: None,
        ]

        def pause(_seconds: float) -> None:
            if not steps:
                raise KeyboardInterrupt
            steps.pop(0)()

        given = ["deploy", "--watch", "--template", str(template), "--url", door.url]
        with pytest.raises(KeyboardInterrupt):
            command.run(make_parser().parse_args(given), pause)

    await door.aside(watch)
    told = capfd.readouterr().err
    assert told.count(f"saves are live at once with hot reload: berth up --hot-reload {folder}/greet") == 1
    assert "changed: greet/app.py" in told


async def test_a_failed_deployment_gives_a_function_its_folder_back(
    tmp_path: Path, serve: Any, folder: Path
) -> None:
    """Not a package of what was in it."""
    template = folder / "template.yaml"
    template.write_text(LIVE)
    bad = "  Zero:\n    Type: AWS::Lambda::Version\n    DependsOn: Plain\n    Properties: {FunctionName: nobody}\n"
    async with serve(tmp_path / "data", live=LiveCode(Directories([folder]))) as door:
        code = {"S3Bucket": "hot-reload", "S3Key": str(folder / "greet")}
        await door.created("shop-Plain", Code=code, Runtime="python3.11")
        template.write_text(LIVE + bad)
        assert await door.aside(main, ["deploy", "--template", str(template), "--url", door.url]) == 2
        await door.wait("function_updated_v2", "shop-Plain")
        found = door.store.catalog.function(Scope("123456789012", "us-east-1"), "shop-Plain")
        assert found.directories == (str(folder / "greet"),)
