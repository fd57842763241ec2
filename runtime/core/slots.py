"""Slots of environments that serve several invocations at once: how they open, and who waits for that. Pure."""

from itertools import islice

from runtime.core.actions import Actions, Hold
from runtime.core.books import Books
from runtime.core.groups import Group, Member

OPENING = 1.0
"""Seconds that tickets wait for further slots of an environment that has just shown its first."""


def count_slots(books: Books, member: Member, change: int) -> None:
    """So many more are free: those that were about to be, then those that had not been seen yet."""
    member.free += change
    for _ in range(change):
        if member.finishing:
            books.finishing(member, -1)
        elif member.opening:
            books.opening(member, -1)


def hold_for_opening(books: Books, group: Group, served: int, now: float) -> Actions:
    """After those that are served now: whom the other slots of a new environment are enough for waits for them."""
    waiting = list(islice(group.waiting.values(), served, served + group.opening))
    held = [ticket for ticket in waiting if ticket.number in group.covered]
    for ticket in held:
        books.hold(ticket)
    return [Hold(ticket.number, now + OPENING) for ticket in held]
