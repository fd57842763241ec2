"""What an execution environment is told about the version that it runs: program, variables, limits, log, credentials.

From records to the values of `rapid`. It starts nothing and knows nothing of sandboxes beyond where things are inside.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rapid.exchange import FetchedCredentials, Program
from rapid.extension_variables import extension_variables
from rapid.log_format import Level, LogFormat
from rapid.platform_events import Identity
from rapid.records import MANAGED, ON_DEMAND, SNAP_START
from rapid.settings import Settings, init_limit
from rapid.wire import first_of
from runtime.image_facts import Image
from runtime.managed import concurrency
from runtime.model import LATEST, FunctionVersion, ImageConfig
from runtime.names import runtime_version, runtime_version_arn
from runtime.spawners.base import Layout
from runtime.variables import Credentials, log_fd, runtime_variables

FILES, MANAGED_FILES = 1024, 4096
"""Open at a time, in each process of an environment: of most functions, and of those on managed instances."""
NEVER = "2099-12-31T23:59:59Z"
"""When credentials expire that end with their sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What an environment is to find outside of its sandbox."""

    api: str
    """`host:port` of its Runtime API."""
    credentials: Credentials
    endpoints: Mapping[str, str]
    """Variables that tell SDKs where services are."""


def initialization_type(version: FunctionVersion) -> str:
    """How environments of the version come to be, unless they are provisioned. Snapshots are of published versions only, as on AWS."""
    if version.config.managed is not None:
        return MANAGED
    return SNAP_START if version.config.snap_starts and version.version != LATEST else ON_DEMAND


def lifecycle_settings(version: FunctionVersion, kind: str, *, timeouts: bool) -> Settings:
    """`kind` is the initialization type."""
    runtime = version.config.runtime
    return Settings(
        version=version.version,
        memory_size=version.config.memory_size,
        runtime_version=runtime_version(runtime) if runtime else "",
        runtime_version_arn=runtime_version_arn(version.scope.region, runtime) if runtime else "",
        init_limit=init_limit(kind, version.config.timeout),
        initialization_type=kind,
        max_concurrency=concurrency(version.config),
        timeouts=timeouts,
    )


def program(
    version: FunctionVersion,
    layout: Layout,
    stream: str,
    outside: Outside,
    kind: str = ON_DEMAND,
    *,
    image: Image | None = None,
) -> Program:
    """The runtime's process and where extensions are.

    `kind` is the initialization type, `image` what it runs in, where that is not one of Berth's images. A function's own
    says what to start; one that serves a runtime has the program where all runtimes have it.
    """
    variables = runtime_variables(
        version,
        layout=layout,
        runtime_api=outside.api,
        log_stream=stream,
        credentials=outside.credentials,
        endpoints=outside.endpoints,
        initialization_type=kind,
        image=None if image is None else image.environment,
    )
    argv, cwd = [_bootstrap(version.config.runtime or "", layout)], layout.task_root
    if image is not None and version.config.runtime is None:
        argv, cwd = _of_image(version.config.image_config or ImageConfig(), image)
        argv = argv or [
            first_of(*(f"{place}/bootstrap" for place in (layout.task_root, layout.opt, layout.runtime_dir)))
        ]
        variables["PWD"] = cwd
    return Program(
        argv=argv,
        env=variables,
        cwd=cwd,
        opt=layout.opt,
        extension_env=extension_variables(variables),
        log_fd=log_fd(version),
        log_desk=version.config.managed is not None,
        files=FILES if version.config.managed is None else MANAGED_FILES,
    )


def _of_image(config: ImageConfig, image: Image) -> tuple[list[str], str]:
    """The command and where it runs. Each part that the function does not say is the image's."""
    entry_point = image.entry_point if config.entry_point is None else config.entry_point
    command = image.command if config.command is None else config.command
    return [*entry_point, *command], config.working_directory or image.working_directory or "/"


def log_stream(version: FunctionVersion, now: datetime) -> str:
    """A new name, as on AWS; in a group that functions share it names the function."""
    name = version.name if version.config.logging.log_group else ""
    return f"{now:%Y/%m/%d}/{name}[{version.version}]{secrets.token_hex(16)}"


def log_format(version: FunctionVersion, stream: str) -> LogFormat:
    config = version.config
    identity = Identity(
        function=version.name, version=version.version, instance=stream, memory_size=config.memory_size
    )
    return LogFormat(
        identity,
        json=config.logging.log_format == "JSON",
        system=Level[config.logging.system_log_level or "INFO"],
        application=Level[config.logging.application_log_level or "INFO"],
    )


def session_credentials() -> Credentials:
    """Credentials of a role's session in form. To Berth they say who calls; they open nothing else."""
    access_key_id = "ASIA" + secrets.token_hex(8).upper()
    return Credentials(
        access_key_id, secrets.token_urlsafe(30), secrets.token_urlsafe(96), secrets.token_urlsafe(30)
    )


def fetched_credentials(version: FunctionVersion, credentials: Credentials) -> FetchedCredentials | None:
    """What the runtime fetches where a snapshot must not carry it."""
    if initialization_type(version) != SNAP_START:
        return None
    return FetchedCredentials(
        credentials.fetch_token,
        credentials.access_key_id,
        credentials.secret_access_key,
        credentials.session_token,
        NEVER,
    )


def _bootstrap(runtime: str, layout: Layout) -> str:
    """The program that a runtime begins with: its own, or one that the function brings in its package or a layer."""
    if runtime.startswith("provided"):
        return first_of(f"{layout.task_root}/bootstrap", f"{layout.opt}/bootstrap")
    return f"{layout.runtime_dir}/bootstrap"
