"""The simulation of a great deal of traffic, with little of it."""

from benchmarks.simulation import Simulation


def outcomes(seed: int) -> dict[str, int]:
    simulation = Simulation(functions=40, environments=200, seed=seed, rate=100.0)
    simulation.fill()
    simulation.run(1000)
    figures = simulation.costs.figures()
    assert {"routing: choose", "ledger: ask", "pool: ask", "pool: idle", "pool: chores"} <= set(figures)
    assert all(0 < each["p50"] <= each["p99"] for each in figures.values())
    return dict(simulation.outcomes)


def test_repeatable() -> None:
    """A seed gives the same run again, and another one another; nobody is lost, and the books are right."""
    first, again, other = outcomes(1), outcomes(1), outcomes(2)
    assert first == again
    assert first != other
    assert first.pop("recounts") >= 5
    assert sum(first.values()) == 1000
    assert {"warm", "cold"} <= set(first)
