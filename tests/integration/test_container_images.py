"""Functions that are container images, of every kind: a bare static program, a shell, Debian, AWS's own layout."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.helpers.function_images import SOURCES, build, on_the_engine
from tests.integration.conftest import BERTH, ROLE, Answer, Berth

pytestmark = pytest.mark.docker

HANDLER = """
import os, sys
started = "init"
print("static code")

def handler(event, context):
    if event == "raise":
        raise ValueError("as asked")
    if event == "exit":
        os._exit(9)
    if event == "write":
        try:
            open("/function/new", "w")
        except OSError as error:
            return error.strerror
    open("/tmp/mine", "a").write("x")
    print("a line")
    return {
        "event": event,
        "arn": context.invoked_function_arn,
        "cwd": os.getcwd(),
        "uid": [os.getuid(), os.getgid()],
        "argv0": sys.argv[0],
        "tmp": open("/tmp/mine").read(),
        "variables": {name: os.environ.get(name) for name in sys.argv[2:]},
        "runtime api": "AWS_LAMBDA_RUNTIME_API" in os.environ,
    }

def other(event, context):
    return "the other one"
"""
LAYOUT = """
import os

def handler(event, context):
    return [os.environ["_HANDLER"], os.environ["LAMBDA_TASK_ROOT"], os.getcwd(), context.function_version]

def other(event, context):
    return os.environ["_HANDLER"]
"""


@pytest.fixture(scope="module")
def static() -> str:
    return build("static")


@pytest.fixture(scope="module")
def shell() -> str:
    return build("busybox")


@pytest.fixture(scope="module")
def debian() -> str:
    return build("debian", {"app.py": HANDLER})


@pytest.fixture(scope="module")
def layout() -> str:
    return build("aws", {"app.py": LAYOUT}, "python3.11")


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    started = Berth(tmp_path_factory.mktemp("berth") / "data", "docker")
    started.start()
    yield started
    started.stop()
    forget(started)


@pytest.fixture
def fresh(new_berth: Callable[..., Berth]) -> Iterator[Callable[..., Berth]]:
    """Starts control planes on containers; what they pinned goes with their data directories."""
    made: list[Berth] = []

    def start(*settings: str) -> Berth:
        made.append(new_berth("docker", *settings))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()
        forget(each)


def forget(berth: Berth) -> None:
    """Remove the pins of a control plane that will never come back."""
    tags = docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"berth-pin/{berth.instance}").split()
    if tags:
        docker("rmi", *tags)


def deploy(berth: Berth, name: str, image: str, **options: Any) -> None:
    """Create a function of an image and wait until it is active."""
    berth.client.create_function(
        **{
            "FunctionName": name,
            "PackageType": "Image",
            "Role": ROLE,
            "Code": {"ImageUri": image},
            "Timeout": 20,
            **options,
        }
    )
    wait(berth, "function_active_v2", name)


def wait(berth: Berth, what: str, name: str) -> None:
    berth.client.get_waiter(what).wait(FunctionName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 3000})


def update_config(berth: Berth, name: str, **config: Any) -> None:
    berth.client.update_function_configuration(FunctionName=name, ImageConfig=config)
    wait(berth, "function_updated_v2", name)


def docker(*arguments: str) -> str:
    run = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def copied(image: str, tag: str) -> str:
    """Another image of the same content, that has this name only; its identifier."""
    made = docker("create", image)
    identifier = docker("commit", "--change", f"LABEL only={tag}", made, tag)
    docker("rm", made)
    return identifier


def pins(berth: Berth) -> list[str]:
    return docker("images", "--quiet", "--no-trunc", f"berth-pin/{berth.instance}").split()


def seen(answer: Answer) -> dict[str, str]:
    """What the shell's bootstrap says of its surroundings."""
    return dict(each.partition("=")[::2] for each in answer.payload.split(";"))


def test_a_static_program_and_nothing_else(berth: Berth, name: str, static: str) -> None:
    """An image with one file: it runs as the function's user, may write to /tmp and nowhere else."""
    deploy(berth, name, static)
    answer = berth.invoke(name, {"a": 1})
    assert answer.payload == {
        "argument": "from the image",
        "cwd": "/",
        "uid": 993,
        "tmp": 1,
        "root": 0,
        "handler": "unset",
        "name": name,
    }
    assert answer.log.splitlines()[0] == f"START RequestId: {answer.request_id} Version: $LATEST"
    assert 'event {"a": 1}\n' in answer.log
    assert "Init Duration" in answer.log


