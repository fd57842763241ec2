"""The settings of Berth: one table, from which flags, variables, file keys, checks and the docs' table follow.

A row of the table is a field of `Settings`. Its name gives the flag (`--data-dir`), the environment variable
(`BERTH_DATA_DIR`) and the key in the YAML file (`data_dir` or `data-dir`). The first that says something wins:
flag, variable, file, somebody else's variable that means the same (`DOCKER_HOST`), default. An empty variable or key
says nothing. The file is the one that `--config` or `BERTH_CONFIG` names, else `<data_dir>/berth.yaml` if it exists.

This module knows what a value may look like, never whether it works: no port is bound here and no engine asked.
It is the only one that reads the environment, but for what the `docker` command reads there (`runtime.spawners.engine`),
what AWS's SDK reads (`runtime.objects`), and for the agent.
"""

import argparse
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from runtime import neighbours
from runtime.image_choice import ImageChoice
from runtime.neighbours import Endpoints
from runtime.setting_kinds import (
    ACCOUNT,
    ADDRESS,
    COUNT,
    COUNT_OR_ZERO,
    ENDPOINTS,
    FILE,
    IMAGES,
    PATH,
    PATHS,
    PORT,
    RATE,
    REGION,
    SECONDS,
    SWITCH,
    TEXT,
    Kind,
    Paths,
    SettingsError,
    choice,
    file_of,
)
from runtime.settings_file import CONFIG_NAME, read_file

