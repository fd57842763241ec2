"""What a door needs beside a store where nothing runs: an account's limits, and provisioned concurrency that stands still."""

from collections.abc import Callable, Mapping
from typing import Any

from runtime.core.limits import LimitsReader
from runtime.core.provisioning import Progress
from runtime.model import ProvisionedConcurrency, Scope
from runtime.store import Store


class Provisions:
    """`made` says by qualifier how far environments have come; where it does not, they have not begun."""

    def __init__(self) -> None:
        self.made: dict[str, Progress] = {}
        self.changes: list[tuple[Scope, str]] = []

    def changed(self, scope: Scope, function: str) -> None:
        self.changes.append((scope, function))

    def progress(self, record: ProvisionedConcurrency) -> Progress:
        return self.made.get(record.qualifier, Progress())


def concurrency(store: Store, account: int = 1000, provisions: Provisions | None = None) -> Mapping[str, Any]:
    """Arguments of `build_api`."""
    reader = LimitsReader(account)
    limits: Callable[[Scope], object] = lambda scope: reader.of(store.catalog, scope)  # noqa: E731
    return {"limits": limits, "provisioning": provisions or Provisions()}
