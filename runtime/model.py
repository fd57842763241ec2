"""The records of the control plane: what a function, a version, an alias and a layer are.

Frozen values only. Nothing here knows of HTTP, SQL, processes or the engine; AWS's casing of member names
appears in `runtime.api`, where records become responses.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

LATEST = "$LATEST"
ZIP, IMAGE = "Zip", "Image"
"""Package types."""


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
    directory: str | None = None
    """An absolute path of the host whose files, as they are at any time, are run instead (Berth's own: hot reload).

    The zip then holds what was there when the code was set.
    """


@dataclass(frozen=True, slots=True)
class ImageCode:
    """A container image as a function pins it: whatever becomes of its name, the function runs this one.

    `uri` is the name that the caller gave; `digest` the hex SHA-256 of the image's manifest in its registry, or of the
    image itself where it has none; `image` the engine's own identifier of it.
    """

    uri: str
    digest: str
    image: str

    @property
    def size(self) -> int:
        """What it counts for: AWS counts packages alone."""
        return 0

    @property
    def resolved_uri(self) -> str:
        """The URI with the digest in the place of a tag."""
        repository = self.uri.partition("@")[0]
        name, _, tag = repository.rpartition(":")
        return f"{repository if not name or '/' in tag else name}@sha256:{self.digest}"


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What a function says instead of its container image; None: the image says it."""

    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    working_directory: str | None = None


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


@dataclass(frozen=True, slots=True)
class ManagedInstances:
    """How a function runs on a capacity provider; None: AWS's default."""

    capacity_provider: str
    """Its ARN."""
    max_concurrency: int | None = None
    """Invocations that an environment serves at once."""
    memory_per_vcpu: float | None = None
    """In GiB."""


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
    package_type: str = ZIP
    image_config: ImageConfig | None = None
    tracing_mode: str = "PassThrough"
    logging: LoggingConfig = LoggingConfig()
    tenant_isolation: str | None = None
    """`PER_TENANT`, or None; never changes in a function's life."""
    managed: ManagedInstances | None = None
    """On a capacity provider; else environments serve one invocation at a time."""
    declared: Mapping[str, Any] = field(default_factory=dict)

    @property
    def snap_starts(self) -> bool:
        """Whether published versions of this configuration are to start from a snapshot."""
        return (self.declared.get("SnapStart") or {}).get("ApplyOn") == "PublishedVersions"

    @property
    def isolates_tenants(self) -> bool:
        """Whether an environment serves invocations of one tenant only."""
        return self.tenant_isolation is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionVersion:
    """One version of a function: `$LATEST` or a number."""

    scope: Scope
    name: str
    version: str = LATEST
    config: FunctionConfig
    code: Code | ImageCode
    """An image where the configuration's package type says so."""
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

    @property
    def layers(self) -> tuple[Code, ...]:
        """The packages of its layers, in their order."""
        return tuple(layer.code for layer in self.config.layers)

    @property
    def directories(self) -> tuple[str, ...]:
        """Those of the host whose files are run as they are: of its code, of its layers."""
        found = (self.directory, *(layer.directory for layer in self.layers))
        return tuple(directory for directory in found if directory is not None)

    @property
    def directory(self) -> str | None:
        """That of its code."""
        return self.code.directory if isinstance(self.code, Code) else None


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


class Holder(StrEnum):
    """What a record may be attached to."""

    FUNCTION = "function"
    """The function itself, or one of its versions or aliases; gone with it."""
    LAYER_VERSION = "layer version"
    ACCOUNT = "account"
    """Nothing that could go away: the record has a name of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """Something that callers attach to a function or layer version; one of each kind per owner and qualifier.

    `owner` is the name of the function or layer, or the record's own identifier if its holder is the account.
    """

    held_by: ClassVar[Holder]

    scope: Scope
    owner: str
    qualifier: str = ""
    """A version, an alias or a layer version's number; empty for the whole."""
    revision_id: str
    """Changes with every change of this record."""

    @property
    def function_arn(self) -> str:
        """The ARN of the function that has it, qualified as it is."""
        arn = self.scope.arn("function", self.owner)
        return f"{arn}:{self.qualifier}" if self.qualifier else arn


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPolicy(Attachment):
    """Who may use a function: statements in IAM's language. A `Sid`, where one has it, is its own."""

    held_by = Holder.FUNCTION
    statements: tuple[Mapping[str, Any], ...]
    id: str | None = "default"
    version: str = "2012-10-17"
    """Of IAM's language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPolicy(Attachment):
    """Who may use a layer version: statements in IAM's language, each with a `Sid` of its own."""

    held_by = Holder.LAYER_VERSION
    statements: tuple[Mapping[str, Any], ...]
    id: str | None = "default"
    version: str = "2012-10-17"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReservedConcurrency(Attachment):
    """The concurrency that a function has for itself and cannot exceed."""

    held_by = Holder.FUNCTION
    executions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionedConcurrency(Attachment):
    """How many environments of a version or alias are to be initialised ahead."""

    held_by = Holder.FUNCTION
    executions: int
    last_modified: str
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityProvider(Attachment):
    """Where functions of many invocations at once run. Its owner is its own name."""

    held_by = Holder.ACCOUNT
    settings: Mapping[str, Any]
    """Under AWS's own names, defaults filled in."""
    tags: Mapping[str, str] = field(default_factory=dict)
    last_modified: str
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""

    @property
    def arn(self) -> str:
        return self.scope.arn("capacity-provider", self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionScaling(Attachment):
    """How many environments of a version on a capacity provider there are to be."""

    held_by = Holder.FUNCTION
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventInvokeConfig(Attachment):
    """How asynchronous invocations are retried and where their outcomes go; None: AWS's default."""

    held_by = Holder.FUNCTION
    maximum_retry_attempts: int | None = None
    maximum_event_age: int | None = None
    """In seconds."""
    on_success: str | None = None
    on_failure: str | None = None
    last_modified: float
    """Unix time in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSourceMapping(Attachment):
    """A source whose records are to invoke a function. Its owner is its own UUID: it outlives its function."""

    held_by = Holder.ACCOUNT
    function: str
    """The name, without a qualifier."""
    function_qualifier: str | None = None
    source: str
    """What tells it from other mappings of the function: the source's ARN or bootstrap servers."""
    enabled: bool
    """As asked for."""
    settings: Mapping[str, Any]
    """Under AWS's own names, defaults filled in."""
    tags: Mapping[str, str] = field(default_factory=dict)
    last_modified: float
    """Unix time in seconds."""

    @property
    def arn(self) -> str:
        return self.scope.arn("event-source-mapping", self.owner)

    @property
    def target_arn(self) -> str:
        """The function's ARN as the mapping names it."""
        arn = self.scope.arn("function", self.function)
        return f"{arn}:{self.function_qualifier}" if self.function_qualifier else arn


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionUrl(Attachment):
    """An HTTP address of a function or alias."""

    held_by = Holder.FUNCTION
    url_id: str
    """The first label of its host name."""
    auth_type: str
    invoke_mode: str = "BUFFERED"
    cors: Mapping[str, Any] | None = None
    """Under AWS's own names."""
    created: str
    """`YYYY-MM-DDThh:mm:ss.SSSZ`, as `last_modified`."""
    last_modified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSigningConfig(Attachment):
    """Whose signatures packages must bear. Its owner is its own identifier."""

    held_by = Holder.ACCOUNT
    publishers: tuple[str, ...]
    """ARNs of signing profile versions."""
    policy: str = "Warn"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    last_modified: str
    """`YYYY-MM-DDThh:mm:ss.SSS+0000`."""

    @property
    def arn(self) -> str:
        return self.scope.arn("code-signing-config", self.owner)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCodeSigning(Attachment):
    """The code signing configuration that a function uses."""

    held_by = Holder.FUNCTION
    config_arn: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecursionConfig(Attachment):
    """What is to happen when a function's output leads back to it."""

    held_by = Holder.FUNCTION
    recursive_loop: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeManagement(Attachment):
    """When a version's runtime may be brought up to date."""

    held_by = Holder.FUNCTION
    update_on: str
    runtime_version_arn: str | None = None