def test_configuration_instead_of_the_images(berth: Berth, name: str, static: str) -> None:
    """ImageConfig's command and directory take the place of the image's."""
    deploy(berth, name, static, ImageConfig={"Command": ["mine"], "WorkingDirectory": "/tmp"})
    payload = berth.invoke(name).payload
    assert (payload["argument"], payload["cwd"]) == ("mine", "/tmp")
    update_config(berth, name)
    payload = berth.invoke(name).payload
    assert (payload["argument"], payload["cwd"]) == ("from the image", "/")


@pytest.mark.parametrize(
    ("config", "error"),
    [
        (
            {"EntryPoint": ["/nowhere"]},
            ("Runtime.InvalidEntrypoint", "fork/exec /nowhere: no such file or directory"),
        ),
        (
            {"EntryPoint": ["nowhere"]},
            ("Runtime.InvalidEntrypoint", 'exec: "nowhere": executable file not found in $PATH'),
        ),
        (
            {"EntryPoint": ["/etc/hosts"]},
            ("Runtime.InvalidEntrypoint", "fork/exec /etc/hosts: permission denied"),
        ),
        (
            {"WorkingDirectory": "/nowhere"},
            ("Runtime.InvalidWorkingDir", "chdir /nowhere: no such file or directory"),
        ),
        ({"Command": ["exit"]}, ("Runtime.ExitError", "Runtime exited with error: exit status 7")),
    ],
)
def test_images_that_cannot_start(
    berth: Berth, name: str, static: str, config: dict[str, Any], error: tuple[str, str]
) -> None:
    """The caller gets the error, and the log says what kind it is."""
    error_type, text = error
    deploy(berth, name, static, ImageConfig=config)
    answer = berth.invoke(name)
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": error_type,
        "errorMessage": f"RequestId: {answer.request_id} Error: {text}",
    }
    assert f"Status: error\tError Type: {error_type}" in answer.log


def test_everything_that_an_image_can_say(berth: Berth, name: str, shell: str) -> None:
    """Variables and directory are the image's, the user is not; neither its loader's variables nor its check harm."""
    deploy(berth, name, shell)
    found = seen(berth.invoke(name))
    assert (found["arguments"], found["cwd"], found["uid"]) == ("handler", "/app", "993")
    assert (found["greeting"], found["preload"]) == ("hello from the image", "/nowhere.so")
    assert found["region"] == "us-east-1"
    assert found["tmp"] == "/tmp/event /tmp/headers"
    assert found["store"].endswith("kept")
    update = {"Environment": {"Variables": {"GREETING": "mine"}}}
    berth.client.update_function_configuration(FunctionName=name, **update)
    wait(berth, "function_updated_v2", name)
    assert seen(berth.invoke(name))["greeting"] == "mine"


def test_extensions_in_an_image(berth: Berth, name: str, shell: str) -> None:
    """Files in the image's /opt/extensions are extensions."""
    deploy(berth, name, shell)
    answer = berth.invoke(name, 1)
    assert 'watcher heard {"eventType":"INVOKE"' in answer.log
    assert answer.request_id in answer.log.partition("watcher heard")[2]


def test_a_fault_costs_no_sandbox(berth: Berth, name: str, shell: str) -> None:
    """After an exit the next invocation has a new runtime in the same container, with /tmp as it was left."""
    deploy(berth, name, shell)
    berth.invoke(name, 1)
    [before] = berth.environments(name)
    assert berth.invoke(name, "exit").payload["errorType"] == "Runtime.ExitError"
    assert berth.invoke(name, 2).error is None
    [after] = berth.environments(name)
    assert before["environment"] == after["environment"]


def test_debian_with_the_runtime_client(berth: Berth, name: str, debian: str) -> None:
    """AWS's client, found in PATH, with its arguments from entry point and command; errors and lines as it tells them."""
    deploy(berth, name, debian, ImageConfig={"Command": ["app.handler", "PYTHONPATH", "AWS_EXECUTION_ENV"]})
    answer = berth.invoke(name, {"a": 1})
    assert answer.payload == {
        "event": {"a": 1},
        "arn": f"arn:aws:lambda:us-east-1:123456789012:function:{name}",
        "cwd": "/function",
        "uid": [993, 990],
        "argv0": "/client/awslambdaric/__main__.py",
        "tmp": "x",
        "variables": {"PYTHONPATH": "/client", "AWS_EXECUTION_ENV": None},
        "runtime api": True,
    }
    assert "a line\n" in answer.log
    assert berth.invoke(name, 2).payload["tmp"] == "xx"
    assert berth.invoke(name, "write").payload == "Read-only file system"
    failed = berth.invoke(name, "raise")
    assert (failed.error, failed.payload["errorType"]) == ("Unhandled", "ValueError")
    assert "[ERROR] ValueError: as asked" in failed.log
    ended = berth.invoke(name, "exit")
    assert ended.payload["errorMessage"].endswith("Runtime exited with error: exit status 9")


