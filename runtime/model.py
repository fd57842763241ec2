"""The records of the control plane: what a function, a version, an alias and a layer are.

Frozen values only. Nothing here knows of HTTP, SQL, processes or the engine; AWS's casing of member names
appears in `runtime.api`, where records become responses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

LATEST = "$LATEST"


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """Whose and where: every record belongs to one account in one region."""

    account: str
    region: str

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a function or a layer."""
        return f"arn:aws:lambda:{self.region}:{self.account}:{kind}:{name}"


class State(StrEnum):
    """`State` of a function version, as on AWS."""

    PENDING = "Pending"
    ACTIVE = "Active"
    INACTIVE = "Inactive"
    FAILED = "Failed"


class UpdateStatus(StrEnum):
    """`LastUpdateStatus` of a function version, as on AWS."""

    SUCCESSFUL = "Successful"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Code:
    """A deployment package.

    `digest` is the hex SHA-256 of the zip and its key in the blob store; `size` counts the zip's bytes,
    `unzipped_size` the bytes of all its files together (for the 250 MB rule).
    """

    digest: str
    size: int
    unzipped_size: int


@dataclass(frozen=True, slots=True)
class LayerReference:
    """A layer version as a function pins it: its content stays usable after the version is deleted."""

    arn: str
    code: Code


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    log_format: str = "Text"
    application_log_level: str | None = None
    system_log_level: str | None = None
    log_group: str | None = None
    """None: `/aws/lambda/<function name>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionConfig:
    """What the caller configures; a published version copies it whole.

    `timeout` in seconds, `memory_size` and `ephemeral_storage` in MB.
    `declared` keeps members that are accepted, echoed and not acted upon, under AWS's own names
    (`VpcConfig`, `DeadLetterConfig`, `KMSKeyArn`, `FileSystemConfigs`, `SnapStart`, …).
    """

    role: str
    runtime: str | None = None
    handler: str | None = None
    description: str = ""
    timeout: int = 3
    memory_size: int = 128
    ephemeral_storage: int = 512
    environment: Mapping[str, str] | None = None
    """None: never set, so responses leave it out."""
    layers: tuple[LayerReference, ...] = ()
    architecture: str = "x86_64"
    package_type: str = "Zip"
    tracing_mode: str = "PassThrough"
    logging: LoggingConfig = LoggingConfig()
    declared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def snap_starts(self) -> bool:
        """Whether published versions of this configuration are to start from a snapshot."""
        return (self.declared.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions"


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """One version of a function: `$LATEST` or a number."""

    scope: Scope
    name: str
    version: str = LATEST
    config: FunctionConfig
    code: Code
    revision_id: str
    """Changes with every change of this version, its state included."""
    last_modified: str
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""
    state: State = State.PENDING
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: UpdateStatus | None = None
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Of the function, so `$LATEST` has them alone."""
    source_description: str = ""
    """Of a number: the description that `$LATEST` had when it was published; the version's own may be another."""

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return self.scope.arn("function", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A name for one version of a function, or for two between which invocations are divided."""

    scope: Scope
    function: str
    name: str
    version: str
    description: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)
    """The second version, if there is one, and its share of the invocations: 0.0 to 1.0."""
    environment: Mapping[str, str] | None = None
    """Laid over the version's variables (Berth's own; AWS has no such member)."""
    revision_id: str

    @property
    def arn(self) -> str:
        return f"{self.scope.arn('function', self.function)}:{self.name}"

    @property
    def versions(self) -> tuple[str, ...]:
        """All versions that it may lead to."""
        return (self.version, *self.weights)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersion:
    """An immutable layer version. `created` as `YYYY-MM-DDThh:mm:ss.SSS+0000`."""

    scope: Scope
    name: str
    number: int
    code: Code
    created: str
    description: str = ""
    license_info: str | None = None
    compatible_runtimes: tuple[str, ...] | None = None
    compatible_architectures: tuple[str, ...] | None = None

    @property
    def layer_arn(self) -> str:
        return self.scope.arn("layer", self.name)

    @property
    def arn(self) -> str:
        """The layer version's ARN."""
        return f"{self.layer_arn}:{self.number}"
