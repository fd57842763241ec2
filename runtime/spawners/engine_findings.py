"""What the engine offers to Berth, as findings for `berth doctor`. Looks only; a control plane asks elsewhere."""

from collections.abc import Iterator, Sequence

from runtime.diagnosis import Finding
from runtime.settings import Settings
from runtime.spawners.engine import ADVICE, Document, Engine, NoEngine
from runtime.spawners.engine_facts import OLDEST


async def diagnose(settings: Settings) -> list[Finding]:
    """Whether one answers, and what it can do and has."""
    try:
        engine = await Engine.connect(settings.docker_host)
    except NoEngine as error:
        return [_finding("engine", error.looked, ADVICE, ok=False, essential=settings.spawner == "docker")]
    try:
        images = await engine.images("berth.image")
    finally:
        await engine.close()
    return [*_about(engine), _images(images)]


def _about(engine: Engine) -> Iterator[Finding]:
    facts = engine.facts
    old = facts.product == "Docker Engine" and facts.release < OLDEST
    where = f"{facts.title} at {engine.endpoint.url} ({engine.endpoint.origin})"
    yield _finding("engine", where, "upgrade it to 20.10 or later" if old else None, ok=not old)
    yield _finding(
        "limits",
        f"cannot limit {', '.join(facts.lacks)}"
        if facts.lacks
        else "memory, processor and processes can be limited",
        "enable these cgroup controllers for the engine" if facts.lacks else None,
        ok=not facts.lacks,
    )


def _images(images: Sequence[Document]) -> Finding:
    tags = sorted(
        tag for image in images for tag in image.get("RepoTags") or () if not tag.startswith("<none>")
    )
    advice = None if tags else "they are built on first need; `berth images build` builds them ahead"
    return _finding("runtime images", ", ".join(tags) or "none built yet", advice, ok=bool(tags))


def _finding(name: str, detail: str, advice: str | None, *, ok: bool, essential: bool = False) -> Finding:
    return Finding(name=name, ok=ok, essential=essential, detail=detail, advice=advice)
