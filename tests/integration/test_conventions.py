"""What functions and their layers take for granted about a runtime's image: places, programs, wrapper scripts.

The same conventions in images for Dockerfiles, where the entry point is one of them, are in `test_standalone_images`.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.integration.conftest import Berth

pytestmark = pytest.mark.docker

PLACES = ("/var/task", "/var/runtime", "/var/lang/bin", "/opt", "/tmp")
VARIABLES = ("LAMBDA_TASK_ROOT", "LAMBDA_RUNTIME_DIR", "PWD", "WRAPPED", "PATH")
PYTHON = f"""
import os, sys
def handler(event, context):
    return {{
        "places": [name for name in {PLACES!r} if os.path.isdir(name)],
        "variables": {{name: os.environ.get(name) for name in {VARIABLES!r}}},
        "interpreter": sys.executable, "cwd": os.getcwd(), "file": __file__,
        "bootstrap": os.access("/var/runtime/bootstrap", os.X_OK),
        "version": "python%d.%d" % sys.version_info[:2],
    }}
"""
NODE = f"""
const fs = require("fs");
exports.handler = async () => ({{
    places: {list(PLACES)!r}.filter((name) => fs.existsSync(name)),
    variables: Object.fromEntries({list(VARIABLES)!r}.map((name) => [name, process.env[name] ?? null])),
    interpreter: process.execPath, cwd: process.cwd(), file: __filename,
    bootstrap: (fs.statSync("/var/runtime/bootstrap").mode & 0o111) === 0o111,
    version: `nodejs${{process.version.slice(1).split(".")[0]}}.x`,
}});
"""
SHELL = f"""#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
places=$(for name in {" ".join(PLACES)}; do [ ! -d $name ] || printf '"%s",' $name; done)
json() {{ [ -z "${{!1+x}}" ] && printf null || printf '"%s"' "${{!1}}"; }}
variables=$(for name in {" ".join(VARIABLES)}; do printf '"%s":%s,' $name "$(json $name)"; done)
while true; do
    curl -sS -D /tmp/head -o /dev/null "$api/next"
    id=$(sed -n 's/^lambda-runtime-aws-request-id: *//Ip' /tmp/head | tr -d '\\r')
    curl -sS -o /dev/null "$api/$id/response" -d "{{\\"places\\": [${{places%,}}], \\"variables\\": {{${{variables%,}}}},
        \\"file\\": \\"$0\\", \\"cwd\\": \\"$(pwd)\\"}}"
done
"""
WRAPPER = '#!/bin/bash\nexport WRAPPED="$*"\nexec "$@"\n'


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    started = Berth(tmp_path_factory.mktemp("berth") / "data", "docker")
    started.start()
    yield started
    started.stop()


Told = Callable[..., dict[str, Any]]


@pytest.fixture
def told(berth: Berth, zip_of: Callable[..., bytes], name: str) -> Told:
    """What a function of a runtime says of where it is, with a layer that holds a wrapper script."""

    def ask(runtime: str, file: str, code: str) -> dict[str, Any]:
        package = zip_of({"wrapper": WRAPPER}, {"wrapper": 0o755})
        layer = berth.client.publish_layer_version(LayerName=name, Content={"ZipFile": package})
        berth.deploy(
            name,
            zip_of({file: code}, {file: 0o755}),
            Runtime=runtime,
            Layers=[layer["LayerVersionArn"]],
            Environment={"Variables": {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"}},
        )
        payload = berth.invoke(name).payload
        assert payload["places"] == list(PLACES)
        assert (
            payload["cwd"]
            == payload["variables"]["PWD"]
            == payload["variables"]["LAMBDA_TASK_ROOT"]
            == "/var/task"
        )
        assert payload["variables"]["LAMBDA_RUNTIME_DIR"] == "/var/runtime"
        assert payload["variables"]["PATH"].split(":")[0] == "/var/lang/bin"
        assert payload["file"] == f"/var/task/{file}"
        return dict(payload)

    return ask


@pytest.mark.parametrize("runtime", ["python3.11", "nodejs22.x"])
def test_time_zones_locale_and_programs(
    berth: Berth, zip_of: Callable[..., bytes], name: str, runtime: str
) -> None:
    """TZ counts, the locale of LANG is there, and so is what extensions in shell call: whatever the runtime."""
    shell = "date -d 2026-07-01T12:00Z +%H%Z; locale charmap; command -v bash curl"
    files = {
        "app.py": f"import subprocess\ndef handler(event, _): return subprocess.getoutput({shell!r}).split()",
        "app.js": f"exports.handler = async () => require('child_process').execSync({shell!r}).toString().trim().split('\\n')",
    }
    environment = {"Variables": {"TZ": "Asia/Tokyo"}}
    berth.deploy(name, zip_of(files), Runtime=runtime, Environment=environment)
    assert berth.invoke(name).payload == ["21JST", "UTF-8", "/usr/bin/bash", "/usr/bin/curl"]


def test_named_time_zones(berth: Berth, zip_of: Callable[..., bytes], name: str) -> None:
    """Python has no zones of its own. Also those by older names, which Debian has put into a package apart."""
    code = "import zoneinfo\ndef handler(event, _): return str(zoneinfo.ZoneInfo(event))"
    berth.deploy(name, zip_of({"app.py": code}), Runtime="python3.11")
    for zone in ("Europe/Berlin", "US/Eastern"):
        assert berth.invoke(name, zone).payload == zone


def test_python(told: Told) -> None:
    """The interpreter is where scripts of layers look for it, and the wrapper gets the command that starts the runtime."""
    said = told("python3.11", "app.py", PYTHON)
    assert (said["version"], said["bootstrap"]) == ("python3.11", True)
    assert said["interpreter"].startswith("/var/lang/bin/python3")
    assert said["variables"]["WRAPPED"] == "/var/lang/bin/python3 /var/runtime/bootstrap.py"


def test_node(told: Told) -> None:
    """The same; what the runtime adds to the command are options."""
    said = told("nodejs22.x", "app.js", NODE)
    assert (said["version"], said["bootstrap"]) == ("nodejs22.x", True)
    assert said["interpreter"] == "/var/lang/bin/node"
    program, *options, script = said["variables"]["WRAPPED"].split()
    assert (program, script) == ("/var/lang/bin/node", "/var/runtime/index.mjs")
    assert all(option.startswith("--") for option in options)


def test_an_own_runtime(told: Told) -> None:
    """Its bootstrap is started as it is: to wrap it or not is its own affair, as on AWS."""
    assert told("provided.al2023", "bootstrap", SHELL)["variables"]["WRAPPED"] is None
