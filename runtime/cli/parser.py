"""The commands of `berth` and their arguments: one table, from which parsers and help follow.

It knows names and shapes only; what a command does is in the module of its name.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from runtime import __version__
from runtime.settings import add_flags

Parser = argparse.ArgumentParser


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table."""

    name: str
    summary: str
    arguments: Callable[[Parser], None]
    examples: str


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"berth: {message}; see: {self.prog} --help\n")

    def parse_known_args(  # type: ignore[override]  # the base class has overloads
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Words for another program may have options before and among them: argparse takes those in one place only."""
        if args is None or all(action.dest != "arguments" for action in self._actions):
            return super().parse_known_args(args, namespace)
        end = args.index("--") if "--" in args else len(args)
        found, rest = super().parse_known_args(args[:end], namespace)
        if any(each.startswith("-") for each in rest):
            return found, rest
        found.arguments += [*rest, *args[end + 1 :]]
        return found, []


def make_parser() -> Parser:
    """The parser of the whole command line; `command` in its result names the command."""
    parser = _Parser(
        prog="berth",
        description="AWS Lambda on your own Docker.",
        epilog=_examples(
            "berth up --detach\nexport AWS_ENDPOINT_URL=http://127.0.0.1:3001\naws lambda list-functions"
        ),
    )
    parser.add_argument("--version", action="version", version=f"berth {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        each = commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            epilog=_examples(command.examples),
        )
        command.arguments(each)
    return parser


def _examples(lines: str) -> str:
    return "examples:\n" + "\n".join(f"  {line}" for line in lines.splitlines())


def _up(parser: Parser) -> None:
    parser.add_argument(
        "-d", "--detach", action="store_true", help="start in the background, return when it answers"
    )
    parser.add_argument("--ready-fd", type=int, metavar="FD", help=argparse.SUPPRESS)
    add_flags(parser)


def _down(parser: Parser) -> None:
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="how long it may take to end (default: 30)",
    )
    add_flags(parser, only=["data_dir"])


def _ps(parser: Parser) -> None:
    _json(parser)
    _client(parser)


def _invoke(parser: Parser) -> None:
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN, also with :QUALIFIER")
    parser.add_argument(
        "-p",
        "--payload",
        metavar="JSON|@FILE|-",
        help="the event: JSON, a file, or - for stdin (default: {})",
    )
    parser.add_argument("-q", "--qualifier", metavar="Q", help="version or alias (default: $LATEST)")
    parser.add_argument(
        "--tenant-id", metavar="TENANT", help="whom it is for, where the function isolates tenants"
    )
    parser.add_argument(
        "--tail",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show the end of the log on stderr",
    )
    _json(parser)
    _client(parser, "account_id", "region")


def _run(parser: Parser) -> None:
    parser.add_argument(
        "-e",
        "--event",
        action="append",
        metavar="FILE|JSON|-",
        help="an event: a file, JSON, or - for stdin; several are handed in one after another (default: {})",
    )
    parser.add_argument(
        "--env", action="append", metavar="NAME=VALUE", type=_pair, help="a variable of the function"
    )
    parser.add_argument(
        "--timeout", type=_whole, default=300, metavar="SECONDS", help="the function's (default: 300)"
    )
    parser.add_argument(
        "--memory", type=_whole, default=3008, metavar="MB", help="the function's (default: 3008)"
    )
    _json(parser)
    add_flags(parser, only=["data_dir", "docker_host", "build_ca", "base_image"])
    parser.add_argument("image", metavar="IMAGE", help="a container image with a function in it")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="ARGUMENT",
        help="what its entry point gets instead of the image's CMD, e.g. another handler",
    )


def _images(parser: Parser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    build = verbs.add_parser("build", help="build or pull the images of these runtimes ahead")
    build.add_argument(
        "--all", action="store_true", help="of all runtimes that Berth has images of its own for"
    )
    standalone = verbs.add_parser("standalone", help="build images for Dockerfiles to start from")
    for each in (build, standalone):
        each.add_argument("runtime", nargs="*", metavar="RUNTIME", help="e.g. python3.11")
        each.add_argument(
            "--architecture",
            choices=("x86_64", "arm64"),
            help="the processor they are for (default: the engine's)",
        )
        each.add_argument(
            "--fresh", action="store_true", help="build or pull anew what is there, e.g. for security updates"
        )
    bundle = verbs.add_parser(
        "bundle", help="build the interpreter and the emulator that run in any image, and say where they are"
    )
    bundle.add_argument(
        "--architecture", choices=("x86_64", "arm64"), help="the processor it is for (default: the engine's)"
    )
    bundle.add_argument(
        "--output",
        type=Path,
        metavar="DIRECTORY",
        help="write it below this too, to be mounted into containers",
    )
    verbs.add_parser("list", help="show which image serves each runtime, and whether it is there")
    verbs.add_parser("prune", help="remove Berth's images that newer ones have replaced and nothing runs on")
    for each in verbs.choices.values():
        _json(each)
        add_flags(
            each,
            only=["data_dir", "docker_host", "build_ca", "base_image", "runtime_images", "nearest_runtime"],
        )


def _attach(parser: Parser) -> None:
    parser.add_argument("-q", "--qualifier", metavar="Q", help="version or alias (default: $LATEST)")
    parser.add_argument(
        "--port", type=_port, default=0, metavar="PORT", help="of the Runtime API (default: a free one)"
    )
    _client(parser, "account_id", "region")
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN")
    parser.add_argument(
        "arguments",
        nargs="*",
        metavar="COMMAND",
        help="what to run with the variables, behind --; without one they are shown",
    )


def _alias(parser: Parser) -> None:
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN")
    parser.add_argument("alias", metavar="ALIAS", help="name of the alias")
    changes = parser.add_mutually_exclusive_group()
    changes.add_argument(
        "-e",
        "--environment",
        nargs="+",
        metavar="NAME=VALUE",
        help="the alias's variables from now on, all of them; they win over the version's",
    )
    changes.add_argument(
        "--no-environment",
        action="store_const",
        const=(),
        dest="environment",
        help="the alias has no variables from now on",
    )
    _json(parser)
    _client(parser, "account_id", "region")


def _deploy(parser: Parser) -> None:
    parser.add_argument(
        "-t",
        "--template",
        default="template.yaml",
        metavar="FILE",
        help="the template, YAML or JSON (default: template.yaml)",
    )
    parser.add_argument("-s", "--stack", metavar="NAME", help="name of the stack (default: the folder's)")
    parser.add_argument(
        "-p",
        "--parameter",
        nargs="+",
        action="extend",
        metavar="NAME=VALUE",
        help="values of the template's parameters",
    )
    parser.add_argument(
        "--prune",
        action="store_true",
        help="delete functions and aliases of the stack that left the template",
    )
    parser.add_argument(
        "--no-rollback",
        action="store_false",
        dest="roll_back",
        help="let what was done stay where a run fails (default: it is taken back)",
    )
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "-w", "--watch", action="store_true", help="deploy again whenever template or code changes"
    )
    parser.add_argument(
        "--hot-reload",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --watch: have functions run folders as they are, where Berth's setting hot_reload allows it",
    )
    modes.add_argument("-n", "--dry-run", action="store_true", help="change nothing, say what would be done")
    _json(parser)
    _client(parser, "account_id", "region", "docker_host")


def _logs(parser: Parser) -> None:
    parser.add_argument("function", metavar="FUNCTION", help="name or ARN")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with new events as they come")
    parser.add_argument(
        "-n",
        "--limit",
        type=_events,
        default=100,
        metavar="N",
        help="how many past events, up to 10000 (default: 100)",
    )
    _json(parser, "one JSON object a line: timestamp, stream, message")
    _client(parser, "account_id", "region")


def _story(parser: Parser) -> None:
    parser.add_argument(
        "environment",
        metavar="ENVIRONMENT",
        help="its identifier (berth ps shows them), or the beginning of it",
    )
    _json(parser)
    _client(parser)


def _rekey(parser: Parser) -> None:
    add_flags(parser, only=["data_dir", "key_file"])


def _doctor(parser: Parser) -> None:
    parser.add_argument(
        "--ready",
        action="store_true",
        help="ask the running Berth whether it can run functions by now; for health checks",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="with --ready: how long it may take to get there (default: 0)",
    )
    _json(parser)
    add_flags(parser)


def _settings(parser: Parser) -> None:
    _json(parser)
    parser.add_argument(
        "--markdown", action="store_true", help="the table of all settings, for documentation"
    )
    add_flags(parser)


def _json(parser: Parser, text: str = "print JSON") -> None:
    parser.add_argument("--json", action="store_true", help=text)


def _client(parser: Parser, *settings: str) -> None:
    parser.add_argument(
        "--url",
        metavar="URL",
        help="the Berth to talk to, also BERTH_URL (default: the one of the data directory)",
    )
    add_flags(parser, only=["data_dir", *settings])


def _events(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 10000")
    return int(text)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10**6):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 65535")
    return int(text)


def _pair(text: str) -> str:
    if not text.partition("=")[0] or "=" not in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


COMMANDS: tuple[Command, ...] = (
    Command(
        "up",
        "Start Berth, here or in the background.",
        _up,
        "berth up\nberth up --detach\nberth up --port 4000 --data-dir ./data --spawner process",
    ),
    Command(
        "down",
        "Stop the Berth of a data directory; none running is fine.",
        _down,
        "berth down\nberth down --timeout 120 --data-dir ./data",
    ),
    Command(
        "ps",
        "Show execution environments, and functions that have none.",
        _ps,
        "berth ps\nberth ps --json | jq '.environments[].function'",
    ),
    Command(
        "invoke",
        "Invoke a function: its answer on stdout, the end of its log on stderr; exit code 1 if it failed.",
        _invoke,
        'berth invoke hello --payload \'{"name": "you"}\'\n'
        "berth invoke hello --qualifier live --payload @event.json --no-tail\n"
        "echo '[1, 2]' | berth invoke hello --payload - --json",
    ),
    Command(
        "run",
        "Run a function in a container image once, without a running Berth; exit code 1 if it failed.",
        _run,
        "berth run my-image --event event.json\n"
        "berth run my-image --event one.json --event two.json --json --env STAGE=test\n"
        "berth run --timeout 10 --memory 512 my-image other.handler",
    ),
    Command(
        "images",
        "Build, list and tidy up the images that serve runtimes; exit code 1 if one could not be had.",
        _images,
        "berth images list\n"
        "berth images build python3.13 nodejs22.x\n"
        "berth images build --all --json\n"
        "berth images standalone python3.11\n"
        "berth images bundle --output ~/.aws-lambda-rie",
    ),
    Command(
        "attach",
        "Let a process on this machine be a function's runtime, e.g. in a debugger; invocations go there meanwhile.",
        _attach,
        "berth attach hello\n"
        "berth attach hello -- python -m awslambdaric app.handler\n"
        "berth attach hello --port 9001 -- node --inspect-brk node_modules/.bin/aws-lambda-ric index.handler",
    ),
    Command(
        "alias",
        "Show an alias of a function; set the environment variables that it lays over its version's.",
        _alias,
        "berth alias hello prod\n"
        "berth alias hello prod --environment STAGE=prod DATABASE_URL=db.example.com\n"
        "berth alias hello prod --no-environment",
    ),
    Command(
        "deploy",
        "Deploy the functions, layers, versions and aliases of a SAM or CloudFormation template.",
        _deploy,
        "berth deploy\n"
        "berth deploy --template app/template.yaml --stack app --parameter Stage=dev LogLevel=DEBUG\n"
        "berth deploy --dry-run\n"
        "berth deploy --watch",
    ),
    Command(
        "logs",
        "Show what a function logged.",
        _logs,
        "berth logs hello\nberth logs hello --follow --limit 0\nberth logs hello --json | jq -r .message",
    ),
    Command(
        "story",
        "Show what an execution environment has been through; the last hundred that have ended are remembered.",
        _story,
        "berth story 3f9a\nberth story 3f9a --json | jq -r '.lines[]'",
    ),
    Command(
        "rekey",
        "Encrypt functions' environment variables with another key: now, or when a running Berth starts next.",
        _rekey,
        "berth down\nberth rekey\nberth rekey --key-file /run/secrets/berth.key",
    ),
    Command(
        "doctor",
        "Check this machine; exit code 1 if something essential is missing.",
        _doctor,
        "berth doctor\nberth doctor --docker-host unix:///run/podman/podman.sock\nberth doctor --ready --wait 60",
    ),
    Command(
        "settings",
        "Show the settings in force for this command line, and where each comes from.",
        _settings,
        "berth settings\nBERTH_PORT=4000 berth settings --json\nberth settings --markdown",
    ),
)
