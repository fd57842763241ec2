"""What a deployment did, resource by resource, and how it is told. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CREATED, UPDATED, PUBLISHED, UNCHANGED = "created", "updated", "published", "unchanged"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one resource."""

    name: str
    action: str
    number: str = "1"
    """Of the version of it that others refer to."""
    changes: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What only the API knows of it: a URL, an identifier."""


@dataclass(slots=True)
class Report:
    """What became of all."""

    stack: str
    dry_run: bool
    resources: list[dict[str, Any]] = field(default_factory=list)
    outputs: Mapping[str, str] = field(default_factory=dict)
    left: list[dict[str, Any]] = field(default_factory=list)
    """What belongs to the stack and is not in its template: name, and whether it was deleted."""
    warnings: list[str] = field(default_factory=list)

    def add(self, logical_id: str, kind: str, arn: str, outcome: Outcome) -> None:
        self.resources.append(
            {
                "logical_id": logical_id,
                "type": kind,
                "name": outcome.name,
                "arn": arn,
                "action": outcome.action,
                "changes": list(outcome.changes),
            }
        )

    def document(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "dry_run": self.dry_run,
            "resources": self.resources,
            "outputs": dict(self.outputs),
            "left": self.left,
            "warnings": self.warnings,
        }
