"""`berth alias`: an alias, with the environment variables that it lays over its version's.

Lambda's own API has no such variables, so neither has the AWS CLI: they are set with a member of Berth's own in
UpdateAlias, and read at an address of Berth's own.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from runtime.cli.client import Client, connect, credentials, refusal
from runtime.cli.terminal import CliError, say, say_json
from runtime.readable import readable
from runtime.settings import flags_of, load


def run(arguments: argparse.Namespace) -> int:
    client = connect(arguments)
    if arguments.environment is not None:
        _set(client, arguments, _variables(arguments.environment))
    alias = _get(client, arguments)
    if arguments.json:
        say_json(alias)
    else:
        _show(alias)
    return 0


def _variables(pairs: Sequence[str]) -> dict[str, str]:
    """`K=V` each, said once."""
    variables: dict[str, str] = {}
    for pair in pairs:
        name, is_pair, value = pair.partition("=")
        if not is_pair or not name:
            raise CliError(f"--environment: {pair!r} is not NAME=VALUE")
        if name in variables:
            raise CliError(f"--environment: {name} is set twice")
        variables[name] = value
    return variables


def _set(client: Client, arguments: argparse.Namespace, variables: Mapping[str, str]) -> None:
    function, name = quote(arguments.function, safe=""), quote(arguments.alias, safe="")
    answer = client.request(
        "PUT",
        f"/2015-03-31/functions/{function}/aliases/{name}",
        json.dumps({"Environment": {"Variables": variables}}).encode(),
        {"Authorization": credentials(arguments)},
    )
    if answer.status != 200:
        raise CliError(refusal(answer))


def _get(client: Client, arguments: argparse.Namespace) -> Any:
    settings = load(flags_of(arguments)).settings
    question = {
        "function": arguments.function,
        "name": arguments.alias,
        "account": settings.account_id,
        "region": settings.region,
    }
    return client.get_json(f"/_berth/alias?{urlencode(question)}")


def _show(alias: Mapping[str, Any]) -> None:
    say(f"alias        {alias['AliasArn']}")
    say(f"versions     {_shares(alias)}")
    say(f"description  {readable(alias['Description']) or '-'}")
    variables = alias["Environment"]["Variables"]
    lines = [readable(f"{name}={value}") for name, value in variables.items()] or ["-"]
    say(f"environment  {lines[0]}")
    for line in lines[1:]:
        say(f"             {line}")


def _shares(alias: Mapping[str, Any]) -> str:
    """Which versions get which part of the invocations."""
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    shares = {alias["FunctionVersion"]: 1 - sum(weights.values()), **weights}
    return ", ".join(f"{version} ({share:.4g})" for version, share in shares.items())
