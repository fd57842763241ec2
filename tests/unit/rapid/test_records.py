"""Platform records as lines of the text log format: every byte as on AWS."""

from dataclasses import replace

import pytest

from rapid.records import InitReport, InitStart, Report, Start

REQUEST = "8f6d2a1c-0000-4000-8000-000000000001"
REPORT = Report(
    request_id=REQUEST, duration=0.00301, init_duration=None, memory_size=128, memory_peak=36 * 1024**2
)


def test_init_start() -> None:
    """INIT_START names the runtime's version and its ARN."""
    arn = "arn:aws:lambda:us-east-1::runtime:" + 64 * "a"
    line = InitStart("python:3.13.v42", arn).text()
    assert line == f"INIT_START Runtime Version: python:3.13.v42\tRuntime Version ARN: {arn}\n"


def test_init_start_of_an_image() -> None:
    """A container image's runtime is its own affair: there is nothing to tell."""
    assert InitStart("", "").text() == ""


def test_start() -> None:
    """START names the request and the executed version."""
    assert Start(REQUEST, "$LATEST").text() == f"START RequestId: {REQUEST} Version: $LATEST\n"


def test_warm_report() -> None:
    """END and REPORT of a warm invocation."""
    assert REPORT.text() == (
        f"END RequestId: {REQUEST}\n"
        f"REPORT RequestId: {REQUEST}\tDuration: 3.01 ms\tBilled Duration: 4 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 36 MB\t\n"
    )


def test_cold_report() -> None:
    """The first report of an environment carries the initialisation and bills it."""
    line = replace(REPORT, init_duration=0.1101).text().splitlines()[1]
    assert line == (
        f"REPORT RequestId: {REQUEST}\tDuration: 3.01 ms\tBilled Duration: 114 ms\tMemory Size: 128 MB\t"
        "Max Memory Used: 36 MB\tInit Duration: 110.10 ms\t"
    )


def test_failure_report() -> None:
    """An error that the function answered with leaves no trace in the text."""
    assert replace(REPORT, status="failure").text() == REPORT.text()


def test_timeout_report() -> None:
    """A timeout is a status without an error type."""
    line = replace(REPORT, duration=3.0, status="timeout", error_type="Sandbox.Timedout").text()
    assert line.endswith("\tMax Memory Used: 36 MB\tStatus: timeout\n")


def test_error_report() -> None:
    """A fault is a status and its error type."""
    line = replace(REPORT, status="error", error_type="Runtime.ExitError").text()
    assert line.endswith("\tMax Memory Used: 36 MB\tStatus: error\tError Type: Runtime.ExitError\n")


def test_init_report_of_a_fault() -> None:
    """A failed initialisation names its phase, status and error type."""
    line = InitReport(0.15403, "init", "error", "Runtime.ExitError").text()
    assert line == (
        "INIT_REPORT Init Duration: 154.03 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError\n"
    )


def test_init_report_of_a_timeout() -> None:
    """A timeout has no error type."""
    line = InitReport(3.0, "invoke", "timeout", "Sandbox.Timedout").text()
    assert line == "INIT_REPORT Init Duration: 3000.00 ms\tPhase: invoke\tStatus: timeout\n"


@pytest.mark.parametrize(
    ("duration", "init", "billed"),
    [
        (0.75775, 1.02117, 1779),  # published REPORT lines
        (1.23396, 0.463512, 1698),
        (0.00301, 0.1101, 114),
        (0.00301, None, 4),
        (0.003, None, 3),
        (0.1 + 0.2, None, 300),  # binary fractions must not cost a millisecond
        (0.29, 0.01, 300),
        (0.003001, None, 4),
        (0.0, None, 1),
        (0.0, 0.0, 1),
    ],
)
def test_billed_duration(duration: float, init: float | None, billed: int) -> None:
    """Billed are whole milliseconds of duration and initialisation together, rounded up, one at the least."""
    assert replace(REPORT, duration=duration, init_duration=init).billed_ms == billed


@pytest.mark.parametrize(
    ("peak", "used"),
    [(0, 0), (1, 1), (36 * 1024**2, 36), (36 * 1024**2 + 1, 37), (128 * 1024**2, 128), (10**12, 128)],
)
def test_memory_used(peak: int, used: int) -> None:
    """Peak memory is told in whole MB, rounded up, never above the memory size."""
    assert replace(REPORT, memory_peak=peak).memory_used == used
