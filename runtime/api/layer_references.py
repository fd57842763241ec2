"""The layers that a function names: from ARNs to pinned content, under AWS's rules."""

from collections.abc import Sequence

from runtime.api.policy_statements import allows_layer
from runtime.errors import LambdaError, invalid_parameter
from runtime.model import LayerPolicy, LayerReference, LayerVersion, Scope
from runtime.names import LayerName, parse_layer_arn
from runtime.store import Catalog

LAYER_LIMIT = 5


def resolve_layers(
    catalog: Catalog, scope: Scope, arns: Sequence[str], kept: Sequence[LayerReference] = ()
) -> tuple[LayerReference, ...]:
    """The layer versions behind `arns`, in order.

    `kept` are those that the function has already: it may keep one although that version was deleted since.
    """
    if len(arns) > LAYER_LIMIT:
        raise invalid_parameter(f"Cannot reference more than {LAYER_LIMIT} layers.")
    names = [_named(arn) for arn in arns]
    _refuse_other_regions(names, scope)
    _refuse_repetition(arns, names)
    already = {reference.arn: reference for reference in kept}
    return tuple(
        already.get(arn) or _reference(catalog, scope, arn, name)
        for arn, name in zip(arns, names, strict=True)
    )


def _named(arn: str) -> LayerName:
    name = parse_layer_arn(arn)
    if name is None or name.number is None:
        raise _missing(arn)
    return name


def _refuse_other_regions(names: Sequence[LayerName], scope: Scope) -> None:
    if any(name.scope.region != scope.region for name in names):
        raise invalid_parameter(
            "Layers are not in the same region as the function. "
            f"Layers are expected to be in region {scope.region}."
        )


def _refuse_repetition(arns: Sequence[str], names: Sequence[LayerName]) -> None:
    seen: dict[tuple[Scope, str], str] = {}
    for arn, name in zip(arns, names, strict=True):
        key = (name.scope, name.name)
        if key in seen:
            raise invalid_parameter(
                "Two different versions of the same layer are not allowed to be referenced in the same function. "
                f"{seen[key]} and {arn} are versions of the same layer."
            )
        seen[key] = arn


def _reference(catalog: Catalog, scope: Scope, arn: str, name: LayerName) -> LayerReference:
    found = catalog.layer_version(name.scope, name.name, name.number or 0)
    if found is None:
        raise _missing(arn)
    check_access(catalog, scope, found)
    return LayerReference(arn, found.code)


def check_access(catalog: Catalog, scope: Scope, layer: LayerVersion) -> None:
    """Another account's layer version may be used as its policy says; one's own always."""
    if layer.scope.account == scope.account:
        return
    policy = catalog.attachment(LayerPolicy, layer.scope, layer.name, str(layer.number))
    if policy is None or not allows_layer(policy.statements, scope.account):
        raise LambdaError(
            "AccessDeniedException",
            f"User: arn:aws:iam::{scope.account}:root is not authorized to perform: lambda:GetLayerVersion on "
            f"resource: {layer.arn} because no resource-based policy allows the lambda:GetLayerVersion action",
        )


def _missing(arn: str) -> Exception:
    return invalid_parameter(f"Layer version {arn} does not exist.")
