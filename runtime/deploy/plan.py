"""From a template's document to a plan: which resources there are, in which order, and what each is to be. Pure.

What a resource is to be can depend on what an earlier one became (the number of a layer version), so the plan is asked
resource by resource, with the attributes of those that are there. It is gone through once beforehand with attributes
made up, so that whatever is wrong with the template shows before anything is deployed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.deploy.attributes import attributes
from runtime.deploy.errors import Path, TemplateError
from runtime.deploy.globals import GLOBALS, merged
from runtime.deploy.intrinsics import NO_VALUE, Evaluator
from runtime.deploy.kinds import KINDS, METADATA, MUST_EXIST, SILENT
from runtime.deploy.order import ordered, references
from runtime.deploy.placeholders import placeholder, role_arn
from runtime.deploy.properties import Properties
from runtime.deploy.template import Stack, check, parameters, section
from runtime.deploy.wanted import (
    FunctionWanted,
    LayerWanted,
    Reading,
    Source,
    Wanted,
)

FUNCTION = "AWS::Serverless::Function"
Known = Mapping[str, Mapping[str, str]]
"""Of each resource that is there: its attributes."""
_IMPLICIT = {"ServerlessHttpApi": "AWS::Serverless::HttpApi", "ServerlessRestApi": "AWS::Serverless::Api"}
"""Resources that SAM makes for events of functions."""


@dataclass(frozen=True)
class Plan:
    """What is to be deployed."""

    stack: Stack
    order: tuple[str, ...]
    """Logical identifiers of the resources, each after those that it needs."""
    warnings: tuple[str, ...]
    sources: tuple[Source, ...]
    """What packages are made of."""
    _template: "_Template"

    def kind(self, logical_id: str) -> str:
        return self._template.kind(logical_id)

    def wanted(self, logical_id: str, known: Known) -> Wanted:
        """What a resource is to be, given those before it."""
        return self._template.read(logical_id, known)

    def outputs(self, known: Known) -> dict[str, str]:
        return self._template.outputs(known)


def make_plan(document: Mapping[str, Any], stack: Stack, given: Mapping[str, str]) -> Plan:
    """The plan of a template; TemplateError if anything is wrong with it."""
    try:
        return _made(document, stack, given)
    except RecursionError:
        raise TemplateError("is nested too deeply") from None


def _made(document: Mapping[str, Any], stack: Stack, given: Mapping[str, str]) -> Plan:
    check(document)
    values = parameters(document, given) | stack.pseudo_parameters(NO_VALUE)
    template = _Template(document, stack, values)
    order = template.order()
    known: dict[str, dict[str, str]] = {}
    wanted: dict[str, Wanted] = {}
    rest: dict[str, list[str]] = {}
    for logical_id in order:
        wanted[logical_id] = template.read(logical_id, known)
        known[logical_id] = attributes(stack, wanted[logical_id])
        for name in template.left_out(logical_id):
            rest.setdefault(name, []).append(logical_id)
    _check_names(wanted)
    template.outputs(known)
    warnings = [*template.skipped(), *(f"{name} of {', '.join(ids)}: left out" for name, ids in rest.items())]
    sources = [each.source for each in wanted.values() if isinstance(each, FunctionWanted | LayerWanted)]
    return Plan(stack, tuple(order), tuple(warnings), tuple(sources), template)


def _check_names(wanted: Mapping[str, Wanted]) -> None:
    """No two resources are the same thing."""
    taken: dict[tuple[type, str], str] = {}
    for logical_id, each in wanted.items():
        if isinstance(each, FunctionWanted | LayerWanted):
            other = taken.setdefault((type(each), each.name), logical_id)
            if other != logical_id:
                raise TemplateError(f"has the same name as {other}: {each.name}", ("Resources", logical_id))


@dataclass(frozen=True)
class _Template:
    """A template with its parameters."""

    document: Mapping[str, Any]
    stack: Stack
    values: Mapping[str, Any]

    @property
    def resources(self) -> Mapping[str, Any]:
        return section(self.document, "Resources")

    def kind(self, logical_id: str) -> str:
        return str(self.resources[logical_id]["Type"])

    def evaluator(self, known: Known) -> Evaluator:
        def look_up(name: str, attribute: str | None) -> Any:
            return self.attribute(name, attribute, known)

        return Evaluator(
            self.values, section(self.document, "Mappings"), section(self.document, "Conditions"), look_up
        )

    def exists(self, logical_id: str) -> bool:
        """Whether a resource's condition, if it has one, holds."""
        name, path = self.resources[logical_id].get("Condition"), ("Resources", logical_id, "Condition")
        return name is None or self.evaluator({}).condition(name, path)

    def skipped(self) -> Iterator[str]:
        """A line for each resource of a type that is not done; permissions are not worth one."""
        for logical_id in self.resources:
            kind = self.kind(logical_id)
            if kind not in KINDS and not kind.startswith("AWS::IAM::") and self.exists(logical_id):
                yield f"{logical_id} ({kind}): not done here; a placeholder stands for it"

    def order(self) -> list[str]:
        """The resources to deploy, each after those that it needs."""
        mine = [each for each in self.resources if self.kind(each) in KINDS and self.exists(each)]
        return ordered({each: self.needs(each) & {*mine} for each in mine})

    def needs(self, logical_id: str) -> set[str]:
        resource, path = self.resources[logical_id], ("Resources", logical_id)
        depends = resource.get("DependsOn") or []
        named = depends if isinstance(depends, list) else [depends]
        for name in named:
            if not isinstance(name, str) or name not in self.resources:
                raise TemplateError(f"there is no resource {name}", (*path, "DependsOn"))
        holds = self.evaluator({}).condition
        referred = references(self.properties(logical_id), holds, (*path, "Properties"))
        owners = (self.owner(name) for name in referred if name not in self.values)
        return {*named, *(owner for owner, made in owners if made != "Role")}  # a role's name is known anyway

    def owner(self, name: str) -> tuple[str, str | None]:
        """The resource that a name leads to, and which of its attributes if the name says that too.

        `Function.Alias` and `Function.Version` are SAM's, and so are the resources that it makes beside a function.
        """
        first, _, rest = name.partition(".")
        if first in self.resources or rest:
            return first, rest or None
        for logical_id in self.resources:
            if self.kind(logical_id) == FUNCTION and first.startswith(logical_id):
                made = first.removeprefix(logical_id)
                if made == "Role":
                    return logical_id, "Role"
                if made.startswith("Alias"):
                    return logical_id, "Alias"
                if made == "Url":
                    return logical_id, "Url"
        return first, None

    def attribute(self, name: str, attribute: str | None, known: Known) -> Any:
        """What a resource gives; LookupError with the reason if nothing."""
        logical_id, made = self.owner(name)
        if logical_id in _IMPLICIT and logical_id not in self.resources:
            return placeholder(self.stack, logical_id, _IMPLICIT[logical_id], {}, attribute)
        if logical_id not in self.resources:
            raise LookupError(f"there is no parameter or resource {name}")
        if not self.exists(logical_id):
            raise LookupError(f"{logical_id} is left out by its condition")
        if made == "Role":
            role = f"{self.stack.name}-{logical_id}Role"
            return role if attribute is None else role_arn(self.stack, role)
        if self.kind(logical_id) not in KINDS:
            return self.stand_in(logical_id, attribute or made)
        wanted = made or attribute or "Ref"
        if made == "Url":
            wanted = "Arn" if attribute in (None, "FunctionArn") else attribute
        if logical_id not in known or wanted not in known[logical_id]:
            raise LookupError(f"{logical_id} has no attribute {wanted}")
        return known[logical_id][wanted]

    def stand_in(self, logical_id: str, attribute: str | None) -> str:
        def by_itself(_name: str, _attribute: str | None) -> Any:
            raise LookupError("a placeholder's name is its own")

        properties: Mapping[str, Any]
        mappings, conditions = section(self.document, "Mappings"), section(self.document, "Conditions")
        try:
            path = ("Resources", logical_id, "Properties")
            properties = Evaluator(self.values, mappings, conditions, by_itself).value(
                section(self.document, *path), path
            )
        except TemplateError:
            properties = {}  # what is not done need not be understood
        return placeholder(self.stack, logical_id, self.kind(logical_id), properties, attribute)

    def written(self, logical_id: str) -> Mapping[str, Any]:
        """The properties as written, over those of `Globals`."""
        own = section(self.document, "Resources", logical_id, "Properties")
        if self.kind(logical_id) != FUNCTION:
            return own
        together: Mapping[str, Any] = merged(section(self.document, *GLOBALS), own)
        return together

    def properties(self, logical_id: str) -> dict[str, Any]:
        """Those that are read."""
        read = KINDS[self.kind(logical_id)].properties - self.stand_ins(logical_id)
        return {name: value for name, value in self.written(logical_id).items() if name in read}

    def stand_ins(self, logical_id: str) -> set[str]:
        """Properties that name what has to be there, and is a resource that is not done here."""
        written, holds = self.written(logical_id), self.evaluator({}).condition
        path = ("Resources", logical_id, "Properties")
        return {
            name
            for name in MUST_EXIST & written.keys()
            for each in references(written[name], holds, (*path, name))
            if each in self.resources and self.kind(each) not in KINDS
        }

    def left_out(self, logical_id: str) -> list[str]:
        """Those that are neither read nor beside the point."""
        told = (KINDS[self.kind(logical_id)].properties | SILENT) - self.stand_ins(logical_id)
        return [name for name in self.written(logical_id) if name not in told]

    def read(self, logical_id: str, known: Known) -> Wanted:
        path: Path = ("Resources", logical_id, "Properties")
        evaluator, written = self.evaluator(known), self.properties(logical_id)
        values = {name: evaluator.value(node, (*path, name)) for name, node in written.items()}
        given = {name: value for name, value in values.items() if value is not NO_VALUE}
        return KINDS[self.kind(logical_id)].read(
            Reading(self.stack, logical_id, Properties(given, path), self.metadata(logical_id, evaluator))
        )

    def metadata(self, logical_id: str, evaluator: Evaluator) -> Properties:
        path: Path = ("Resources", logical_id, "Metadata")
        written = section(self.document, *path)
        values = {name: evaluator.value(written[name], (*path, name)) for name in METADATA if name in written}
        return Properties({name: value for name, value in values.items() if value is not NO_VALUE}, path)

    def outputs(self, known: Known) -> dict[str, str]:
        evaluator, found = self.evaluator(known), {}
        for name in section(self.document, "Outputs"):
            output, path = section(self.document, "Outputs", name), ("Outputs", name)
            condition = output.get("Condition")
            if condition is not None and not evaluator.condition(condition, (*path, "Condition")):
                continue
            found[name] = evaluator.text(output.get("Value"), (*path, "Value"))
        return found
