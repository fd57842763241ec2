"""The extensions of one environment: who they are, what each may do next. Pure.

An external extension is a process that the platform starts from `/opt/extensions`, before the runtime; it must
register under its file's name. An internal one is code inside the runtime's process that registers by itself, before
the runtime's first `next`. Their states and the calls that each allows are the table `EXTENSION_MOVES` in
`rapid.states`; a call that it does not allow raises `ExtensionRefused` and changes nothing. What follows for the
environment as a whole is `rapid.lifecycle`'s to say.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from rapid import errors
from rapid.states import (
    EXTENSION_MOVES,
    ExtensionCall,
    ExtensionMove,
    ExtensionState,
    IllegalTransition,
    target,
)

INVOKE, SHUTDOWN = "INVOKE", "SHUTDOWN"
MAX_EXTENSIONS = 10
"""External and internal ones together."""


class ExtensionRefused(Exception):
    """The call is out of order, or names nobody. Nothing has changed."""

    def __init__(self, refusal: errors.Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


@dataclass(slots=True)
class Extension:
    """One extension. `identifier` is empty until it has registered."""

    name: str
    external: bool
    identifier: str = ""
    events: tuple[str, ...] = ()
    state: ExtensionState = ExtensionState.STARTED
    fault: str | None = None
    """The error type of the fault of the environment that this extension was, if it was one."""
    has_news: bool = False
    """The news of the end waits for its next `next`, and will be the answer to it."""

    def call(self, call: ExtensionCall) -> None:
        """Go where the call leads. Raises `ExtensionRefused`."""
        try:
            self.state = target(EXTENSION_MOVES, self.state, call)
        except IllegalTransition as error:
            refusal = errors.illegal_extension_transition(self.name, error.current, error.target)
            raise ExtensionRefused(refusal) from None
        if self.has_news and self.state is ExtensionState.READY:
            self.has_news = False
            self.move(ExtensionMove.DELIVERED)

    def move(self, move: ExtensionMove) -> None:
        """Go where what the platform did, or saw, leads; one that has ended stays where it is."""
        self.state = EXTENSION_MOVES[self.state].get(move, self.state)

    @property
    def is_alive(self) -> bool:
        return self.state not in (ExtensionState.EXITED, ExtensionState.LAUNCH_ERROR)


@dataclass(slots=True, repr=False)
class Extensions:
    """The extensions of one generation of an environment's processes."""

    _by_name: dict[str, Extension] = field(default_factory=dict)
    _by_identifier: dict[str, Extension] = field(default_factory=dict)
    _open: bool = True

    @classmethod
    def launched(cls, names: Iterable[str]) -> "Extensions":
        """External ones, none registered yet."""
        return cls({name: Extension(name, external=True) for name in names})

    def __repr__(self) -> str:
        states = ", ".join(f"{each.name} {each.state}" for each in self._by_name.values())
        return f"<Extensions [{states}]>"

    def register(self, name: str, events: tuple[str, ...], identifier: str) -> Extension:
        """Make an extension known under an identifier. Raises `ExtensionRefused`."""
        extension = self._by_name.get(name)
        if extension is None or not extension.external:
            self._check_internal(events, is_new=extension is None)
            extension = Extension(name, external=False)
        extension.call(ExtensionCall.REGISTER)
        extension.identifier = identifier
        extension.events = events
        self._by_name[name] = extension
        self._by_identifier[identifier] = extension
        return extension

    def _check_internal(self, events: tuple[str, ...], *, is_new: bool) -> None:
        """Raise `ExtensionRefused` where an internal extension may not register; AWS's order and words."""
        if SHUTDOWN in events:
            reason = "ShutdownEventNotSupportedForInternalExtension"
            raise ExtensionRefused(errors.invalid_event_type(SHUTDOWN, reason))
        if not self._open:
            raise ExtensionRefused(errors.REGISTRATION_CLOSED)
        if len(self._by_name) >= MAX_EXTENSIONS:
            raise ExtensionRefused(errors.TOO_MANY_EXTENSIONS)
        if not is_new:
            raise ExtensionRefused(errors.NAME_REGISTERED)

    def close_registration(self) -> None:
        """The runtime has asked for its first event."""
        self._open = False

    def find(self, identifier: str) -> Extension | None:
        return self._by_identifier.get(identifier)

    def named(self, name: str) -> Extension:
        return self._by_name[name]

    def begin_invocation(self) -> list[Extension]:
        """Those that hear of an invocation; they are running from now on."""
        hearing = [each for each in self._by_name.values() if INVOKE in each.events]
        for extension in hearing:
            extension.move(ExtensionMove.DELIVERED)
        return hearing

    def begin_farewell(self) -> list[Extension]:
        """Those that hear of the end: at once where they are at their `next`, else when they come to it."""
        hearing = self.hearing_shutdown
        for extension in hearing:
            extension.has_news = extension.state is not ExtensionState.READY
            extension.move(ExtensionMove.DELIVERED)
        return hearing

    @property
    def all(self) -> list[Extension]:
        """In the order of their names' appearance."""
        return list(self._by_name.values())

    @property
    def registered(self) -> list[Extension]:
        """In the order of their names' appearance."""
        return [each for each in self._by_name.values() if each.identifier]

    @property
    def hearing_shutdown(self) -> list[Extension]:
        """External ones that subscribed to SHUTDOWN and still run."""
        return [each for each in self.registered if each.is_alive and SHUTDOWN in each.events]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    @property
    def all_registered(self) -> bool:
        return all(each.identifier for each in self._by_name.values())

    @property
    def all_ready(self) -> bool:
        """Every one has asked for its next event, and none has one to work on."""
        return all(each.state is ExtensionState.READY for each in self._by_name.values())

    @property
    def any_hearing(self) -> bool:
        """Whether one hears of invocations, and so may work on one after its answer."""
        return any(INVOKE in each.events for each in self._by_name.values())

    @property
    def any_external(self) -> bool:
        """Whether an external one has registered, whatever became of it."""
        return any(each.external for each in self.registered)

    @property
    def any_registered(self) -> bool:
        return bool(self._by_identifier)
