"""What the doctor finds of an engine that behaves, of one that lacks something, and of none."""

from pathlib import Path
from typing import Any

import pytest

from runtime.settings import Settings
from runtime.spawners.engine_findings import diagnose


async def test_the_doctor_names_engine_limits_and_images(fake_engine: Any) -> None:
    """What is there, and what can be done about what is not."""
    fake_engine.add_image("berth/python3.11:0", {"berth.image": "python3.11"})
    findings = {each.name: each for each in await diagnose(Settings(docker_host=fake_engine.url))}
    assert all(each.ok and each.advice is None for each in findings.values())
    assert findings["runtime images"].detail == "berth/python3.11:0"
    assert "setting docker_host" in findings["engine"].detail


@pytest.mark.parametrize(("spawner", "essential"), [("docker", True), ("auto", False)])
async def test_the_doctor_says_when_there_is_no_engine(tmp_path: Path, spawner: str, essential: bool) -> None:
    """It is essential only where nothing else may run functions."""
    settings = Settings(docker_host=f"unix://{tmp_path}/none", spawner=spawner)
    [finding] = await diagnose(settings)
    assert (finding.ok, finding.essential) == (False, essential)
    assert "make engine" in (finding.advice or "")


async def test_the_doctor_finds_old_engines_and_missing_limits(
    fake_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old engine and a kernel without memory limits still run functions, less well."""
    old = {"ApiVersion": "1.40", "Version": "19.03.1"}
    monkeypatch.setattr(
        fake_engine, "answer", answering(fake_engine, {"/version": old, "/info": {"MemoryLimit": False}})
    )
    findings = {each.name: each for each in await diagnose(Settings(docker_host=fake_engine.url))}
    assert "20.10" in (findings["engine"].advice or "")
    assert findings["limits"].detail == "cannot limit memory"
    assert findings["runtime images"].detail == "none built yet"


def answering(fake_engine: Any, answers: dict[str, Any]) -> Any:
    """The engine's answers, some of them replaced."""
    usual = fake_engine.answer
    return lambda method, path, query, body: answers.get(path) or usual(method, path, query, body)
