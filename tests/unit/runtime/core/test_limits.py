"""An account's concurrency and its parts."""

from collections.abc import Mapping
from typing import Any

from runtime.core.limits import Limits, LimitsReader
from runtime.model import ProvisionedConcurrency, ReservedConcurrency, Scope

SCOPE = Scope("123456789012", "us-east-1")


def test_parts() -> None:
    """What is reserved, and what is provisioned without a reservation, comes out of the account's."""
    limits = Limits(1000, {"r": 100, "s": 0}, {"r": 60, "p": 30})
    assert limits.unreserved == 870
    assert limits.without("r") == 970
    assert limits.without("p") == 900
    assert limits.without("s") == limits.without("x") == 870
    assert (limits.on_demand("r"), limits.on_demand("s")) == (40, 0)


def test_least_unreserved() -> None:
    """A hundred, or all where there are no more."""
    assert [Limits(account, {}, {}).least_unreserved for account in (1000, 100, 10)] == [100, 100, 10]


class Records:
    """Mappings that are replaced when something changes, as the catalog's are."""

    def __init__(self) -> None:
        self.of: dict[type, Mapping[str, Any]] = {ReservedConcurrency: {}, ProvisionedConcurrency: {}}

    def owners(self, kind: type, scope: Scope) -> Mapping[str, Any]:
        return self.of[kind] if scope == SCOPE else {}

    def reserve(self, function: str, executions: int) -> None:
        record = ReservedConcurrency(scope=SCOPE, owner=function, revision_id="", executions=executions)
        self.of[ReservedConcurrency] = {**self.of[ReservedConcurrency], function: {"": record}}

    def provision(self, function: str, **executions: int) -> None:
        records = {
            qualifier: ProvisionedConcurrency(
                scope=SCOPE,
                owner=function,
                qualifier=qualifier,
                revision_id="",
                executions=count,
                last_modified="",
            )
            for qualifier, count in executions.items()
        }
        self.of[ProvisionedConcurrency] = {**self.of[ProvisionedConcurrency], function: records}


def test_reader() -> None:
    """Sums of the records, made anew when one of them has changed, and else the same."""
    records, reader = Records(), LimitsReader(500)
    plain = reader.of(records, SCOPE)
    assert plain == Limits(500, {}, {})
    assert reader.of(records, Scope("000000000000", "us-east-1")) is plain
    records.reserve("f", 20)
    records.provision("f", live=3, one=4)
    limits = reader.of(records, SCOPE)
    assert limits == Limits(500, {"f": 20}, {"f": 7})
    assert reader.of(records, SCOPE) is limits
    records.reserve("g", 1)
    assert reader.of(records, SCOPE) == Limits(500, {"f": 20, "g": 1}, {"f": 7})
    records.of = {ReservedConcurrency: {}, ProvisionedConcurrency: {}}
    assert reader.of(records, SCOPE) is plain
    assert reader._read == {}
