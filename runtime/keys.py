"""What makes environments interchangeable: the keys that the fleet groups them by.

Code that is a directory of the host is known by its path. A directory of the same name that is another one, and another
copy of what is in it where copies are made, need other sandboxes: the key's `life`. So does another state of it where an
environment serves many at once, because there is no moment in which its runtime could be renewed for all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from rapid.records import PROVISIONED
from runtime.briefing import initialization_type
from runtime.core.routing import ways_to_run
from runtime.directories import Directories
from runtime.managed import concurrency
from runtime.model import FunctionVersion, Scope
from runtime.store.catalog import Catalog

KEYS = 20_000
"""Revisions whose keys are remembered."""


@dataclass(frozen=True, slots=True)
class Key:
    """All that must be equal for an environment to serve an invocation."""

    scope: Scope
    name: str
    version: str
    code: str
    config: str = field(repr=False)
    initialization: str
    """The initialization type: provisioned environments are apart from others of their version."""
    tenant: str | None
    """The only one that it may serve, where the function isolates tenants."""
    record: FunctionVersion = field(compare=False, repr=False)
    """What to launch for this key."""
    directories: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Of the host, whose files are run as they are at any time."""
    life: int = 0
    """Of these directories."""
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        what = (self.scope, self.name, self.version, self.code, self.config)
        object.__setattr__(self, "_hash", hash((*what, self.initialization, self.tenant, self.life)))

    def __hash__(self) -> int:
        """Computed once: a key is looked up several times for each invocation."""
        return self._hash

    @property
    def memory(self) -> int:
        """MB of each environment."""
        return self.record.config.memory_size

    @property
    def slots(self) -> int:
        """How many invocations an environment serves at once."""
        return concurrency(self.record.config)

    @property
    def function(self) -> tuple[Scope, str]:
        return self.scope, self.name


class Keys:
    """The keys of versions, each computed once for a revision and a tenant.

    `copies` tells whether sandboxes of a version have copies of its directories, instead of the directories themselves.
    """

    def __init__(
        self,
        catalog: Callable[[], Catalog],
        directories: Directories,
        copies: Callable[[FunctionVersion], bool],
    ) -> None:
        self._catalog = catalog
        self._directories = directories
        self._copies = copies
        self._known: dict[tuple[str, str, bool, str | None], Key] = {}
        #: By revision, version, whether provisioned, and tenant.

    def of(self, version: FunctionVersion, *, provisioned: bool = False, tenant: str | None = None) -> Key:
        """The key of a version as it is to be run."""
        revision = (version.revision_id, version.version, provisioned, tenant)
        key = self._known.get(revision)
        if key is None:
            if len(self._known) >= KEYS:
                self._known.clear()
            kind = PROVISIONED if provisioned else initialization_type(version)
            config, code = repr(version.config), version.directory or version.code.digest
            key = Key(
                version.scope,
                version.name,
                version.version,
                code,
                config,
                kind,
                tenant,
                version,
                version.directories,
            )
            self._known[revision] = key
        return self.as_of_now(key) if key.directories else key

    def as_of_now(self, key: Key) -> Key:
        """The key with the present life of its directories."""
        life = self._directories.life(key.directories)
        if key.directories and (key.slots > 1 or self._copies(key.record)):
            life += self._directories.generation(key.directories)
        return key if life == key.life else replace(key, life=life)

    def is_current(self, key: Key) -> bool:
        """Whether the key is that of a version as it is now, or as one of its aliases runs it now."""
        catalog = self._catalog()
        current = catalog.function(key.scope, key.name, key.version)
        if current is None:
            return False
        aliases = catalog.aliases(key.scope, key.name)
        provisioned = key.initialization == PROVISIONED
        return any(
            self.of(way, provisioned=provisioned, tenant=key.tenant) == key
            for way in ways_to_run(current, aliases)
        )
