"""What an account may run at once in a region, and how that is divided among its functions. Pure.

One value for each state of the records; whoever asks twice without a change between gets the same one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeVar

from runtime.model import Attachment, ProvisionedConcurrency, ReservedConcurrency, Scope

LEAST_UNRESERVED = 100
"""What functions without reserved concurrency keep of an account's, as far as it has that much."""

A = TypeVar("A", bound=Attachment)


@dataclass(frozen=True)
class Limits:
    """The figures of one account in one region."""

    account: int
    reserved: Mapping[str, int]
    """By function, where it is set; 0 is a limit too."""
    provisioned: Mapping[str, int]
    """By function: the sum over its versions and aliases."""

    @cached_property
    def unreserved(self) -> int:
        """What functions without reserved concurrency share; less than none where the account's limit was lowered."""
        return self.without(None)

    def without(self, function: str | None) -> int:
        """`unreserved` if this function had neither reserved nor provisioned concurrency."""
        reserved = sum(each for name, each in self.reserved.items() if name != function)
        provisioned = sum(
            each for name, each in self.provisioned.items() if name not in self.reserved and name != function
        )
        return self.account - reserved - provisioned

    def on_demand(self, function: str) -> int:
        """What a function with reserved concurrency has of it for environments on demand."""
        return self.reserved[function] - self.provisioned.get(function, 0)

    @property
    def least_unreserved(self) -> int:
        """AWS's 100; in an account that has fewer, all of them: AWS reserves nothing for functions of a new account."""
        return min(LEAST_UNRESERVED, self.account)


class Records(Protocol):
    """What is read of the catalog. A mapping is another one after a change of the kind in the scope, and only then."""

    def owners(self, kind: type[A], scope: Scope) -> Mapping[str, Mapping[str, A]]:
        """All records of a kind by owner and qualifier."""
        ...


@dataclass(frozen=True, slots=True)
class _Read:
    reserved: Mapping[str, Mapping[str, ReservedConcurrency]]
    provisioned: Mapping[str, Mapping[str, ProvisionedConcurrency]]
    limits: Limits


class LimitsReader:
    """Limits as the records have them, computed once for each change of theirs."""

    def __init__(self, account: int) -> None:
        self._account = account
        self._plain = Limits(account, {}, {})
        self._read: dict[Scope, _Read] = {}

    def of(self, records: Records, scope: Scope) -> Limits:
        """The limits of an account in a region as of this snapshot of the records."""
        reserved = records.owners(ReservedConcurrency, scope)
        provisioned = records.owners(ProvisionedConcurrency, scope)
        known = self._read.get(scope)
        if known is not None and known.reserved is reserved and known.provisioned is provisioned:
            return known.limits
        if not reserved and not provisioned:  # callers can name any number of accounts
            self._read.pop(scope, None)
            return self._plain
        limits = Limits(self._account, _sums(reserved), _sums(provisioned))
        self._read[scope] = _Read(reserved, provisioned, limits)
        return limits


def _sums(
    owners: Mapping[str, Mapping[str, ReservedConcurrency]]
    | Mapping[str, Mapping[str, ProvisionedConcurrency]],
) -> dict[str, int]:
    return {owner: _sum(records.values()) for owner, records in owners.items()}


def _sum(records: Iterable[ReservedConcurrency | ProvisionedConcurrency]) -> int:
    return sum(record.executions for record in records)
