"""The environment variables that external extensions see. Pure."""

from collections.abc import Mapping

HIDDEN_FROM_EXTENSIONS = {
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
}


def extension_variables(runtime: Mapping[str, str]) -> dict[str, str]:
    """The environment of an external extension: the runtime's without what is meant for the runtime alone."""
    return {
        name: value
        for name, value in runtime.items()
        if not name.startswith("_") and name not in HIDDEN_FROM_EXTENSIONS
    }