def test_the_layout_of_aws(berth: Berth, name: str, layout: str) -> None:
    """The entry script finds a Runtime API and runs the bootstrap; the command is the handler."""
    deploy(berth, name, layout, Publish=True)
    assert berth.invoke(name).payload == ["app.handler", "/var/task", "/var/task", "$LATEST"]
    assert berth.invoke(name, Qualifier="1").payload[3] == "1"
    update_config(berth, name, Command=["app.other"])
    assert berth.invoke(name).payload == "app.other"
    assert berth.invoke(name, Qualifier="1").payload[0] == "app.handler"
    update_config(berth, name, Command=["two", "arguments"])
    answer = berth.invoke(name)
    assert answer.payload["errorMessage"].endswith("exit status 142")
    assert "entrypoint requires the handler name to be the first argument" in answer.log


def test_a_tag_that_moves(berth: Berth, name: str, static: str, debian: str) -> None:
    """The function keeps its image, also when the name goes; an update takes what the name leads to then."""
    tag = f"berth-test/moving-{name.lower()[:20]}:1"
    docker("tag", static, tag)
    deploy(berth, name, tag)
    docker("tag", debian, tag)
    assert berth.invoke(name).payload["argument"] == "from the image"
    berth.client.update_function_code(FunctionName=name, ImageUri=tag)
    wait(berth, "function_updated_v2", name)
    assert berth.invoke(name, 5).payload["event"] == 5
    docker("rmi", tag)
    update = {"MemorySize": 256}  # retires the environment, so another one has to start
    berth.client.update_function_configuration(FunctionName=name, **update)
    wait(berth, "function_updated_v2", name)
    assert berth.invoke(name, 6).payload["event"] == 6


def test_an_image_lives_as_long_as_its_function(fresh: Callable[..., Berth], static: str) -> None:
    """It survives the removal of its only name and a restart; with the function it goes."""
    berth = fresh()
    tag = f"berth-test/short-lived-{berth.instance}:1"
    image = copied(static, tag)
    deploy(berth, "f", tag)
    docker("rmi", tag)
    assert pins(berth) == [image]
    assert berth.invoke("f").payload["name"] == "f"
    berth.stop()
    berth.start()
    assert berth.invoke("f").payload["name"] == "f"
    found = berth.client.get_function(FunctionName="f")
    assert found["Code"]["ImageUri"] == tag
    assert found["Code"]["ResolvedImageUri"] == f"{tag.removesuffix(':1')}@{image}"
    berth.client.delete_function(FunctionName="f")
    berth.until(lambda: image not in docker("images", "--all", "--quiet", "--no-trunc").split())


def test_an_image_that_was_deleted_by_force(fresh: Callable[..., Berth], static: str) -> None:
    """The invocation's error says which image it was and what to do."""
    berth = fresh()
    tag = f"berth-test/deleted-{berth.instance}:1"
    image = copied(static, tag)
    deploy(berth, "f", tag)
    docker("rmi", "--force", image)
    with pytest.raises(ClientError, match=r"berth-test/deleted-.*@sha256:.* is not on the engine"):
        berth.invoke("f")


def test_a_missing_image(berth: Berth, name: str) -> None:
    """Nothing is pulled: the answer is AWS's, with a hint."""
    with pytest.raises(ClientError) as error:
        deploy(berth, name, "berth-test/missing:1")
    assert error.value.response["Error"]["Code"] == "InvalidParameterValueException"
    expected = (
        "Source image berth-test/missing:1 does not exist. Provide a valid source image. (Berth pulls none"
    )
    assert error.value.response["Error"]["Message"].startswith(expected)


