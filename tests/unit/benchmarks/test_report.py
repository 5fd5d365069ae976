"""The output of a benchmark, from invented figures."""

from math import nan
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.benchmarks.figures import Results, Spread
from tests.benchmarks.plot import draw
from tests.benchmarks.report import number, ranged, render, table


@pytest.fixture
def results() -> Results:
    """Three rounds of our two builds, of another proxy and of none."""
    versions = {"Backstay, compiled": "0.1.0", "Backstay, plain": "0.1.0", "Envoy": "1.40.0"}
    results = Results({"date": "2026-11-27", "machine": "a quiet one"}, versions)
    for name, rates in (
        ("no proxy", [40e3, 40e3, 40e3]),
        ("Backstay, compiled", [15e3, 18e3, 21e3]),
        ("Backstay, plain", [15e3, 9e3, 7e3]),
        ("Envoy", [30e3, 9e3, 14e3]),
    ):
        for rate in rates:
            results.figure("throughput", "distinct small GETs", "requests/s").add(name, rate)
    results.figure("added_p99", "latency added", "ms").add("Backstay, compiled", 0.5)
    results.figure("added_p99", "latency added", "ms").add("Envoy", nan)
    results.figure("scale", "GETs", "requests/s").add("Backstay, compiled, 10 subjects", 18e3)
    return results


def test_the_table_has_a_row_for_each(results: Results) -> None:
    """Medians, with thousands apart; what was not measured is a dash; the sidecar stands out."""
    lines = render(results, detailed=False).splitlines()
    assert [" ".join(line.split()) for line in (lines[0], *lines[2:6])] == [
        "| median | GET/s | added p99, ms |",
        "| no proxy | 40,000 | - |",
        "| **Backstay, compiled** | 18,000 | 0.50 |",
        "| **Backstay, plain** | 9,000 | - |",
        "| Envoy | 14,000 | - |",
    ]


def test_ratios_are_ours_to_theirs(results: Results) -> None:
    """Round by round: 0.5, 2 and 1.5; for each build, which are held against each other too."""
    said = render(results, detailed=False)
    compiled, _, plain = said.partition("Backstay, plain, divided by each")
    assert "Backstay, compiled, divided by each" in compiled
    assert "| Envoy           | 1.50 (0.50 to 2.00) |" in compiled
    assert "| Backstay, plain | 2.00 (1.00 to 3.00) |" in compiled
    assert "| Envoy              | 0.50 (0.50 to 1.00) |" in plain


def test_the_load_generator_is_named_where_it_is_the_bound(results: Results) -> None:
    """Only when the median is over half of the direct path's."""
    assert "not twice as fast" not in render(results, detailed=False)
    results.figure("throughput", "", "").rounds["Envoy"] = [21e3, 21e3, 9e3]
    assert (
        "* distinct small GETs: no proxy at all is not twice as fast as Envoy: the load generator is the bound"
        in render(results, detailed=False)
    )


def test_remarks_and_circumstances_are_said(results: Results) -> None:
    """Who is missing, when, where, with what."""
    results.remark("Caddy is left out: caddy is not installed")
    results.fail("Envoy", "the burst", 1_200)
    said = render(results, detailed=False)
    assert "* Envoy, the burst: 1,200 requests were not answered with 200\n" in said
    assert "* Caddy is left out: caddy is not installed\n" in said
    versions = "Backstay, compiled 0.1.0, Backstay, plain 0.1.0, Envoy 1.40.0"
    assert said.endswith(f"date: 2026-11-27  \nmachine: a quiet one  \nversions: {versions}\n")


def test_details_give_every_range(results: Results) -> None:
    """One line a figure and peer, and none of a figure without a round that counts."""
    said = [" ".join(line.split()) for line in render(results, detailed=True).splitlines()]
    assert "| distinct small GETs | Backstay, compiled | 18,000 | 15,000 | 21,000 | requests/s |" in said
    assert not any(line.startswith("| latency added | Envoy") for line in said)


def test_the_scale_is_a_table_of_its_own(results: Results) -> None:
    """A case that was measured in one round is its own range."""
    assert "| Backstay, compiled, 10 subjects | 18,000 (18,000 to 18,000) |" in render(results, detailed=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [(18234.5, "18,234"), (123.4, "123"), (12.34, "12.3"), (1.234, "1.23"), (0.0, "0"), (-0.034, "-0.03")],
)
def test_numbers_have_the_digits_that_count(value: float, text: str) -> None:
    """No more than the machine can tell."""
    assert number(value) == text


def test_a_range_reads_as_a_sentence() -> None:
    """And nothing is a dash."""
    assert ranged(Spread(2.0, 1.0, 4.0)) == "2.00 (1.00 to 4.00)"
    assert ranged(None) == "-"


def test_a_table_is_aligned() -> None:
    """Names to the left, figures to the right; without rows there is no table."""
    assert table(["who", "how much"], [["a", "1"]]) == "| who | how much |\n|-----|---------:|\n| a   |        1 |"
    assert table(["who", "how much"], []) == ""


def test_the_picture_is_vectors_alone(results: Results, tmp_path: Path) -> None:
    """No font, no ground, no date; the same figures are the same picture."""
    pytest.importorskip("matplotlib", reason="the extra `plots` is not installed")
    for name in ("one.svg", "two.svg"):
        draw(results, tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert ElementTree.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert "<text" not in drawn
    assert "dc:date" not in drawn
    assert drawn == (tmp_path / "two.svg").read_text()
    with pytest.raises(ValueError, match="none of throughput, cpu, added_p50, added_p99 was measured"):
        draw(Results(), tmp_path / "three.svg")
