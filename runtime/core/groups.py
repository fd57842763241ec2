"""What the pool knows of the environments and tickets of one key. Records with running counts; pure."""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum

from runtime.core.estimate import Estimate

Key = Hashable


class Place(Enum):
    """Where an environment is in its use."""

    LAUNCHING = "launching"
    """Its sandbox starts."""
    INITIALISING = "initialising"
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    """Its client has the answer; it is about to be idle."""
    ENDING = "ending"


COMING = (Place.LAUNCHING, Place.INITIALISING)
"""Not there yet."""


class Purpose(Enum):
    """What an environment was launched for."""

    INVOCATION = "invocation"
    WARM_AHEAD = "warm-ahead"
    PROVISIONED = "provisioned"


@dataclass(slots=True, eq=False)
class Group:
    """All that there is of one key; gone with its last environment, its last ticket and the wish to keep any."""

    key: Key
    memory: int
    #: MB of each environment.
    family: Hashable
    slots: int = 1
    #: Of each environment, at the most.
    members: set[int] = field(default_factory=set)
    idle: OrderedDict[int, None] = field(default_factory=OrderedDict)
    #: Those that can take an invocation, most recently used last.
    waiting: OrderedDict[int, "Ticket"] = field(default_factory=OrderedDict)
    #: Tickets in order of arrival. Each is in one of the following three:
    held: set[int] = field(default_factory=set)
    #: in its grace,
    covered: OrderedDict[int, "Ticket"] = field(default_factory=OrderedDict)
    #: with a launch under way for it,
    starved: OrderedDict[int, "Ticket"] = field(default_factory=OrderedDict)
    #: in line for one.
    coming: int = 0
    finishing: int = 0
    opening: int = 0
    #: Slots that have not been seen yet.
    retired: bool = False
    kept: int = 0
    #: How many environments are to be had at any time,
    pinned: int = 0
    #: how many members count towards that,
    ready: int = 0
    #: and how many of those have been launched.
    failures: int = 0
    #: Of kept ones, in a row.
    not_before: float = 0.0
    #: When a kept one may be launched again.
    launch: Estimate | None = None
    finish: Estimate | None = None
    #: How long its launches take, and how long its environments are still busy once the client has the answer.
    turn: int = 0
    in_line: bool = False
    #: Whether it is in the line of those that are short,
    paused: bool = False
    #: or waits for a pause to end.

    def count(self, place: Place, change: int) -> None:
        if place in COMING:
            self.coming += change
        elif place is Place.FINISHING:
            self.finishing += change

    @property
    def expected(self) -> int:
        """How many invocations will find room soon without a launch."""
        return self.finishing + self.opening

    @property
    def is_short(self) -> bool:
        """Whether fewer are there than are to be kept."""
        return self.pinned < self.kept


@dataclass(slots=True, eq=False)
class Member:
    """One environment."""

    group: Group
    place: Place
    since: float
    #: When it got there.
    began: float
    #: When its launch did.
    purpose: Purpose
    pinned: bool = False
    #: One of those that are kept.
    ready: float | None = None
    #: When it was launched and initialised.
    surplus: bool = False
    #: Kept no more: it ends when nobody needs it.
    free: int = 0
    #: Where there are several slots: those that can take an invocation. Below 0 for a moment, where one is lost that had
    #: been given away.
    running: int = 0
    finishing: int = 0
    #: Of those: whose clients have the answer.
    opening: int = 0
    #: Slots that have not been seen yet.


@dataclass(slots=True, eq=False)
class Ticket:
    """One invocation that waits."""

    number: int
    group: Group
    since: float
    turn: int = 0
    lost: int = 0
    #: Launches that failed while it was the next to be served.

    @property
    def memory(self) -> int:
        return self.group.memory