def test_an_image_that_takes_no_agent(berth: Berth, name: str, shell: str) -> None:
    """Where the image has a file in the place of /tmp, no sandbox can be made of it; the error says so."""
    tag = f"berth-test/no-agent-{berth.instance}:1"

    async def made(engine: Any) -> None:
        from runtime.images import tar_of

        dockerfile = f"FROM {shell}\nUSER 0\nRUN echo taken >/tmp\n".encode()
        await engine.build(tar_of({"Dockerfile": (dockerfile, 0o644)}), tag, {}, {}, print)

    on_the_engine(made)
    try:
        deploy(berth, name, tag)
        with pytest.raises(ClientError, match=r"/var/rapid and /tmp.*a directory or nothing"):
            berth.invoke(name)
    finally:
        berth.client.delete_function(FunctionName=name)
        docker("rmi", tag)


def test_delivered_in_a_volume(fresh: Callable[..., Berth], static: str) -> None:
    """Where the engine does not see the control plane's files, the agent comes in a volume of the engine's."""
    berth = fresh("--delivery", "copy")
    deploy(berth, "f", static)
    assert berth.invoke("f").payload["argument"] == "from the image"
    [environment] = berth.environments("f")
    mounts = json.loads(docker("inspect", "--format", "{{json .Mounts}}", environment["reference"]))
    [agent] = [mount for mount in mounts if mount["Destination"] == "/var/rapid"]
    assert (agent["Type"], agent["RW"]) == ("volume", False)
    assert agent["Name"].startswith("berth-rapid-")


def test_with_the_aws_cli(berth: Berth, name: str, layout: str, tmp_path: Path) -> None:
    """The AWS CLI creates, invokes and updates it, as with AWS."""
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": berth.url,
    }

    def aws(*arguments: str) -> Any:
        command = [str(BERTH.parent / "aws"), "lambda", *arguments]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        return json.loads(run.stdout) if run.stdout.strip() else None

    created = aws(
        *("create-function", "--function-name", name, "--package-type", "Image", "--role", ROLE),
        *("--code", f"ImageUri={layout}", "--image-config", "Command=app.other"),
    )
    assert created["ImageConfigResponse"] == {"ImageConfig": {"Command": ["app.other"]}}
    aws("wait", "function-active-v2", "--function-name", name)
    out = tmp_path / "out.json"
    aws("invoke", "--function-name", name, str(out))
    assert json.loads(out.read_text()) == "app.other"
    updated = aws("update-function-code", "--function-name", name, "--image-uri", layout, "--publish")
    assert (updated["Version"], updated["CodeSize"]) == ("1", 0)
    aws("wait", "function-updated-v2", "--function-name", name)
    assert aws("get-function", "--function-name", name)["Code"]["RepositoryType"] == "ECR"


def test_local_processes_refuse_images(new_berth: Callable[..., Berth]) -> None:
    """Without an engine the creation is refused, and the text says why."""
    berth = new_berth("process")
    berth.start()
    with pytest.raises(ClientError, match="need a container engine"):
        deploy(berth, "f", "any:1")


TEMPLATE = """
Resources:
  Greeter:
    Type: AWS::Serverless::Function
    Properties: {{PackageType: Image, FunctionName: {name}, AutoPublishAlias: live}}
    Metadata: {{DockerContext: image, DockerTag: v1, DockerBuildArgs: {{BASE: "{base}"}}}}
"""


def test_a_template_with_a_dockerfile(berth: Berth, name: str, layout: str, tmp_path: Path) -> None:
    """`berth deploy` builds the image, deploys it, and deploys it again only when its files have changed."""
    image = tmp_path / "shop" / "image"
    shutil.copytree(SOURCES / "aws", image)
    (image / "app.py").write_text(LAYOUT)
    (tmp_path / "shop" / "template.yaml").write_text(TEMPLATE.format(name=name, base=layout))

    def run() -> str:
        template = str(tmp_path / "shop" / "template.yaml")
        done = berth.run("deploy", "--json", "--template", template, "--data-dir", str(berth.data_dir))
        [resource] = json.loads(done.stdout)["resources"]
        return str(resource["action"])

    try:
        assert run() == "created"
        assert berth.invoke(name, Qualifier="live").payload[3] == "1"
        assert run() == "unchanged"
        (image / "app.py").write_text("def handler(event, context): return 'changed'")
        assert run() == "updated"
        assert berth.invoke(name, Qualifier="live").payload == "changed"
        assert berth.invoke(name, Qualifier="1").payload[3] == "1"
        assert len(docker("images", "--quiet", "shop-greeter").split()) == 2  # v1, and what is deployed
    finally:
        berth.client.delete_function(FunctionName=name)
        for tag in docker("images", "--format", "{{.Repository}}:{{.Tag}}", "shop-greeter").split():
            docker("rmi", "--force", tag)  # environments may still be ending
