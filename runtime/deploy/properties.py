"""Reading the properties of a resource once they are worked out: each as what it has to be, or TemplateError. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime.deploy.errors import Path, TemplateError

_WHOLE = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of one resource, and where they stand."""

    values: Mapping[str, Any]
    path: Path

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def wrong(self, name: str, text: str) -> TemplateError:
        return TemplateError(text, (*self.path, name))

    def text(self, name: str, default: str = "") -> str:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "a text is wanted here")
        return value

    def required(self, name: str) -> str:
        text = self.text(name)
        if not text:
            raise TemplateError(f"{name} is missing", self.path)
        return text

    def number(self, name: str, default: int) -> int:
        value = self.get(name)
        if value is None:
            return default
        if not isinstance(value, str) or not _WHOLE.fullmatch(value):
            raise self.wrong(name, f"{value!r} is not a whole number")
        return int(value)

    def texts(self, name: str) -> list[str] | None:
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(name, "a list of texts is wanted here")
        return value

    def inner(self, name: str) -> "Properties":
        """A property that is a map of properties; an empty one where there is none."""
        value = self.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(name, "a map is wanted here")
        return Properties(value or {}, (*self.path, name))

    def pairs(self) -> dict[str, str]:
        """All of them, each a text."""
        return {name: self._pair(name) for name in self.values}

    def _pair(self, name: str) -> str:
        if not isinstance(value := self.get(name), str):
            raise self.wrong(name, "a text is wanted here")
        return value

    def tags(self) -> dict[str, str]:
        """`Tags` as a map, or as CloudFormation's list of keys and values."""
        if not isinstance(listed := self.get("Tags"), list):
            return self.inner("Tags").pairs()
        items = [
            Properties(item if isinstance(item, Mapping) else {}, (*self.path, "Tags", str(index)))
            for index, item in enumerate(listed)
        ]
        return {item.required("Key"): item.text("Value") for item in items}
