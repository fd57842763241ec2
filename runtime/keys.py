"""What makes environments interchangeable: the keys that the fleet groups them by."""

from collections.abc import Callable
from dataclasses import dataclass, field

from rapid.records import PROVISIONED
from runtime.briefing import initialization_type
from runtime.core.routing import ways_to_run
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
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        what = (self.scope, self.name, self.version, self.code, self.config)
        object.__setattr__(self, "_hash", hash((*what, self.initialization, self.tenant)))

    def __hash__(self) -> int:
        """Computed once: a key is looked up several times for each invocation."""
        return self._hash

    @property
    def memory(self) -> int:
        """MB of each environment."""
        return self.record.config.memory_size

    @property
    def function(self) -> tuple[Scope, str]:
        return self.scope, self.name


class Keys:
    """The keys of versions, each computed once for a revision and a tenant."""

    def __init__(self, catalog: Callable[[], Catalog]) -> None:
        self._catalog = catalog
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
            config, code = repr(version.config), version.code.digest
            key = Key(version.scope, version.name, version.version, code, config, kind, tenant, version)
            self._known[revision] = key
        return key

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
