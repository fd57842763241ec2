import asyncio
import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import base_image
from runtime.image_table import image_sources
from runtime.images import Beginning, RuntimeImages, UnknownRuntime
from runtime.processors import CannotRun
from runtime.spawners.engine import Engine, StepFailed


@pytest.fixture
async def images(engine: Engine) -> AsyncIterator[RuntimeImages]:
    images = RuntimeImages(engine)
    yield images
    await images.close()


@pytest.fixture
def with_base(fake_engine: Any) -> None:
    fake_engine.add_image("debian:bookworm-slim")


def quiet(line: str) -> None:
    pass


async def test_an_unknown_runtime_names_the_known(images: RuntimeImages) -> None:
    """Whoever asks for another sees what there is."""
    with pytest.raises(
        UnknownRuntime, match=r"perl5; there are .*python3\.11.*nodejs22\.x.*provided\.al2023.*ruby3\.3"
    ):
        await images.ensure("perl5", quiet)
    with pytest.raises(
        UnknownRuntime, match=r"no image of its own for the runtime ruby3\.3; it has for python"
    ):
        await images.ensure("ruby3.3", quiet)
    assert "python3.11" in images.runtimes
    assert "ruby3.3" not in images.runtimes


async def test_an_image_is_built_once(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """On first need, under the name that says what it is made of."""
    reference = await images.ensure("python3.11", quiet)
    assert await images.ensure("python3.11", quiet) == reference == images.reference("python3.11")
    [build] = fake_engine.builds
    assert build["t"] == reference
    assert build["buildargs"]["BASE"] == "debian:bookworm-slim"
    assert fake_engine.images[reference]["Labels"] == {"berth.image": "python3.11"}


async def test_the_context_holds_agent_and_bootstrap(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """And no CA bundle that nobody asked for."""
    await images.ensure("python3.11", quiet)
    with tarfile.open(fileobj=io.BytesIO(fake_engine.builds[0]["context"])) as tar:
        names = set(tar.getnames())
    assert {"Dockerfile", "bootstrap", "rapid/agent.py", "ca/.keep"} <= names
    assert "ca/ca.crt" not in names


async def test_a_build_knows_the_proxies_of_the_environment(
    images: RuntimeImages, fake_engine: Any, with_base: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its steps download; the image's name does not depend on how."""
    reference = images.reference("python3.11")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    assert await images.ensure("python3.11", quiet) == reference
    assert fake_engine.builds[0]["buildargs"]["https_proxy"] == "http://proxy.example:3128"


async def test_a_ca_bundle_goes_into_the_context_only(
    engine: Engine, fake_engine: Any, with_base: None, tmp_path: Path
) -> None:
    """It serves the download, so it changes nothing about the image's name."""
    (tmp_path / "ca.pem").write_bytes(b"CERTIFICATE")
    images = RuntimeImages(engine, build_ca=tmp_path / "ca.pem")
    assert await images.ensure("python3.11", quiet) == RuntimeImages(engine).reference("python3.11")
    with tarfile.open(fileobj=io.BytesIO(fake_engine.builds[0]["context"])) as tar:
        member = tar.extractfile("ca/ca.crt")
        assert member
        assert member.read() == b"CERTIFICATE"


async def test_concurrent_callers_share_a_build(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """All hear its progress, and one that leaves does not end it."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: str) -> None:
        if request == "POST /build":
            reached.set()
            go_on.wait(10)

    fake_engine.before = hold
    heard: list[list[str]] = [[], [], []]
    callers = [asyncio.create_task(images.ensure("python3.11", lines.append)) for lines in heard]
    await asyncio.to_thread(reached.wait, 10)
    assert "building: python3.11" in repr(images)
    callers[0].cancel()
    go_on.set()
    await asyncio.gather(*callers[1:])
    assert len(fake_engine.builds) == 1
    assert [lines[-1:] == ["Step 1/1 : FROM x"] for lines in heard] == [False, True, True]


async def test_an_image_removed_behind_our_back_is_built_again(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """`docker image prune -a` must not break a running Berth."""
    reference = await images.ensure("python3.11", quiet)
    del fake_engine.images[reference]
    await images.ensure("python3.11", quiet)
    assert len(fake_engine.builds) == 2


async def test_fresh_builds_in_any_case(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """For security updates of what lies below."""
    await images.ensure("python3.11", quiet)
    await images.ensure("python3.11", quiet, fresh=True)
    assert [build["nocache"] for build in fake_engine.builds] == ["False", "True"]


async def test_what_a_build_replaces_is_removed(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """Older images of the same runtime and older build stages go; others stay."""
    fake_engine.add_image("berth/python3.11:old", {"berth.image": "python3.11"})
    fake_engine.add_image("berth/python3.9:old", {"berth.image": "python3.9"})
    fake_engine.add_image("sha256:stage", {"berth.stage": "python3.11"})
    fake_engine.images["sha256:stage"]["Id"] = "sha256:stage"
    fake_engine.add_image("sha256:newer", {"berth.stage": "python3.11"})
    reference = await images.ensure("python3.11", quiet)
    left = set(fake_engine.images) - {"debian:bookworm-slim"}
    assert left == {reference, "berth/python3.9:old", "sha256:newer"}


async def test_images_that_were_built_on_ours_stay(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """They carry our label, and are somebody's functions: under whatever names, that of a pin included."""
    label = {"berth.image": "python3.11"}
    fake_engine.add_image("team/app:1", label)
    pinned = fake_engine.add_image("berth/python3.11:old", label)
    fake_engine.tag_image({"repo": "berth-pin/me", "tag": "0"}, None, pinned)
    await images.ensure("python3.11", lambda _: None)
    assert {"team/app:1", "berth-pin/me:0"} <= fake_engine.images.keys()
    assert "berth/python3.11:old" not in fake_engine.images


async def test_an_older_image_in_use_stays(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """The engine refuses, and that is fine."""
    fake_engine.add_image("berth/python3.11:old", {"berth.image": "python3.11"})
    fake_engine.failures.append(("DELETE /images/berth/python3.11:old", 409, "image is being used"))
    await images.ensure("python3.11", quiet)
    assert "berth/python3.11:old" in fake_engine.images


async def test_a_failed_build_can_be_tried_again(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """The error shows the builder's last lines; nothing remembers the failure."""
    fake_engine.build_steps = [{"stream": "no space left\n"}, {"error": "code 1"}]
    with pytest.raises(StepFailed, match="code 1\nno space left"):
        await images.ensure("python3.11", quiet)
    fake_engine.build_steps = []
    await images.ensure("python3.11", quiet)


@pytest.mark.parametrize(
    "said", ["SSLError(CERTIFICATE_VERIFY_FAILED)", "npm error code SELF_SIGNED_CERT_IN_CHAIN"]
)
async def test_a_certificate_that_does_not_verify_brings_advice(
    images: RuntimeImages, fake_engine: Any, with_base: None, said: str
) -> None:
    """What pip and npm say themselves is not what to set."""
    fake_engine.build_steps = [{"stream": f"{said}\n"}, {"error": "code 1"}]
    with pytest.raises(StepFailed, match="BERTH_BUILD_CA"):
        await images.ensure("python3.11", quiet)


async def test_closing_gives_up_a_build(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """Whoever waits for it is told."""
    reached, go_on = threading.Event(), threading.Event()

    def hold(request: str) -> None:
        if request == "POST /build":
            reached.set()
            go_on.wait(10)

    fake_engine.before = hold
    caller = asyncio.create_task(images.ensure("python3.11", quiet))
    await asyncio.to_thread(reached.wait, 10)
    await images.close()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_a_debian_image_that_is_there_is_the_base(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """No registry is asked."""
    await images.ensure("python3.11", quiet)
    assert fake_engine.pulls == []


async def test_an_own_base_is_used_before_a_registry_is_asked(
    images: RuntimeImages, fake_engine: Any
) -> None:
    """It was built because none could be reached."""
    fake_engine.add_image("berth/base:bookworm")
    await images.ensure("python3.11", quiet)
    assert fake_engine.builds[0]["buildargs"]["BASE"] == "berth/base:bookworm"
    assert fake_engine.pulls == []


async def test_a_base_is_pulled_where_that_works(images: RuntimeImages, fake_engine: Any) -> None:
    """The usual case on a connected machine."""
    fake_engine.registry.add("debian:bookworm-slim")
    await images.ensure("python3.11", quiet)
    assert fake_engine.pulls == ["debian:bookworm-slim"]
    assert fake_engine.builds[0]["buildargs"]["BASE"] == "debian:bookworm-slim"


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the builder of root file systems, and mmdebstrap is installed."""
    program = tmp_path / "images" / "debian" / "build"
    program.parent.mkdir(parents=True)
    say(program, 'echo "unpacking $1"; printf tar >"$2"')
    program.chmod(0o755)
    monkeypatch.setattr("runtime.base_image.shutil.which", lambda name: f"/usr/bin/{name}")
    return program


def say(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")


async def test_a_base_is_built_where_none_can_be_pulled(
    engine: Engine, fake_engine: Any, builder: Path
) -> None:
    """From Debian's packages, with what the builder says as progress."""
    lines: list[str] = []
    bases = base_image.BaseImages(engine, builder)
    assert await bases.ensure("trixie", lines.append) == "berth/base:trixie"
    assert "unpacking trixie" in lines
    assert "debian:trixie-slim cannot be pulled (dial tcp: lookup registry: no such host)" in lines[1]
    assert await engine.image("berth/base:trixie")


async def test_a_builder_that_fails_shows_its_last_lines(engine: Engine, builder: Path) -> None:
    """Its own words are the best explanation."""
    say(builder, "echo 'E: no mirror'; exit 25")
    with pytest.raises(StepFailed, match=r"`sh \S*/build trixie \S*` ended with status 25\nE: no mirror"):
        await base_image.BaseImages(engine, builder).ensure("trixie", quiet)


@pytest.mark.parametrize(
    ("mounts", "place"),
    [
        ("true", "/dev/shm"),
        ("mount -t tmpfs -o noexec,size=2g none /dev/shm", "/tmp"),
        ("mount -t tmpfs -o size=9m none /dev/shm", "/tmp"),
    ],
)
def test_a_base_is_unpacked_where_programs_may_run(tmp_path: Path, mounts: str, place: str) -> None:
    """Memory is fastest; containers and hardened machines forbid programs there, and small ones have little of it."""
    tool = tmp_path / "mmdebstrap"
    say(tool, 'echo "$TMPDIR"')
    tool.chmod(0o755)
    fresh = ["mount -t tmpfs -o size=2g none /dev/shm", f"PATH={tmp_path}:$PATH", "unset TMPDIR"]
    builder = image_sources() / "debian" / "build"
    script = " && ".join([*fresh[:1], mounts, *fresh[1:], f"exec sh {builder} trixie out.tar"])
    # A mount table of its own, which root may have, and mostly everyone.
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    if subprocess.run([*apart, fresh[0]], check=False, capture_output=True).returncode:
        pytest.skip("nothing may be mounted here")
    done = subprocess.run([*apart, script], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, place, "")


async def test_a_builder_that_hangs_is_ended(
    engine: Engine, builder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what it started with it."""
    monkeypatch.setattr(base_image, "BUILD_LIMIT", 0.05)
    say(builder, "sleep 60")
    with pytest.raises(StepFailed, match="took longer"):
        await base_image.BaseImages(engine, builder).ensure("trixie", quiet)


async def test_without_the_tool_and_the_right_to_install_it_the_ways_out_are_named(
    engine: Engine, builder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are three."""
    monkeypatch.setattr("runtime.base_image.shutil.which", lambda name: None)
    with pytest.raises(StepFailed, match=r"apt-get install mmdebstrap.*docker load.*base_image"):
        await base_image.BaseImages(engine, builder).ensure("trixie", quiet)


async def test_root_installs_the_tool(engine: Engine, builder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Debian and Ubuntu, with visible progress."""
    monkeypatch.setattr(
        "runtime.base_image.shutil.which", lambda name: None if name == "mmdebstrap" else "/x"
    )
    monkeypatch.setattr("runtime.base_image.os.geteuid", lambda: 0)
    monkeypatch.setattr(base_image, "INSTALL", (("echo", "installing it"),))
    lines: list[str] = []
    await base_image.BaseImages(engine, builder).ensure("trixie", lines.append)
    assert "installing it" in lines


async def test_a_fixed_base_is_what_its_setting_says(engine: Engine, fake_engine: Any) -> None:
    """Pulled if it is missing, never replaced by another; it is part of the images' names."""
    fake_engine.registry.add("my/base:latest")
    images = RuntimeImages(engine, base_image="my/base")
    await images.ensure("python3.11", quiet)
    assert fake_engine.pulls == ["my/base:latest"]
    assert fake_engine.builds[0]["buildargs"]["BASE"] == "my/base"
    assert images.reference("python3.11") != RuntimeImages(engine).reference("python3.11")


async def test_a_fixed_base_that_cannot_be_had_is_an_error(engine: Engine) -> None:
    """Its registry knows why."""
    with pytest.raises(StepFailed, match="no such host"):
        await RuntimeImages(engine, base_image="my/base:1").ensure("python3.11", quiet)


async def test_a_young_image_stays(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """Two checkouts on one engine do not take each other's images away."""
    fake_engine.add_image("berth/python3.11:young", {"berth.image": "python3.11"})
    fake_engine.images["berth/python3.11:young"]["Created"] = time.time()
    reference = await images.ensure("python3.11", quiet)
    assert {reference, "berth/python3.11:young"} <= set(fake_engine.images)


async def test_an_image_for_dockerfiles_is_made_of_two_others(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """The runtime's and the bundle's, which are built first. It has AWS's name."""
    assert await images.standalone("python3.11", quiet) == "berth/python:3.11"
    await images.standalone("python3.11", quiet)
    built = [build["t"].partition(":")[0] for build in fake_engine.builds]
    assert built == ["berth/python3.11", f"berth/{images._bundle_name(None)}", "berth/standalone-python3.11"]
    arguments = fake_engine.builds[-1]["buildargs"]
    assert (arguments["IMAGE"], arguments["BUNDLE"]) == (
        fake_engine.builds[0]["t"],
        fake_engine.builds[1]["t"],
    )


async def test_images_of_other_people_stay(images: RuntimeImages, fake_engine: Any, with_base: None) -> None:
    """They inherit the label of the image that they are built on."""
    fake_engine.add_image("theirs:latest", {"berth.image": "standalone-python3.11"})
    fake_engine.add_image("berth/standalone-python3.11:old", {"berth.image": "standalone-python3.11"})
    await images.standalone("python3.11", quiet)
    assert "theirs:latest" in fake_engine.images
    assert "berth/standalone-python3.11:old" not in fake_engine.images


async def test_a_bundle_is_for_one_processor(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """Under any of its names; another than those that there are is said."""
    assert await images.bundle(quiet, "x86_64") == await images.bundle(quiet, "amd64")
    await images.bundle(quiet, "arm64")
    assert [build["buildargs"]["ARCHITECTURE"] for build in fake_engine.builds] == ["amd64", "arm64"]
    with pytest.raises(UnknownRuntime, match="nothing for the processor riscv64; there are amd64, arm64"):
        await images.bundle(quiet, "riscv64")


async def test_images_of_one_suite_are_built_one_after_another(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """They begin alike, and the second finds that beginning made; those of other suites are built meanwhile."""
    fake_engine.add_image("debian:trixie-slim")
    reached = {name: threading.Event() for name in ("first", "second")}
    go_on = threading.Event()
    begun: list[str] = []

    def hold(request: str) -> None:
        if request == "POST /build":
            begun.append(request)
            reached["first" if len(begun) == 1 else "second"].set()
            go_on.wait(10)

    fake_engine.before = hold
    wanted = ["python3.11", "nodejs22.x", "python3.13"]
    told: list[str] = []
    callers = [asyncio.create_task(images.ensure(runtime, told.append)) for runtime in wanted]
    for event in reached.values():
        assert await asyncio.to_thread(event.wait, 10)
    assert sorted(line.rpartition(" ")[2] for line in told) == ["debian:bookworm-slim", "debian:trixie-slim"]
    go_on.set()
    await asyncio.gather(*callers)
    assert len(fake_engine.builds) == 3


def test_a_suite_s_beginning_is_over_with_the_second_stage() -> None:
    """Of the builder's own lines only; what runs in a build may say anything. It is let go of once."""
    released: list[int] = []
    beginning = Beginning(lambda: released.append(1))
    for line in ("Step 1/9 : ARG BASE", "Step 2/9 : FROM ${BASE} AS python", " Step 3/9 : FROM x", "FROM x"):
        beginning.hear(line)
    assert released == []
    beginning.hear("Step 4/9 : FROM python AS packages")
    assert released == [1]
    beginning.hear("Step 8/9 : FROM python")
    beginning.end()
    assert released == [1]


def test_a_build_that_ends_early_lets_go_of_its_suite() -> None:
    """The next one tries for itself."""
    released: list[int] = []
    Beginning(lambda: released.append(1)).end()
    assert released == [1]


@pytest.fixture
def other(engine: Engine, fake_engine: Any) -> None:
    """An engine for amd64 whose machine runs programs for arm64."""
    engine.facts = replace(engine.facts, machine="amd64")
    fake_engine.emulates.add("arm64")


async def test_an_image_for_another_processor(images: RuntimeImages, fake_engine: Any, other: None) -> None:
    """It is built from that processor's base, under a name of its own."""
    fake_engine.registry.add("arm64v8/debian:bookworm-slim")
    reference = await images.ensure("python3.11", quiet, processor="arm64")
    [build] = fake_engine.builds
    assert reference.startswith("berth/python3.11-arm64:")
    assert (build["platform"], build["buildargs"]["BASE"]) == ("linux/arm64", "arm64v8/debian:bookworm-slim")
    assert fake_engine.images[reference]["Labels"] == {"berth.image": "python3.11-arm64"}


COMPILING = ("BUILD_BASE", "BUILD_PLATFORM", "CROSS")


async def test_what_is_compiled_for_another_processor(
    images: RuntimeImages, fake_engine: Any, with_base: None, other: None
) -> None:
    """Is compiled on the engine's own: to emulate a compiler takes half an hour."""
    fake_engine.add_image("arm64v8/debian:bookworm-slim")
    await images.ensure("nodejs22.x", quiet, processor="arm64")
    [build] = fake_engine.builds
    assert (build.get("platform"), build["buildargs"]["BASE"]) == (None, "arm64v8/debian:bookworm-slim")
    told = [build["buildargs"][name] for name in COMPILING]
    assert told == ["debian:bookworm-slim", "linux/amd64", "aarch64-linux-gnu"]


async def test_what_is_compiled_for_the_engine_s_own(
    images: RuntimeImages, fake_engine: Any, with_base: None, other: None
) -> None:
    """Is compiled in the image that it is for."""
    await images.ensure("nodejs22.x", quiet)
    [build] = fake_engine.builds
    told = [build["buildargs"][name] for name in COMPILING]
    assert told == ["debian:bookworm-slim", "linux/amd64", ""]


async def test_what_is_compiled_in_a_fixed_base(engine: Engine, fake_engine: Any, other: None) -> None:
    """There is one base for all, so the compiler runs in it too, emulated if it must be."""
    fake_engine.registry.add("my/base:latest")
    images = RuntimeImages(engine, base_image="my/base")
    await images.ensure("nodejs22.x", quiet, processor="arm64")
    [build] = fake_engine.builds
    assert [build["buildargs"][name] for name in COMPILING] == ["my/base", "linux/arm64", ""]


async def test_a_base_for_another_processor_is_made_of_packages(
    images: RuntimeImages, fake_engine: Any, other: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By the same program, told so; the image says which processor it is for, as builders want it."""
    commands = mmdebstrap(monkeypatch, tmp_path, runs="arm64")
    await images.ensure("python3.11", quiet, processor="arm64")
    assert commands == ["bookworm arm64"]
    base = fake_engine.images["berth/base-arm64:bookworm"]
    assert (base["Architecture"], base["Labels"]) == ("arm64", {"berth.base": "bookworm"})
    assert fake_engine.builds[0]["buildargs"]["BASE"] == "berth/base-arm64:bookworm"


async def test_a_base_is_made_where_its_programs_run(
    images: RuntimeImages, other: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine may be on another machine than Berth; the ways out are named."""
    commands = mmdebstrap(monkeypatch, tmp_path, runs="")
    words = (
        r"this machine does not run programs for arm64.*qemu-user-static.*load arm64v8/debian:bookworm-slim"
    )
    with pytest.raises(StepFailed, match=words):
        await images.ensure("python3.11", quiet, processor="arm64")
    assert commands == []


def mmdebstrap(monkeypatch: pytest.MonkeyPatch, place: Path, runs: str) -> list[str]:
    """One that makes an empty tree, on a machine that runs another processor's programs; what it is told."""
    told: list[str] = []

    async def command(arguments: Sequence[str], _progress: Any) -> None:
        _shell, _program, suite, out, *more = arguments
        await asyncio.to_thread(Path(out).touch)
        told.append(" ".join([suite, *more]))

    monkeypatch.setattr(base_image, "_command", command)
    monkeypatch.setattr(base_image, "runs_here", lambda processor: processor == runs)
    monkeypatch.setattr("shutil.which", lambda _: str(place))
    return told


async def test_a_machine_that_cannot_run_another_processor_s_programs(
    images: RuntimeImages, fake_engine: Any, other: None
) -> None:
    """That is said before anything is built, and of a machine that has forgotten how to as well."""
    fake_engine.add_image("arm64v8/debian:bookworm-slim")
    fake_engine.emulates.clear()
    with pytest.raises(CannotRun, match=r"does not run programs for arm64.*qemu-user-static"):
        await images.ensure("python3.11", quiet, processor="arm64")
    assert fake_engine.builds == []
    fake_engine.emulates.add("arm64")
    fake_engine.build_steps = [{"error": "exec /bin/sh: exec format error"}]
    fresh = RuntimeImages(images._engine)
    with pytest.raises(StepFailed, match=r"exec format error(.|\n)*qemu-user-static"):
        await fresh.ensure("python3.11", quiet, processor="arm64")


async def test_the_bundle_for_another_processor_says_so(
    images: RuntimeImages, fake_engine: Any, with_base: None, other: None
) -> None:
    """It is built on the engine's own and would be said to be for that, by which no builder could copy from it."""
    reference = await images.bundle(quiet, "arm64")
    image = fake_engine.images[reference]
    assert image["Architecture"] == "arm64"
    assert image["Labels"] == {"berth.image": "rapid-arm64"}
    assert image["Config"]["Cmd"] == ["/var/rapid/bin/agent"]
    with tarfile.open(fileobj=io.BytesIO(fake_engine.layers[reference])) as tar:
        found = {member.name: (member.isdir(), member.linkname) for member in tar}
    assert found == {
        "var": (True, ""),
        "var/rapid/file": (False, ""),
        "var/rapid/link": (False, "var/rapid/file"),
    }
    assert fake_engine.images[await images.bundle(quiet)]["Architecture"] == "amd64"


async def test_an_image_for_dockerfiles_for_another_processor(
    images: RuntimeImages, fake_engine: Any, with_base: None, other: None
) -> None:
    """Of that processor's runtime and bundle, under the name that AWS would give it."""
    fake_engine.add_image("arm64v8/debian:bookworm-slim")
    assert await images.standalone("nodejs22.x", quiet, processor="arm64") == "berth/nodejs:22-arm64"
    build = fake_engine.builds[-1]
    assert build["platform"] == "linux/arm64"
    arguments = build["buildargs"]
    assert arguments["IMAGE"].startswith("berth/nodejs22.x-arm64:")
    assert arguments["BUNDLE"].startswith("berth/rapid-arm64:")
    assert arguments["SEARCH"].startswith("/opt/nodejs/node22/node_modules:")
    current = set(fake_engine.images)
    await images.prune()
    assert current <= set(fake_engine.images)


async def test_the_engine_s_own_processor_is_nothing_special(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """Asked for by any of its names, it is the usual image."""
    machine = "amd64" if images._bundle_name(None).endswith("amd64") else "arm64"
    assert await images.ensure("python3.11", quiet, processor=machine) == images.reference("python3.11")


async def test_pruning_leaves_what_is_current_and_what_is_not_ours(
    images: RuntimeImages, fake_engine: Any, with_base: None
) -> None:
    """However young the rest is; what a sandbox runs on stays, and is not said to be removed."""
    await images.standalone("python3.11", quiet)
    fake_engine.add_image("arm64v8/debian:bookworm-slim")
    fake_engine.emulates.add("arm64")
    await images.ensure("python3.11", quiet, processor="arm64")
    before = set(fake_engine.images)
    assert images.reference("python3.11") in before
    label = {"berth.image": "python3.11"}
    for name in ("berth/python3.11:old", "berth/python3.11:used", "team/app:1"):
        fake_engine.add_image(name, label)
        fake_engine.images[name]["Created"] = time.time()
    fake_engine.add_image("berth/standalone-python3.11:old", {"berth.image": "standalone-python3.11"})
    for number in range(3):
        fake_engine.add_image(f"sha256:{number}", {"berth.stage": "python3.11"})
        fake_engine.images[f"sha256:{number}"].update(Id=f"sha256:{number}", RepoTags=[])
    fake_engine.failures.append(("DELETE /images/berth/python3.11:used", 409, "image is being used"))
    removed = await images.prune()
    assert sorted(removed) == [
        "berth/python3.11:old",
        "berth/standalone-python3.11:old",
        "sha256:0",
        "sha256:1",
    ]
    assert set(fake_engine.images) == before | {"berth/python3.11:used", "team/app:1", "sha256:2"}
