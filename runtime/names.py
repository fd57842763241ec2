"""How functions and layers are named: the identifier forms that callers may use, ARNs and qualifiers.

Pure text work. It knows nothing of what exists: whether a name leads to a function is the catalog's matter.
"""

import re
from dataclasses import dataclass
from hashlib import sha256

from runtime.errors import LambdaError, invalid_parameter, not_found
from runtime.model import LATEST, Scope

_REGION = re.compile(r"(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d")
_ACCOUNT = re.compile(r"\d{12}", re.ASCII)
_LAYER_ARN_PARTS = 7
QUALIFIER_CONFLICT = "The derived qualifier from the function name does not match the specified qualifier."


@dataclass(frozen=True, slots=True)
class FunctionName:
    """An identifier taken apart; what it left unsaid is None."""

    name: str
    qualifier: str | None = None
    account: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True)
class LayerName:
    """A layer's name, with the version where the identifier pins one."""

    scope: Scope
    name: str
    number: int | None = None


def names_alias(qualifier: str) -> bool:
    """Whether a qualifier is an alias's name: neither `$LATEST` nor a number."""
    return qualifier != LATEST and not (qualifier.isascii() and qualifier.isdigit())


def function_arn(scope: Scope, name: str, qualifier: str | None = None) -> str:
    arn = scope.arn("function", name)
    return arn if qualifier is None else f"{arn}:{qualifier}"


def function_missing(scope: Scope, name: str, qualifier: str | None = None) -> LambdaError:
    return not_found(f"Function not found: {function_arn(scope, name, qualifier)}")


def runtime_version(runtime: str) -> str:
    """How INIT_START names a runtime: `python:3.11.v1`, `nodejs:22.v1`, `provided:al2023.v1`."""
    family = "provided" if runtime.startswith("provided") else runtime.rstrip("0123456789.x")
    return f"{family}:{runtime.removeprefix(family).removesuffix('.x').strip('.')}.v1"


def runtime_version_arn(region: str, runtime: str) -> str:
    """AWS names the patch level of a runtime by a hash; ours stands for the runtime's name."""
    return f"arn:aws:lambda:{region}::runtime:{sha256(runtime.encode()).hexdigest()}"


def parse_function(identifier: str) -> FunctionName | None:
    """Take apart a name, a partial ARN or a full ARN, each with or without a qualifier; None: none of these.

    Parts are told apart by position and count, so `my-func-1:live` stays a name with a qualifier although
    `my-func-1` has the form of a region.
    """
    parts = identifier.split(":")
    if full := parts[0] == "arn":
        if len(parts) < 7 or parts[2] != "lambda" or parts[5] != "function":
            return None
        parts = parts[3:]
    region = account = None
    if len(parts) > 2 and _REGION.fullmatch(parts[0]):
        region = parts.pop(0)
    if len(parts) > 1 and _ACCOUNT.fullmatch(parts[0]):
        account = parts.pop(0)
    if len(parts) > 1 and parts[0] == "function":
        del parts[0]
    if full and (region is None or account is None):
        return None
    return _function_name(parts, account, region)


def _function_name(rest: list[str], account: str | None, region: str | None) -> FunctionName | None:
    if len(rest) > 2 or not all(rest):
        return None
    return FunctionName(rest[0], rest[1] if len(rest) == 2 else None, account, region)


def resolve_function(identifier: str, qualifier: str | None, scope: Scope) -> FunctionName:
    """The function that a request of `scope` means, with name's and query's qualifier brought together."""
    found = parse_function(identifier)
    if found is None:
        raise function_missing(scope, identifier)
    _refuse_foreign(found.account, found.region, scope)
    if found.qualifier is not None and qualifier is not None and found.qualifier != qualifier:
        raise invalid_parameter(QUALIFIER_CONFLICT)
    return FunctionName(found.name, found.qualifier or qualifier, scope.account, scope.region)


def _refuse_foreign(account: str | None, region: str | None, scope: Scope) -> None:
    if region is not None and region != scope.region:
        raise not_found(f"Functions from '{region}' are not reachable in this region ('{scope.region}')")
    if account is not None and account != scope.account:
        # AWS sends no text here; ours says what to look at.
        raise LambdaError(
            "AccessDeniedException",
            f"The function belongs to account {account}; this request is signed for account {scope.account}",
        )


def resolve_layer(identifier: str, scope: Scope) -> LayerName:
    """A layer by its name or ARN; an ARN may lead into another account or region."""
    if not identifier.startswith("arn:"):
        return LayerName(scope, identifier)
    found = parse_layer_arn(identifier)
    if found is None:
        raise not_found("The resource you requested does not exist.")
    return found


def parse_layer_arn(arn: str) -> LayerName | None:
    """Take apart a layer's ARN or a layer version's ARN."""
    parts = arn.split(":")
    if len(parts) not in (_LAYER_ARN_PARTS, _LAYER_ARN_PARTS + 1) or parts[2] != "lambda":
        return None
    if parts[5] != "layer" or not _ACCOUNT.fullmatch(parts[4]) or not _REGION.fullmatch(parts[3]):
        return None
    number = parts[7] if len(parts) > _LAYER_ARN_PARTS else None
    if number is not None and not (number.isascii() and number.isdigit()):
        return None
    return LayerName(Scope(parts[4], parts[3]), parts[6], None if number is None else int(number))
