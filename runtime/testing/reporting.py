"""What functions wrote, in the report of the test that failed."""

from collections.abc import Generator

import pytest

from runtime.testing.server import Server


class Reporter:
    """Hooks of a run whose tests use Berth; registered with the first that does."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add the logs of the test's functions, those included that it has deleted."""
        report = yield
        if report.failed:
            report.sections.extend(self._server.logs())
        if call.when == "teardown":
            self._server.forget_closed()
        return report
