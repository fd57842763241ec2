"""`value`: a frozen dataclass to the type checker, and one that is quickly made when the program runs.

What keeps a frozen dataclass from being changed makes it several times as dear to create, and an invocation creates some
thirty values. Here it is the type checker alone that keeps them from being changed.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots, kw_only=False):  # noqa: ANN001, ANN201  its signature is `dataclass`'s
        """Compared and hashed by what it holds, as a frozen one."""
        assert frozen  # noqa: S101  else it had better be a dataclass
        return dataclass(slots=slots, kw_only=kw_only, unsafe_hash=True)


__all__ = ["value"]
