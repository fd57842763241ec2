"""What an alias may lead to, in AWS's words. Knows nothing of how aliases are asked for or stored."""

from runtime.errors import LambdaError, invalid_parameter
from runtime.model import LATEST, Alias, FunctionVersion
from runtime.names import function_missing
from runtime.store import Catalog


def check_alias(catalog: Catalog, alias: Alias) -> None:
    """Raise `LambdaError` unless every version that the alias leads to exists and they fit together."""
    first = _existing(catalog, alias, alias.version)
    if len(alias.weights) > 1:
        raise invalid_parameter("Number of items in AdditionalVersionWeights cannot be greater than 1")
    for number in alias.weights:
        _check_numbers(alias.version, number)
        _check_pair(first, _existing(catalog, alias, number))


def _existing(catalog: Catalog, alias: Alias, number: str) -> FunctionVersion:
    found = catalog.function(alias.scope, alias.function, number)
    if found is None:
        raise function_missing(alias.scope, alias.function, number)
    return found


def _check_numbers(first: str, second: str) -> None:
    if first == second:
        raise invalid_parameter(
            f"Invalid function version {second}. "
            f"Function version {second} is already included in routing configuration."
        )
    if first == LATEST:
        raise LambdaError(
            "InvalidParameterValueException",
            "$LATEST is not supported for an alias pointing to more than 1 version",
            typed=False,
        )


def _check_pair(first: FunctionVersion, second: FunctionVersion) -> None:
    if first.config.role != second.config.role:
        raise invalid_parameter("Specified versions must be associated with the same execution role")
    queues = [each.config.declared.get("DeadLetterConfig") for each in (first, second)]
    if queues[0] != queues[1]:
        # AWS has this rule; how it words the refusal is not known.
        raise invalid_parameter("Specified versions must have the same dead-letter queue configuration")
