"""What the pool asks its shell to do. Values, pure."""

from rapid.values import value
from runtime.core.groups import Key
from runtime.core.room import Bound


@value(frozen=True, slots=True)
class Assign:
    """The ticket gets the environment."""

    ticket: int
    environment: int


@value(frozen=True, slots=True)
class Launch:
    """Start an environment for the key; tell `launched` when its sandbox is there."""

    environment: int
    key: Key


@value(frozen=True, slots=True)
class Destroy:
    """End an environment; tell `gone` when it has."""

    environment: int


@value(frozen=True, slots=True)
class Hold:
    """Call `grace_over` with the ticket at the time `until`."""

    ticket: int
    until: float


@value(frozen=True, slots=True)
class Fail:
    """The ticket gets no environment: the launch made for it failed."""

    ticket: int


@value(frozen=True, slots=True)
class Refuse:
    """The ticket gets no environment: there is no room for one; `for_good` where nothing that ends would help."""

    ticket: int
    bound: Bound
    for_good: bool = False


Action = Assign | Launch | Destroy | Hold | Fail | Refuse
Actions = list[Action]
