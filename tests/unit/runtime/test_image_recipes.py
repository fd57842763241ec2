import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import botocore.session
import pytest

from rapid.agent import FILES
from runtime.api.configuration import BLOCKED_RUNTIMES
from runtime.image_table import (
    Runtime,
    aws_reference,
    image_sources,
    public_name,
    read_bundle,
    read_table,
    standalone_row,
)
from runtime.images import Files, content_address, files_under, tar_of

ROW = Runtime("python3.11", "python", "bookworm", {"PACKAGES": "awslambdaric==4.2.2"})
WHAT: Files = {"Dockerfile": (b"FROM x", 0o644), "bootstrap": (b"#!", 0o755)}
BACKWARDS: Files = {name: WHAT[name] for name in sorted(WHAT, reverse=True)}
RUNTIMES = read_table(image_sources())
TABLE = {name: row for name, row in RUNTIMES.items() if row.is_built}
NOT_YET = {"nodejs26.x", "python3.15", "java8.al2023", "java11.al2023", "java17.al2023", "custom"}
"""Identifiers that the model has and nobody can create a function of."""
ROWS = (
    TABLE
    | read_bundle(image_sources())
    | {f"standalone {row.identifier}": standalone_row(row, "i", "b") for row in TABLE.values()}
)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_row_has_its_files(row: Runtime) -> None:
    """The table names what is there, and arguments that its Dockerfile takes."""
    dockerfile = (image_sources() / row.context / "Dockerfile").read_text()
    files = set(files_under(image_sources() / row.context))
    copied = [line.split()[1:-1] for line in dockerfile.splitlines() if line.startswith("COPY ")]
    named = {name for names in copied for name in names if name[0] not in "-/" and not name.endswith("/")}
    assert {"Dockerfile"} | named <= files
    assert all(f"ARG {name}\n" in dockerfile for name in row.arguments)


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_versions_are_pinned(row: Runtime) -> None:
    """The same row gives the same image, next year too."""
    packages = [each for name in ("PACKAGES", "TOOLS") for each in row.arguments.get(name, "").split()]
    packages += [each for name in ("CLIENT", "SDK") for each in row.arguments.get(name, "").split()]
    assert all(re.fullmatch(r".+(==|@)\d+\.\d+(\.\d+)?", package) for package in packages)
    assert re.fullmatch(r"\d+\.\d+\.\d+", row.arguments.get("NODE", "0.0.0"))


def test_all_images_begin_alike() -> None:
    """The agent's interpreter is a layer that an engine holds once, whatever the runtime."""
    contexts = {row.context for row in TABLE.values()}
    files = [(image_sources() / context / "Dockerfile").read_text() for context in contexts]
    beginnings = [
        re.search(r"^FROM \${BASE}.*?\n(RUN .*?[^\\]\n)", text, re.MULTILINE | re.DOTALL) for text in files
    ]
    tools = [
        re.search(r"^# What functions, .*?\nRUN .*?[^\\]\n", text, re.MULTILINE | re.DOTALL) for text in files
    ]
    assert len(files) == 3
    assert len({found and found[1] for found in beginnings}) == 1
    assert all(tools)
    assert len({found[0] for found in tools if found}) == 1


def test_dockerfiles_stay_in_the_common_subset() -> None:
    """The engine's API offers the classic builder only."""
    for path in image_sources().glob("*/Dockerfile"):
        text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("# "))
        assert not any(word in text for word in ("--mount", "--chmod", "<<", "TARGETARCH", "# syntax"))


def test_the_same_content_has_the_same_address() -> None:
    """Whatever the order in which it was read."""
    assert content_address(WHAT, ROW, "debian:bookworm") == content_address(BACKWARDS, ROW, "debian:bookworm")


@pytest.mark.parametrize(
    ("files", "row", "base"),
    [
        ({**WHAT, "bootstrap": (b"#!x", 0o755)}, ROW, "b"),
        ({**WHAT, "bootstrap": (b"#!", 0o644)}, ROW, "b"),
        ({**WHAT, "more": (b"", 0o644)}, ROW, "b"),
        (WHAT, replace(ROW, arguments={"PACKAGES": "awslambdaric==4.2.1"}), "b"),
        (WHAT, replace(ROW, suite="trixie"), "b"),
        (WHAT, ROW, "other"),
    ],
)
def test_any_change_is_another_address(files: Files, row: Runtime, base: str) -> None:
    """Content, mode, presence, arguments, suite and base all count."""
    assert content_address(files, row, base) != content_address(WHAT, ROW, "b")


def test_a_context_is_the_same_whenever_it_is_made() -> None:
    """No times, no owners: the builder's cache goes by content."""
    assert tar_of(WHAT) == tar_of(BACKWARDS)
    with tarfile.open(fileobj=io.BytesIO(tar_of(WHAT))) as tar:
        assert [(each.name, each.mode, each.mtime, each.uid) for each in tar] == [
            ("Dockerfile", 0o644, 0, 0),
            ("bootstrap", 0o755, 0, 0),
        ]


def test_only_files_go_into_a_context(tmp_path: Path) -> None:
    """Their modes are reduced to what matters, whatever the umask of the checkout; caches stay out."""
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "run").write_text("x")
    (tmp_path / "sub" / "run").chmod(0o700)
    (tmp_path / "note").write_text("y")
    (tmp_path / "note").chmod(0o600)
    assert files_under(tmp_path) == {"sub/run": (b"x", 0o755), "note": (b"y", 0o644)}
    assert files_under(tmp_path, "p/", ["note"]) == {"p/note": (b"y", 0o644)}


def test_the_agent_s_files_exist() -> None:
    """What the image copies is what the agent says that it consists of."""
    import rapid

    assert set(files_under(Path(rapid.__file__).parent, "", FILES)) == set(FILES)


def test_images_for_dockerfiles_have_aws_s_names() -> None:
    """So that only the registry in a FROM line changes."""
    names = {name: public_name(name) for name in ("python3.11", "nodejs22.x", "provided.al2023")}
    assert names == {
        "python3.11": "python:3.11",
        "nodejs22.x": "nodejs:22",
        "provided.al2023": "provided:al2023",
    }


def test_every_runtime_that_a_function_may_have_is_in_the_table() -> None:
    """What the API lets through has an image, AWS's at least; identifiers of the model that AWS refuses have none."""
    model = botocore.session.get_session().get_service_model("lambda")
    accepted = set(model.shape_for("Runtime").enum) - BLOCKED_RUNTIMES
    assert set(RUNTIMES) <= accepted
    assert accepted - set(RUNTIMES) == NOT_YET


def test_a_stand_in_is_a_version_of_the_same_family_that_berth_has() -> None:
    """Those that Berth builds need none."""
    for row in RUNTIMES.values():
        if row.nearest is not None:
            assert not row.is_built
            assert RUNTIMES[row.nearest].is_built
            assert row.nearest.rstrip("0123456789.x") == row.identifier.rstrip("0123456789.x")


def test_aws_s_images_follow_from_identifiers() -> None:
    """As AWS publishes them."""
    names = ["python3.12", "nodejs18.x", "java8.al2", "java21", "dotnet8", "ruby3.3", "provided.al2"]
    assert [aws_reference(name) for name in names] == [
        f"public.ecr.aws/lambda/{name}"
        for name in (
            "python:3.12",
            "nodejs:18",
            "java:8.al2",
            "java:21",
            "dotnet:8",
            "ruby:3.3",
            "provided:al2",
        )
    ]
