"""The environment variables that a function's runtime sees. Pure.

Names and values as recorded on AWS; later groups win over earlier ones: the customer's, those that the platform sets
but does not reserve, credentials, and the reserved ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from runtime.managed import concurrency
from runtime.model import FunctionVersion
from runtime.spawners.base import Layout

PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:{opt}/bin"
BARE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Of images that set none, as container engines have it."""
LIBRARY_PATH = (
    "/var/lang/lib:/lib64:/usr/lib64:{runtime_dir}:{runtime_dir}/lib:{task_root}:{task_root}/lib:{opt}/lib"
)
NODE_PATH = "{opt}/nodejs/node{major}/node_modules:{opt}/nodejs/node_modules:{runtime_dir}/node_modules:{runtime_dir}:{task_root}"

LOG_FD = 62
"""Where runtimes that know of it write log events in frames: the number on AWS, out of the way of shell scripts."""
LOG_FD_VARIABLE = "_LAMBDA_TELEMETRY_LOG_FD"

XRAY_HOST, XRAY_PORT = "169.254.100.1", "2000"
"""Where X-Ray's clients send their datagrams on AWS. Nobody hears them here; clients do not expect an answer."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What stands for the execution role's session."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    fetch_token: str = ""
    """What a runtime shows to fetch them, where it does not inherit them."""


def log_group(version: FunctionVersion) -> str:
    """The log group of a function."""
    return version.config.logging.log_group or f"/aws/lambda/{version.name}"


def log_fd(version: FunctionVersion) -> int | None:
    """The descriptor for log events in frames, of which a runtime in an image may know.

    None where the runtime does not know of it, or has many workers.
    """
    if version.config.managed is not None:
        return None
    runtime = version.config.runtime
    return LOG_FD if runtime is None or runtime.startswith(("python", "nodejs")) else None


def runtime_variables(
    version: FunctionVersion,
    *,
    layout: Layout,
    runtime_api: str,
    log_stream: str,
    credentials: Credentials,
    endpoints: Mapping[str, str] = MappingProxyType({}),
    initialization_type: str = "on-demand",
    image: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The whole environment of the runtime process. `endpoints` tell SDKs where services are.

    `image` is what the image sets that it runs in, where that is not one of Berth's.
    """
    runtime = version.config.runtime
    usual = {"PATH": BARE_PATH, **_EVERYWHERE} if runtime is None else _platform(runtime, layout)
    platform = {**usual, **endpoints, **(image or {})}
    return {
        **platform,
        **_logging(version),
        **(version.config.environment or {}),
        **_credentials(credentials, runtime_api, initialization_type),
        **_reserved(version, layout, runtime_api, log_stream, initialization_type),
    }


_EVERYWHERE = {
    "TZ": ":UTC",
    "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
    "AWS_XRAY_DAEMON_ADDRESS": f"{XRAY_HOST}:{XRAY_PORT}",
}


def _platform(runtime: str, layout: Layout) -> Mapping[str, str]:
    """Set unless the customer sets them."""
    paths = {"opt": layout.opt, "runtime_dir": layout.runtime_dir, "task_root": layout.task_root}
    search: dict[str, str] = {}
    if runtime.startswith("python"):
        search["PYTHONPATH"] = layout.runtime_dir
    if runtime.startswith("nodejs"):
        major = runtime.removeprefix("nodejs").partition(".")[0]
        search["NODE_PATH"] = NODE_PATH.format(**paths, major=major)
    return {
        **_EVERYWHERE,
        "LANG": "en_US.UTF-8",
        "PATH": PATH.format(**paths),
        "LD_LIBRARY_PATH": LIBRARY_PATH.format(**paths),
        **search,
    }


def _logging(version: FunctionVersion) -> Mapping[str, str]:
    config = version.config.logging
    variables: dict[str, str] = {}
    if config.log_format == "JSON":
        variables["AWS_LAMBDA_LOG_FORMAT"] = "JSON"
    if config.application_log_level:
        variables["AWS_LAMBDA_LOG_LEVEL"] = config.application_log_level
    return variables


def _credentials(credentials: Credentials, runtime_api: str, initialization_type: str) -> Mapping[str, str]:
    """A snapshot must not carry credentials: there they are fetched."""
    if initialization_type == "snap-start":
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://{runtime_api}/2021-04-23/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": credentials.fetch_token,
        }
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
    }


def _reserved(
    version: FunctionVersion, layout: Layout, runtime_api: str, log_stream: str, initialization_type: str
) -> Mapping[str, str]:
    variables = {
        "_AWS_XRAY_DAEMON_ADDRESS": XRAY_HOST,
        "_AWS_XRAY_DAEMON_PORT": XRAY_PORT,
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_LAMBDA_FUNCTION_NAME": version.name,
        "AWS_LAMBDA_FUNCTION_VERSION": version.version,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(version.config.memory_size),
        "AWS_LAMBDA_INITIALIZATION_TYPE": initialization_type,
        "AWS_LAMBDA_LOG_GROUP_NAME": log_group(version),
        "AWS_LAMBDA_LOG_STREAM_NAME": log_stream,
        "AWS_REGION": version.scope.region,
        "AWS_DEFAULT_REGION": version.scope.region,
        "LAMBDA_TASK_ROOT": layout.task_root,
        "LAMBDA_RUNTIME_DIR": layout.runtime_dir,
        "PWD": layout.task_root,
    }
    if version.config.managed is not None:
        variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(concurrency(version.config))
    runtime = version.config.runtime or ""
    if version.config.handler is not None:  # an image's handler is its command
        variables["_HANDLER"] = version.config.handler
    if runtime.startswith("python"):
        variables["LC_CTYPE"] = "C.UTF-8"
    if (frames := log_fd(version)) is not None:
        variables[LOG_FD_VARIABLE] = str(frames)
    if runtime and not runtime.startswith("provided"):  # images and `provided` bring their own
        variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_{runtime}"
    return variables
