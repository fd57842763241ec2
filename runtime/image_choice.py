"""Which image serves which runtime, as somebody sets it: a word for all, `runtime=image` pairs, or both. Pure.

    own                                     Berth's images; of runtimes that it has none for, AWS's
    aws                                     AWS's base images
    own,python3.12=registry.local/py:3.12   Berth's images, and for one runtime another; `python3.12=aws` goes too

Whether an image can be had, and whether a runtime exists, is not known here.
"""

import re
from dataclasses import dataclass

OWN = "own"
AWS = "aws"

_RUNTIME = re.compile(r"[a-z]+[a-z0-9.]*")
_REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """`runtimes` are pairs of an identifier and `own`, `aws` or an image's reference."""

    general: str = OWN
    runtimes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As `parse` reads it."""
        return ",".join([self.general, *(f"{runtime}={image}" for runtime, image in self.runtimes)])

    def of(self, runtime: str) -> str:
        """`own`, `aws`, or a reference."""
        return dict(self.runtimes).get(runtime, self.general)


def parse(text: str) -> ImageChoice:
    """Raises ValueError."""
    general: str | None = None
    runtimes: dict[str, str] = {}
    for part in text.split(","):
        runtime, mark, image = part.strip().partition("=")
        if mark:
            if runtime in runtimes or not _RUNTIME.fullmatch(runtime) or not _REFERENCE.fullmatch(image):
                raise ValueError(f"{part} is not a runtime and an image, or comes twice")
            runtimes[runtime] = image
        elif general is None and runtime in (OWN, AWS):
            general = runtime
        else:
            raise ValueError(f"{part} is neither {OWN} nor {AWS}, or comes twice")
    return ImageChoice(general or OWN, tuple(runtimes.items()))
