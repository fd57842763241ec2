"""What a run found out, as figures, a table, and failures."""

from benchmarks.figures import LONGEST_REASON, Findings


def test_ratios_are_taken_within_rounds() -> None:
    """A round in which the machine was slow for all of them does not show in the ratio."""
    findings = Findings()
    findings.add("warm", "ms", {"Berth": [1.0, 10.0, 1.0], "RIE": [2.0, 20.0, 2.0], "floor": []}, "< RIE")
    [figure] = findings.figures
    assert figure.values == {"Berth": 1.0, "RIE": 2.0}
    assert figure.ratios == {"RIE": 0.5}
    assert findings.document()["figures"][0]["target"] == "< RIE"


def test_the_table_ends_with_targets() -> None:
    """Each row has the peers' values, what is not there as a dash, and the target last."""
    findings = Findings({"machine": "2 cores"})
    findings.add("burst, errors", "requests", {"Berth": [0.0]}, "0")
    findings.add("rate", "/s", {"Berth": [1234.0], "floor": [2468.0]}, ">= 0.5 x floor")
    findings.note("in passing")
    head, _, titles, errors, rate, _, note = findings.table().splitlines()
    assert head == "machine: 2 cores"
    assert titles.split()[:3] == ["Berth", "RIE", "floor"]
    assert errors.split() == ["burst,", "errors,", "requests", "0.00", *"----", "0"]
    assert rate.split() == ["rate,", "/s", "1,234", "-", "2,468", "-", "0.50", ">=", "0.5", "x", "floor"]
    assert note == "note: in passing"


def test_one_example_of_many_failures() -> None:
    """What fails again and again is one line, with the first reason and a count, however long that reason is."""
    findings = Findings()
    for number in range(10):
        findings.fail("Berth, 32 clients", f"HTTP/1.1 429\r\n\r\n{{\n  number: {number}\n}}", 3)
    findings.fail("RIE", "x" * 10_000)
    many, long = findings.failures
    assert many == "Berth, 32 clients: 30 times, e.g. HTTP/1.1 429 { number: 0 }"
    assert len(long) == len("RIE: ") + LONGEST_REASON
    assert findings.table().splitlines()[-2:] == [f"FAILED: {many}", f"FAILED: {long}"]
    assert findings.document()["failures"] == [many, long]
