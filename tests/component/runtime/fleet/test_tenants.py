"""Environments that serve one tenant only."""

import asyncio
import random

from tests.helpers.fleet_world import Runtime, World, function


class Witness:
    """A script that answers with the tenants that its environment has served."""

    def __init__(self) -> None:
        self.served: dict[Runtime, set[str | None]] = {}

    async def __call__(self, runtime: Runtime) -> int:
        seen = self.served[runtime] = set()
        while True:
            payload = await runtime.next()
            seen.add(runtime.tenant)
            assert payload == str(runtime.tenant).encode()
            await runtime.respond(payload)


async def test_tenants_never_share_an_environment(world: World) -> None:
    """
    1. Room for three environments; five tenants and those without one, of two functions, invoke in random order, up to
       eight at a time.
    Result: all are answered, and no environment has served two tenants; one may serve its tenant many times.
    """
    await world.remake(capacity=3)
    world.spawner.script = witness = Witness()
    isolated = world.put(function("isolated", tenant_isolation="PER_TENANT"))
    shared = world.put(function("shared"))
    chance = random.Random(7)  # noqa: S311
    doors = asyncio.Semaphore(8)

    async def invoke() -> None:
        tenant = chance.choice([None, "blue", "green", "red", "a b", "blue/"])
        async with doors:
            version = shared if tenant is None else isolated
            ticket = await world.start(version, str(tenant).encode(), tenant=tenant)
            assert (await ticket.outcome).payload == str(tenant).encode()

    await asyncio.gather(*(invoke() for _ in range(150)))
    assert {len(seen) for seen in witness.served.values()} <= {0, 1}
    assert set.union(*witness.served.values()) == {None, "blue", "green", "red", "a b", "blue/"}
    assert len(witness.served) < 150


async def test_a_change_ends_environments_of_all_tenants(world: World) -> None:
    """And who they serve is shown until then."""
    before = world.put(function(tenant_isolation="PER_TENANT"))
    for tenant in ("blue", "green"):
        await (await world.start(before, tenant=tenant)).completed
    assert {each["tenant"] for each in world.fleet.snapshot()} == {"blue", "green"}
    world.put(function(code="b", tenant_isolation="PER_TENANT"))
    await world.until(lambda: not world.spawner.sandboxes)
