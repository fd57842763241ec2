"""The recipes of `examples/ci`, as a CI job runs them, on this machine's engine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "examples" / "ci"

pytestmark = pytest.mark.docker


def run(*command: str | Path, **variables: str) -> str:
    """What a program prints, with `berth`, `aws` and `pytest` in its path and none of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BERTH_"))}
    tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(part) for part in command],
        check=False,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        env={**kept, "PATH": tools, **variables},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


def test_a_service_container(own_image: str) -> None:
    """The engine's socket is handed in; the function is deployed by the AWS CLI over a published port."""
    out = run(RECIPES / "service-container.sh", BERTH_IMAGE=own_image)
    assert "is ready" in out
    assert "copy delivery" in out
    assert json.loads(out.splitlines()[-1]) == {"greeting": "Hello, service container!"}


def test_the_compose_file_says_what_compose_needs() -> None:
    """Read as YAML: the tests wait for the health check, which Berth's image has."""
    services = yaml.safe_load((RECIPES / "compose.yaml").read_text())["services"]
    assert services["tests"]["depends_on"] == {"berth": {"condition": "service_healthy"}}
    assert "ports" not in services["berth"]
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text()


def test_compose(own_image: str) -> None:
    """Tests in a container find Berth by its name in the network of both, once it is healthy."""
    found = subprocess.run([ROOT / ".ci/compose"], check=False, capture_output=True, text=True)
    if found.returncode == 3 and not os.environ.get("CI"):
        pytest.skip(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    project = ("--project-name", f"berth-recipe-{uuid4().hex[:8]}", "--file", str(RECIPES / "compose.yaml"))
    compose = (*found.stdout.split(), *project)
    try:
        out = run(
            *compose,
            *("up", "--abort-on-container-exit", "--exit-code-from", "tests"),
            BERTH_IMAGE=own_image,
        )
        assert "{'greeting': 'Hello, compose!'}" in out
        container = run(*compose, "ps", "--all", "--quiet", "berth", BERTH_IMAGE=own_image).strip()
        checks = "{{range .State.Health.Log}}{{.ExitCode}} {{end}}"
        assert "0" in run("docker", "inspect", "--format", checks, container).split()
    finally:
        run(*compose, "down", "--volumes", "--timeout", "30", BERTH_IMAGE=own_image)


def test_the_pytest_plugin(tmp_path: Path) -> None:
    """A project's tests start a Berth of their own and pass; the run leaves nothing."""
    pytest_ = (sys.executable, "-m", "pytest", "--basetemp", str(tmp_path / "base"), "-p", "no:cacheprovider")
    assert "2 passed" in run(*pytest_, RECIPES / "pytest")
    assert not (tmp_path / "base" / "berth" / "data").exists()


def test_a_job(tmp_path: Path) -> None:
    """What a step of a workflow runs, with what runners set; the workflow runs that script."""
    summary = tmp_path / "summary.md"
    out = run(RECIPES / "job.sh", RUNNER_TEMP=str(tmp_path), GITHUB_STEP_SUMMARY=str(summary))
    assert "2 passed" in out
    assert '"Hello, CI!"' in summary.read_text()
    assert not (tmp_path / "berth").exists()
    workflow = yaml.safe_load((RECIPES / "workflow.yml").read_text())
    steps = workflow["jobs"]["functions"]["steps"]
    assert steps[-1] == {"run": "examples/ci/job.sh"}