CONFIG_VARIABLE = "BERTH_CONFIG"
URL_VARIABLE = "BERTH_URL"
TESTS_VARIABLE = "BERTH_ENDPOINT"
DEFAULT = "default"
"""The origin of a value that nobody set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting, as the table has it."""

    name: str
    kind: Kind
    default: str | None
    help: str
    others: tuple[str, ...]
    """Variables of other tools that mean the same; one that does not fit is passed over."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        return "BERTH_" + self.name.upper()

    def read(self, text: str, origin: str) -> Any:
        """The value that `text` stands for; `origin` is named if it stands for none."""
        try:
            return self.kind.parse(text)
        except ValueError:
            raise SettingsError(f"{origin}: {text!r} is not {self.kind.wanted}") from None


def _row(kind: Kind, default: str | None, help_text: str, *, others: tuple[str, ...] = ()) -> Any:
    facts = {"kind": kind, "default": default, "help": help_text, "others": others}
    return field(default_factory=lambda: None if default is None else kind.parse(default), metadata=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The table. `Settings()` holds the defaults."""

    host: str = _row(ADDRESS, "127.0.0.1", "Address that the REST API listens on.")
    port: int = _row(PORT, "3001", "Port of the REST API; 0 picks a free one.")
    data_dir: Path = _row(  # noqa: RUF009 -- `_row` makes a field
        PATH, "~/.berth", "Where functions, code, logs and the settings file are kept."
    )
    hot_reload: Paths | None = _row(  # noqa: RUF009
        PATHS,
        None,
        "Directories below which functions' code may be used as it lies there, with colons between: S3Bucket "
        "`hot-reload`, S3Key the directory. Whoever reaches the API can read what is in them. Unset: none.",
    )
    hot_reload_bucket: str = _row(
        TEXT, "hot-reload", "The bucket that means a directory of this machine, its key being the path."
    )
    key_file: Path | None = _row(  # noqa: RUF009
        FILE,
        None,
        "File with the key that encrypts functions' environment variables at rest, 32 bytes in base64; unset: "
        "store/variables.key in the data directory, made when it is first needed.",
    )
    account_id: str = _row(
        ACCOUNT, "123456789012", "Account of requests whose access key is not a 12-digit number."
    )
    region: str = _row(
        REGION,
        "us-east-1",
        "Region of requests that name none.",
        others=("AWS_REGION", "AWS_DEFAULT_REGION"),
    )
    spawner: str = _row(
        choice("auto", "docker", "process"),
        "auto",
        "What runs functions: containers, or child processes of Berth; auto takes Docker where it answers.",
    )
    docker_host: str | None = _row(
        TEXT,
        None,
        "The engine's socket or URL; unset: the current Docker context, else well-known sockets, Podman's included.",
        others=("DOCKER_HOST",),
    )
    delivery: str = _row(
        choice("auto", "bind", "copy"),
        "auto",
        "How code reaches a sandbox: mounted, or sent; auto mounts where the engine sees the data directory.",
    )
    idle_timeout: float = _row(
        SECONDS, "600", "Seconds without an invocation after which an environment is removed."
    )
    memory_budget: int | None = _row(
        COUNT,
        None,
        "MB for all execution environments together, each counted with its function's memory; unset: four fifths of "
        "the memory of the machine that they run on. Most functions use less than they may, so that it can be more.",
    )
    max_environments: int = _row(COUNT, "1000", "Most execution environments at a time.")
    room_wait: float = _row(
        SECONDS,
        "10",
        "Seconds that an invocation waits for room where the budget is used up, before it is refused (429).",
    )
    warm_ahead: bool = _row(
        SWITCH,
        "true",
        "Initialise one environment of a new, changed or published function ahead, where there is room to spare.",
    )
    account_concurrency: int = _row(
        COUNT,
        "1000",
        "Concurrent executions of an account in a region; 100 of them, or all where there are no more, cannot be "
        "reserved or provisioned.",
    )
    scaling_model: str = _row(
        choice("current", "burst"),
        "current",
        "How fast environments may be added: each function 1000 in ten seconds, or, as until 2023, a region's first "
        "burst and then 500 a minute for all functions together.",
    )
    limit_request_rate: bool = _row(
        SWITCH,
        "true",
        "Throttle synchronous invocations beyond ten a second for each unit of concurrency, as AWS does.",
    )
    launch_parallelism: int = _row(
        COUNT_OR_ZERO, "0", "Most environments that start at once; 0: one per core."
    )
    standby: bool = _row(
        SWITCH,
        "true",
        "Keep containers started ahead, for functions to be: a cold start from one takes a third of the time.",
    )
    standby_memory: int = _row(
        COUNT_OR_ZERO, "128", "Most memory of all standby containers together, in MB; each counts 16."
    )
    spare_networks: int = _row(
        COUNT_OR_ZERO,
        "4",
        "Most networks made ahead, for containers that are started when none stands by; 0: none.",
    )
    freeze: bool = _row(SWITCH, "true", "Freeze environments between invocations, as Lambda does.")
    functions_may_call: str = _row(
        choice("invoke", "all", "nothing"),
        "invoke",
        "What functions may ask of Berth with their own credentials: to invoke functions of their account, every "
        "operation on it, or nothing.",
    )
    aws_endpoint_url: Endpoints | None = _row(  # noqa: RUF009
        ENDPOINTS,
        None,
        "Where other AWS services are, for functions and for code in S3: a URL for all, service=URL pairs, or both, "
        "with commas between; unset: AWS. The fallback is passed over where it leads to Berth.",
        others=(neighbours.VARIABLE,),
    )
    lenient_routing: bool = _row(
        SWITCH,
        "false",
        "UpdateAlias with a version and without routing clears the routing, where AWS keeps it.",
    )
    response_stream_rate: int = _row(
        RATE,
        "0",
        "Bytes per second of a streamed response after its first 6 MiB (AWS: 2097152); 0: no limit.",
    )
    suspend_timeouts: bool = _row(
        SWITCH, "false", "Let no initialisation and no invocation time out: for debuggers."
    )
    link_host: str | None = _row(
        ADDRESS, None, "Address of this machine as sandboxes reach it; unset: found out."
    )
    build_ca: Path | None = _row(  # noqa: RUF009
        FILE,
        None,
        "CA bundle that image builds trust, for networks whose proxy signs for others.",
        others=("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
    )
    base_image: str | None = _row(
        TEXT,
        None,
        "Base of the runtime images; unset: Debian's, pulled, or built from packages where it cannot be pulled.",
    )
    runtime_images: ImageChoice = _row(  # noqa: RUF009
        IMAGES,
        "own",
        "Which image serves a runtime: `own` are Berth's, and AWS's for runtimes that it has none for; `aws` are AWS's "
        "base images; `python3.12=IMAGE` names one. Several with commas between. They are pulled if missing.",
    )
    nearest_runtime: bool = _row(
        SWITCH,
        "false",
        "Let Berth's image of the nearest version serve a runtime where AWS's image cannot be had, e.g. python3.13 "
        "for python3.12.",
    )
    emulation: str = _row(
        choice("auto", "off", "required"),
        "auto",
        "Whether packages run on the processor of their `Architectures` where that is not the engine's: those for "
        "arm64 where its kernel has an emulator; never, on the engine's own instead; or all, and fail without one.",
    )
    log_level: str = _row(
        choice("debug", "info", "warning", "error"), "info", "How much Berth says about itself."
    )


ROWS: tuple[Row, ...] = tuple(Row(name=each.name, **each.metadata) for each in fields(Settings))


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each name where its value came from: a flag, a variable, a file or `default`."""

    settings: Settings
    origins: Mapping[str, str]

    def asked_for(self, name: str) -> bool:
        """Whether somebody set this for Berth: not a default, and not another tool's variable."""
        others = next(row.others for row in ROWS if row.name == name)
        return self.origins[name] not in (DEFAULT, *others)


@dataclass(frozen=True, slots=True)
class _Said:
    """What somebody says about a setting. A lenient one is passed over when it makes no sense."""

    origin: str
    text: str
    lenient: bool = False


def load(flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None) -> Loaded:
    """Settings from flags (name → text, see `flags_of`), environment, file and defaults."""
    env = os.environ if environ is None else environ
    config = _config_file(flags, env)
    document = read_file(config, [row.name for row in ROWS]) if config else {}
    decided = {row.name: _decide(row, _voices(row, flags, env, document, str(config))) for row in ROWS}
    decided["aws_endpoint_url"] = _elsewhere(decided)
    values = {name: value for name, (value, _) in decided.items()}
    return Loaded(Settings(**values), {name: origin for name, (_, origin) in decided.items()})


def _decide(row: Row, voices: Iterable[_Said]) -> tuple[Any, str]:
    """The value of a setting and its origin."""
    for said in voices:
        try:
            return row.read(said.text, said.origin), said.origin
        except SettingsError:
            if not said.lenient:
                raise
    return (None if row.default is None else row.read(row.default, DEFAULT)), DEFAULT


def _elsewhere(decided: Mapping[str, tuple[Any, str]]) -> tuple[Endpoints | None, str]:
    """The endpoints of other services, which Berth is not.

    SDKs and the AWS CLI are pointed at Berth by the very variable that would point Berth at an emulator.
    """
    endpoints, origin = decided["aws_endpoint_url"]
    (host, _), (port, _) = decided["host"], decided["port"]
    usual = int(next(row.default or "0" for row in ROWS if row.name == "port"))
    for url in endpoints.urls() if endpoints else ():
        if origin == neighbours.VARIABLE and neighbours.leads_to(url, host, port, usual):
            return None, DEFAULT
        if neighbours.leads_to(url, host, port):
            raise SettingsError(f"{origin}: {url} is Berth itself, which serves Lambda only")
    return endpoints, origin


def client_url(flag: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """The address of a running Berth that the caller named; None: look it up in the data directory."""
    env = os.environ if environ is None else environ
    return flag or env.get(URL_VARIABLE) or None


def endpoint_of_tests(environ: Mapping[str, str] | None = None) -> str | None:
    """The address of the running Berth that tests are to use; None: they start one."""
    env = os.environ if environ is None else environ
    return env.get(TESTS_VARIABLE) or None


def _voices(
    row: Row,
    flags: Mapping[str, str | None],
    env: Mapping[str, str],
    document: Mapping[str, str],
    config: str,
) -> Iterator[_Said]:
    """Everything said about a setting, loudest first."""
    if (flag := flags.get(row.name)) is not None:
        yield _Said(row.flag, flag)
    if variable := env.get(row.variable):
        yield _Said(row.variable, variable)
    if row.name in document:
        yield _Said(f"{config}: {row.name}", document[row.name])
    for name in row.others:
        if env.get(name):
            yield _Said(name, env[name], lenient=True)


def _config_file(flags: Mapping[str, str | None], env: Mapping[str, str]) -> Path | None:
    for origin, text in (("--config", flags.get("config")), (CONFIG_VARIABLE, env.get(CONFIG_VARIABLE))):
        if text:
            try:
                return file_of(text)
            except ValueError:
                raise SettingsError(f"{origin}: there is no file {text}") from None
    row = next(row for row in ROWS if row.name == "data_dir")
    said = next(_voices(row, flags, env, {}, ""), _Said(DEFAULT, row.default or ""))
    found: Path = row.read(said.text, said.origin) / CONFIG_NAME
    return found if found.is_file() else None


def add_flags(parser: argparse.ArgumentParser, only: Iterable[str] | None = None) -> None:
    """Give a command the flags of all settings, or of some, and `--config`."""
    wanted = None if only is None else set(only)
    group = parser.add_argument_group("settings (each also as BERTH_… variable or in the settings file)")
    group.add_argument(
        "--config", metavar="FILE", default=None, help=f"settings file; default: <data dir>/{CONFIG_NAME}"
    )
    for row in ROWS:
        if wanted is None or row.name in wanted:
            _add_flag(group, row)


def _add_flag(group: Any, row: Row) -> None:
    text = row.help.replace("%", "%%") + ("" if row.default is None else f" Default: {row.default}.")
    if row.kind is SWITCH:
        group.add_argument(row.flag, action=argparse.BooleanOptionalAction, default=None, help=text)
    else:
        group.add_argument(row.flag, metavar=row.kind.metavar, default=None, help=text)


def flags_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that were given as flags, as text."""
    given: dict[str, str] = {}
    for name in ("config", *(row.name for row in ROWS)):
        value = getattr(arguments, name, None)
        if value is not None:
            given[name] = str(value).lower() if isinstance(value, bool) else str(value)
    return given


def as_arguments(flags: Mapping[str, str]) -> list[str]:
    """The command line that `flags_of` would read `flags` from."""
    arguments = []
    for name, text in flags.items():
        kind = next((row.kind for row in ROWS if row.name == name), PATH)
        flag = name.replace("_", "-")
        if kind is SWITCH:
            arguments.append(f"--{'' if kind.parse(text) else 'no-'}{flag}")
        else:
            arguments.append(f"--{flag}={text}")
    return arguments


def as_text(settings: Settings) -> dict[str, str]:
    """Every setting as it would be written in the file; one without a value is an empty text."""
    return {row.name: _written(getattr(settings, row.name)) for row in ROWS}


def _written(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def markdown() -> str:
    """The table for the docs."""
    lines = ["| Flag | Variable | Key | Default | Meaning |", "|---|---|---|---|---|"]
    for row in ROWS:
        default = "" if row.default is None else f"`{row.default}`"
        others = f" Falls back to {', '.join(f'`{name}`' for name in row.others)}." if row.others else ""
        choices = f" `{row.kind.metavar}`" if row.kind.metavar.startswith("{") else ""
        lines.append(
            f"| `{row.flag}`{choices} | `{row.variable}` | `{row.name}` | {default} | {row.help}{others} |"
        )
    return "\n".join(lines) + "\n"
