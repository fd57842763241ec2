"""What a deployment has changed so far, and how each change is taken back. It only calls what it was given.

Changes are taken back in reverse, each as far as it goes: what cannot be is told, and the others go on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.deploy.errors import TemplateError
from runtime.deploy.service import ServiceError, Unreachable


@dataclass(slots=True)
class Journal:
    """Of one deployment. `tell` hears what is taken back, `warn` what stays."""

    tell: Callable[[str], None]
    warn: Callable[[str], None]
    _entries: list[tuple[str, str, Callable[[], object]]] = field(default_factory=list)
    at: str = ""
    """The resource that is being worked at."""

    def done(self, undoing: str, undo: Callable[[], object]) -> None:
        """Something was changed; `undoing` says what `undo` will do."""
        self._entries.append((self.at, undoing, undo))

    def roll_back(self) -> None:
        while self._entries:
            self.at, undoing, undo = self._entries.pop()
            self.tell(undoing)
            try:
                undo()
            except (ServiceError, TemplateError) as error:
                self.warn(f"{self.at}: {undoing} failed: {error}")
            except Unreachable as error:
                self.warn(f"{self.at}: {undoing} failed: {error}")
                return self.give_up()
        return None

    def give_up(self) -> None:
        """Say what stays, for nobody answers any more."""
        while self._entries:
            at, undoing, _ = self._entries.pop()
            self.warn(f"{at}: not done: {undoing}")
