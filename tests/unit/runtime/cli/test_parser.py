from importlib import import_module

import pytest

from runtime.cli import main
from runtime.cli.parser import COMMANDS, Command, make_parser


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_explains_itself_and_exists(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    """Help has a summary, ends with examples that parse, and the module of the name runs."""
    assert main([command.name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: berth {command.name}" in text
    assert text.rstrip().endswith(command.examples.splitlines()[-1])
    assert command.summary.endswith(".")
    assert callable(import_module(f"runtime.cli.{command.name}").run)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "berth: the following arguments are required: COMMAND; see: berth --help"),
        (["ps", "--frobnicate"], "berth: unrecognized arguments: --frobnicate; see: berth --help"),
        (
            ["logs", "f", "-n", "x"],
            "berth: argument -n/--limit: 'x' is not a number from 0 to 10000; see: berth logs --help",
        ),
        (
            ["down", "--timeout", "-1"],
            "berth: argument --timeout: '-1' is not a number of seconds; see: berth down --help",
        ),
        (["invoke"], "berth: the following arguments are required: FUNCTION; see: berth invoke --help"),
    ],
)
def test_misuse_is_one_line(arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake on the command line costs one line on stderr, exit code 2, and names the help to read."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", line + "\n")


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("run IMAGE", []),
        ("run IMAGE one two", ["one", "two"]),
        ("run IMAGE --event {} one two", ["one", "two"]),
        ("run --event {} IMAGE one --timeout 3 two", ["one", "two"]),
        ("run IMAGE --event {} -- one --timeout 3", ["one", "--timeout", "3"]),
        ("run IMAGE one -- -m -- two", ["one", "-m", "--", "two"]),
        ("attach FUNCTION -q 1 -- python -m client app.handler", ["python", "-m", "client", "app.handler"]),
        ("attach -q 1 FUNCTION", []),
    ],
)
def test_what_is_to_be_started_stands_anywhere_behind_the_name(line: str, arguments: list[str]) -> None:
    """Options may be before, within and, as far as there is no `--`, behind it."""
    assert make_parser().parse_args(line.split()).arguments == arguments


@pytest.mark.parametrize(
    ("line", "unknown"),
    [
        ("run IMAGE one --frobnicate two", "--frobnicate two"),
        ("run IMAGE --frobnicate -- two", "--frobnicate"),
        ("invoke FUNCTION two", "two"),
    ],
)
def test_what_no_command_takes_is_refused(
    line: str, unknown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than started or passed over."""
    assert main(line.split()) == 2
    assert f"unrecognized arguments: {unknown}" in capsys.readouterr().err


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names program and version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "berth 0.1.0\n"


def test_bad_setting_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that cannot be used stops every command in the same way."""
    monkeypatch.setenv("BERTH_PORT", "x")
    for command in (["up"], ["ps"], ["doctor"], ["settings"]):
        assert main(command) == 2
        assert (
            capsys.readouterr().err
            == "berth: BERTH_PORT: 'x' is not a port (1-65535, or 0 for any free one)\n"
        )


def test_abbreviations_are_not_guessed() -> None:
    """`--data` is not `--data-dir`: a script must not change its meaning when a flag is added."""
    with pytest.raises(SystemExit):
        make_parser().parse_args(["ps", "--data", "x"])
