"""An account of a test's own.

An access key of twelve digits is the account, so tests with different keys have nothing in common: neither functions nor
layers, neither concurrency nor logs. Knows the REST API by `runtime.deploy.service`, and Berth's own addresses.
"""

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import urlencode

from runtime.cli.client import Client
from runtime.cli.terminal import CliError
from runtime.deploy.service import Service, lambda_client
from runtime.readable import readable

LINES = 200
"""Of a function's log that a failing test shows."""
FUNCTIONS = 50
"""Functions whose logs a failing test shows."""
CONNECTIONS = 64
"""Invocations that a test can have at the same time."""
SETTLING = 2.0
"""Seconds that a look at logs waits for invocations to end, so that their last lines are there."""
UNSETTLED = ("busy", "finishing", "ending")
"""States of environments whose log has lines to come; who is finishing has answered already."""
_LOOK = 0.02


class Namespace:
    """One account: `account` at `url`. `client` is a Lambda client in it, `variables` lead other programs there."""

    def __init__(self, url: str, account: str, region: str) -> None:
        self.url = url
        self.account = account
        self.region = region
        self.role = f"arn:aws:iam::{account}:role/test"
        """A role that functions can be given; Berth looks at its form only."""
        self._admin = Client(url)
        self._client: Any = None
        self._known: dict[tuple[str, str], None] = {}
        """Region and name of every function that was seen, in order."""

    @classmethod
    def unused(cls, url: str, region: str) -> Self:
        """An account that nobody has functions in. It is drawn: other runs may use the same Berth."""
        taken = {each["account"] for each in Client(url).get_json("/_berth/ps")["functions"]}
        while (account := f"{secrets.randbelow(10**12):012}") in taken:
            pass
        return cls(url, account, region)

    @property
    def client(self) -> Any:
        """A Lambda client; it looks at nobody's AWS configuration, and tells refusals at once."""
        if self._client is None:
            once = {"mode": "standard", "total_max_attempts": 1}
            self._client = lambda_client(
                self.url, self.account, self.region, retries=once, max_pool_connections=CONNECTIONS
            )
            self._client.meta.events.register("after-call.lambda.CreateFunction", self._created)
        return self._client

    @property
    def variables(self) -> dict[str, str]:
        """Variables for the AWS CLI, for SDKs, and for `berth`."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_LAMBDA": self.url,
            "AWS_ACCESS_KEY_ID": self.account,
            "AWS_SECRET_ACCESS_KEY": "berth",
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
            "AWS_PAGER": "",
            "BERTH_URL": self.url,
            "BERTH_ACCOUNT_ID": self.account,
            "BERTH_REGION": self.region,
        }

    def logs(self, function: str, region: str | None = None, limit: int = LINES) -> list[str]:
        """The last events that a function logged, as texts; none if it never logged anything.

        What runs is waited for, so what an invocation wrote is there when it has been answered.
        """
        self._settle()
        return [event["message"] for event in self._events(region or self.region, function, limit)]

    def log_sections(self) -> list[tuple[str, str]]:
        """Title and text of each function's log, for a report; where it cannot be read, why."""
        try:
            self._settle()
            self._look()
        except CliError as error:
            return [(f"Berth logs of account {self.account}", f"cannot be read: {error}")]
        shown = list(self._known)[-FUNCTIONS:]
        return [
            (f"Berth log of {name} ({self.account}, {region})", self._told(region, name))
            for region, name in shown
        ]

    def clear(self) -> None:
        """Delete everything in the account. Layers and the like are found in its own region and in those of functions."""
        self._look()
        for region in sorted({self.region, *(region for region, _ in self._known)}):
            _Sweep(Service(self.url, self.account, region)).everything()

    def _created(self, parsed: Mapping[str, Any], **_: Any) -> None:
        if name := parsed.get("FunctionName"):
            self._known.setdefault((self.region, name))

    def _look(self) -> None:
        for each in self._mine("functions"):
            self._known.setdefault((each["region"], each["function"]))

    def _settle(self) -> None:
        """Wait until nothing runs, though not for long: a function may be what hangs."""
        deadline = time.monotonic() + SETTLING
        while any(each["state"] in UNSETTLED for each in self._mine("environments")):
            if time.monotonic() > deadline:
                return
            time.sleep(_LOOK)

    def _mine(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self._admin.get_json("/_berth/ps")[kind] if each["account"] == self.account]

    def _told(self, region: str, function: str) -> str:
        try:
            return "\n".join(_line(event) for event in self._events(region, function, LINES)) or "(nothing)"
        except CliError as error:
            return f"cannot be read: {error}"

    def _events(self, region: str, function: str, limit: int) -> Iterator[dict[str, Any]]:
        question = {"function": function, "account": self.account, "region": region, "limit": limit}
        answer = self._admin.request("GET", f"/_berth/logs?{urlencode(question)}")
        if answer.status == 404:  # never made, or deleted before it wrote anything
            return iter(())
        if answer.status != 200:
            raise CliError(f"Berth answered with status {answer.status}")
        return map(json.loads, answer.body.splitlines())


class _Sweep:
    """Deletes what there is in one account and region."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def everything(self) -> None:
        """What hangs on other things first."""
        self._each("event_source_mappings", "EventSourceMappings", UUID="UUID")
        self._each("functions", "Functions", FunctionName="FunctionName")
        self._each("code_signing_configs", "CodeSigningConfigs", CodeSigningConfigArn="CodeSigningConfigArn")
        self._each("capacity_providers", "CapacityProviders", CapacityProviderName="CapacityProviderArn")
        for layer in list(self._service.listed("list_layers", "Layers")):
            named = {"LayerName": layer["LayerName"]}
            for version in list(self._service.listed("list_layer_versions", "LayerVersions", **named)):
                self._delete("delete_layer_version", **named, VersionNumber=version["Version"])

    def _each(self, things: str, key: str, **parameter: str) -> None:
        """Delete all that a list tells of, by the parameter that takes a member of it."""
        [(name, member)] = parameter.items()
        for found in list(self._service.listed(f"list_{things}", key)):
            self._delete(f"delete_{things.removesuffix('s')}", **{name: found[member]})

    def _delete(self, operation: str, **members: Any) -> None:
        self._service.find(operation, **members)  # None: something else has deleted it in the meantime


def _line(event: Mapping[str, Any]) -> str:
    moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03} {readable(event['message']).rstrip()}"
