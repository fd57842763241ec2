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
