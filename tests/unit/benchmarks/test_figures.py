"""The benchmark's arithmetic: medians, ratios of paired rounds, and which conclusions are refused."""

from math import nan

import orjson

from tests.benchmarks.figures import Figure, Results, Spread, bounded_by_load


def figure(**rounds: list[float]) -> Figure:
    """Return a figure of these peers."""
    return Figure("throughput", "requests/s", rounds)


def test_a_figure_is_its_median_and_its_range() -> None:
    """One wild round moves the range and not the median."""
    assert figure(us=[10.0, 11.0, 90.0]).spread("us") == Spread(11.0, 10.0, 90.0)


def test_a_round_that_failed_says_nothing() -> None:
    """Neither the median nor the range knows of it; nothing but failures is no figure."""
    measured = figure(us=[nan, 3.0, 5.0], them=[nan])
    assert measured.spread("us") == Spread(4.0, 3.0, 5.0)
    assert measured.spread("them") is None
    assert measured.middle("nobody") is None


def test_rounds_are_paired_before_the_median_is_taken() -> None:
    """A machine that slows down meets both alike: the ratio is 2 in each round, whatever the medians' own ratio."""
    measured = figure(us=[200.0, 20.0, 2.0], them=[100.0, 10.0, 1.0])
    assert measured.ratio("us", "them") == Spread(2.0, 2.0, 2.0)


def test_the_median_of_ratios_is_not_the_ratio_of_medians() -> None:
    """The ratios are 1, 4 and 2; the medians, 4 and 1, would say 4."""
    assert figure(us=[1.0, 4.0, 8.0], them=[1.0, 1.0, 4.0]).ratio("us", "them") == Spread(2.0, 1.0, 4.0)


def test_a_failed_round_keeps_its_place() -> None:
    """The other's first round is not held against our second."""
    assert figure(us=[nan, 6.0], them=[1.0, 3.0]).ratio("us", "them") == Spread(2.0, 2.0, 2.0)
    assert figure(us=[4.0, 6.0], them=[nan, 3.0]).ratio("us", "them") == Spread(2.0, 2.0, 2.0)


def test_nothing_is_divided_by_nothing() -> None:
    """A peer that was not measured, or only at zero, has no ratio."""
    assert figure(us=[4.0], them=[0.0]).ratio("us", "them") is None
    assert figure(us=[4.0]).ratio("us", "them") is None


def test_who_is_half_as_fast_as_no_proxy_is_bounded_by_the_load() -> None:
    """At exactly half, the direct path is twice as fast, and the figure is the proxy's own."""
    measured = figure(direct=[100.0], slow=[30.0], half=[50.0], fast=[51.0])
    assert bounded_by_load(measured, "direct") == ["fast"]
    assert bounded_by_load(figure(fast=[51.0]), "direct") == []
    times = figure(direct=[100.0], fast=[199.0], slow=[200.0])
    assert bounded_by_load(times, "direct", less_is_better=True) == ["fast"]


def test_failures_are_counted_by_who_and_when() -> None:
    """Over all rounds; a round without any leaves no trace."""
    results = Results()
    for name, during, count in (
        ("us", "the burst", 2),
        ("us", "the burst", 3),
        ("us", "uploads", 1),
        ("them", "it", 0),
    ):
        results.fail(name, during, count)
    assert results.failures == {"us, the burst": 5, "us, uploads": 1}


def test_results_survive_being_saved() -> None:
    """Rounds, remarks and versions are read as they were written, and a failed round is one still."""
    results = Results({"date": "2026-11-27"}, {"us": "1.0"})
    results.figure("throughput", "GETs", "1/s").add("us", 2.0)
    results.remark("noisy")
    results.remark("noisy")
    assert Results.read(orjson.loads(orjson.dumps(results))) == results
    assert results.remarks == ["noisy"]
    results.figure("throughput", "GETs", "1/s").add("us", nan)
    read = Results.read(orjson.loads(orjson.dumps(results)))
    assert read.figures["throughput"].spread("us") == Spread(2.0, 2.0, 2.0)
