"""Why a template cannot be deployed, with the place in it. Pure."""

from collections.abc import Sequence

Path = tuple[str, ...]
"""Where something stands in a template: the keys that lead to it."""


class TemplateError(Exception):
    """Something in a template is wrong or cannot be done here. `path` leads to it; `line` where the text itself is."""

    def __init__(self, text: str, path: Sequence[str] = (), line: int | None = None) -> None:
        self.text, self.path, self.line = text, tuple(path), line
        super().__init__(f"{'.'.join(self.path)}: {text}" if path else text)
