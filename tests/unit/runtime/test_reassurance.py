"""What is said for work that is silent."""

import asyncio

from runtime.reassurance import reassuring


async def test_silence() -> None:
    """It is said again and again, beside what the work says itself; and not when the work is over."""
    told: list[str] = []
    twice = asyncio.Event()

    def tell(line: str) -> None:
        told.append(line)
        if len(told) == 3:
            twice.set()

    async with reassuring("building", tell, silence=0.001) as heard:
        heard("step 1")
        await twice.wait()
        said = len(told)
    assert told[0] == "step 1"
    assert told[1] == "still building after 0.0 minutes"
    assert len(told) == said


async def test_talkative() -> None:
    """Work that speaks for itself is not interrupted."""
    told: list[str] = []
    async with reassuring("building", told.append) as heard:
        heard("step 1")
        await asyncio.sleep(0)
        heard("step 2")
    assert told == ["step 1", "step 2"]
