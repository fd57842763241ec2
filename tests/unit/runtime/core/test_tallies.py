"""What is counted when."""

import pytest

from rapid.records import ERROR, FAILURE, SUCCESS, TIMEOUT, Report, Span
from runtime.core.tallies import Histogram, Tally, Use
from runtime.model import Scope

SCOPE = Scope("123456789012", "us-east-1")


class Done:
    """A future that is done; without a report: cancelled."""

    def __init__(self, report: Report | None) -> None:
        self.report = report

    def cancelled(self) -> bool:
        return self.report is None

    def result(self) -> Report:
        assert self.report is not None
        return self.report


def tally(qualifier: str | None = None) -> Tally:
    return Tally(scope=SCOPE, function="f", qualifier=qualifier, version="1")


def report(
    status: str = SUCCESS, *, duration: float = 0.2, init: float | None = None, overhead: float | None = None
) -> Done:
    spans = () if overhead is None else (Span("extensionOverhead", 0.0, overhead),)
    return Done(Report("id", duration, init, 128, 1, status, spans=spans))


def test_resource_is_the_function_as_it_was_named() -> None:
    """Without a qualifier it is the name alone."""
    assert (tally().resource, tally("live").resource, tally("$LATEST").resource) == (
        "f",
        "f:live",
        "f:$LATEST",
    )


@pytest.mark.parametrize(("status", "errors"), [(SUCCESS, 0), (FAILURE, 1), (ERROR, 1), (TIMEOUT, 1)])
def test_every_invocation_is_one_error_or_none(status: str, errors: int) -> None:
    """Errors of handlers, crashes and timeouts count alike, and are invocations as well."""
    counted = tally()
    counted.admitted()
    counted.began()
    counted.ended(report(status))
    assert (counted.invocations, counted.errors, counted.throttles, counted.concurrent) == (1, errors, 0, 0)
    assert counted.duration.sum == 0.2


@pytest.mark.parametrize("throttled", ["Reason", None])
def test_refused_request_is_no_invocation(throttled: str | None) -> None:
    """It is a throttle or nothing; it was one of those at the same time while it waited."""
    counted = tally()
    counted.admitted()
    assert counted.concurrent == 1
    counted.refused(throttled=throttled)
    assert (counted.concurrent, counted.throttles, counted.invocations, counted.errors) == (
        0,
        throttled is not None,
        0,
        0,
    )


def test_throttles_are_counted_by_reason() -> None:
    """Whether a request was refused at once or after a wait for room."""
    counted = tally()
    for reason in ("A", "B", "A"):
        counted.throttled(reason)
    counted.admitted()
    counted.refused("B")
    assert (counted.throttled_for, counted.throttles) == ({"A": 2, "B": 2}, 4)


def test_concurrency_lasts_until_the_environment_is_done() -> None:
    """What is provisioned is counted as a part of it."""
    counted = tally()
    for use in Use:
        counted.admitted()
        counted.began(use)
    assert (counted.concurrent, counted.provisioned) == (3, 1)
    counted.ended_provisioned(report())
    assert (counted.concurrent, counted.provisioned) == (2, 0)
    counted.ended(report())
    counted.ended(report())
    assert (counted.concurrent, counted.provisioned) == (0, 0)
    assert (counted.provisioned_invocations, counted.spillover_invocations, counted.invocations) == (1, 1, 3)


def test_cold_starts_and_extensions_are_observed_where_there_are_any() -> None:
    """A warm invocation without extensions adds to neither."""
    counted = tally()
    for done in (report(), report(init=0.3), report(overhead=0.02)):
        counted.admitted()
        counted.began()
        counted.ended(done)
    assert (sum(counted.initialisation.counts), counted.initialisation.sum) == (1, 0.3)
    assert (sum(counted.extensions.counts), counted.extensions.sum) == (1, 0.02)
    assert sum(counted.duration.counts) == 3


def test_what_was_given_up_has_no_duration() -> None:
    """A cancelled end frees the concurrency and says nothing about the rest."""
    counted = tally()
    counted.admitted()
    counted.began()
    counted.ended(Done(None))
    assert (counted.concurrent, counted.errors, sum(counted.duration.counts)) == (0, 0, 0)


def test_bucket_includes_its_bound() -> None:
    """As Prometheus wants it: less or equal; what is above every bound is in the last one."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 1], 7.5)
