"""What is there at once, or else has to be awaited: who gets it at once needs neither a task nor a turn of the loop.

Whatever gives a `Soon` has done all that can be done at once. What it gives to be awaited must be awaited by somebody.
"""

from collections.abc import Awaitable
from inspect import isawaitable
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Soon: TypeAlias = T | Awaitable[T]


async def settled(soon: "Soon[T]") -> T:
    """It, whichever way it comes."""
    if isawaitable(soon):
        found: T = await soon
        return found
    return soon
