"""Intervals over seeds: textbook values, and their coverage with as few seeds as ours."""

import re
from pathlib import Path

import numpy as np
import pytest

from coopctx.analysis.intervals import Estimate, difference, estimate, interval, number
from coopctx.experiments.pools import partner

PAGE = Path(__file__).parents[2] / "docs" / "intervals.md"
SAMPLES = 1500


def ratio(means):
    return means[..., 0] / means[..., 1]


# Textbook values -------------------------------------------------------------------------------------------------


def test_a_mean_has_student_s_interval():
    found = estimate([4.1, 3.7, 5.0, 4.6, 4.9])
    error = np.std([4.1, 3.7, 5.0, 4.6, 4.9], ddof=1) / np.sqrt(5)
    assert [found.value, found.seeds] == [pytest.approx(4.46), 5]
    assert [found.low, found.high] == pytest.approx([4.46 - 2.776445 * error, 4.46 + 2.776445 * error])  # t(4), tables


def test_a_ratio_is_of_the_means_with_the_jackknife_s_interval():
    values = np.array([[1.0, 2.0], [3.0, 5.0], [2.0, 5.0], [4.0, 6.0]])
    found = estimate(values, ratio)
    pseudo = [4 * (10 / 18) - 3 * (10 - a) / (18 - b) for a, b in values]
    half = 3.182446 * np.std(pseudo, ddof=1) / 2  # t(3), tables
    assert [found.value, found.low, found.high] == pytest.approx([10 / 18, 10 / 18 - half, 10 / 18 + half])


def test_one_seed_has_no_interval_and_none_no_estimate():
    for alone in (estimate([2.0]), difference([3.0], [1.0, 1.0])):
        assert alone.value == 2 and np.isnan([alone.low, alone.high]).all() and alone.seeds == 1
    for empty in (lambda: estimate([]), lambda: difference([], [1.0]), lambda: difference([1.0], [])):
        with pytest.raises(ValueError, match="needs a seed"):
            empty()


def test_runs_that_do_not_differ_have_an_interval_of_no_width():
    assert estimate([0.5] * 4) == Estimate(0.5, 0.5, 0.5, 4)
    assert difference([0.5] * 4, [0.25] * 3) == Estimate(0.25, 0.25, 0.25, 3)


def test_independent_runs_have_welch_s_interval():
    """B. L. Welch's example data as scipy.stats.ttest_ind(equal_var=False) has it."""
    from scipy import stats

    first, second = [27.5, 21.0, 19.0, 23.6, 17.0, 17.9], [27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0]
    found, expected = difference(first, second), stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert found.seeds == 6


def test_pairs_that_share_agents_have_a_wider_interval_where_neighbours_are_alike():
    alike, unlike, circle = [0.1, 0.2, 0.5, 0.9, 0.6, 0.3], [0.1, 0.9, 0.2, 0.6, 0.3, 0.5], [(i, (i + 1) % 6) for i in range(6)]
    widths = [found.high - found.low for found in (estimate(alike, pairs=circle), estimate(alike), estimate(unlike, pairs=circle))]
    assert widths[0] > widths[1] > widths[2]
    apart = [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9), (10, 11)]
    assert estimate(alike, pairs=apart) == estimate(alike)
    assert np.isnan(estimate([0.1, 0.3], pairs=[(0, 1), (1, 2)]).low)
    deviations = np.array(alike) - np.mean(alike)
    of_agents = [deviations[i] + deviations[i - 1] for i in range(6)]
    half = 2.570582 * np.sqrt(np.square(of_agents).sum() / 24)  # t(5), tables
    assert estimate(alike, pairs=circle).high == pytest.approx(np.mean(alike) + half)


def test_an_interval_is_cut_to_what_the_quantity_can_be():
    assert Estimate(0.9, 0.7, 1.1, 3).within(0, 1) == Estimate(0.9, 0.7, 1.0, 3)
    assert np.isnan(Estimate(0.9, np.nan, np.nan, 1).within(0, 1).low)
    assert [number(0.1239), number(float("nan")), interval(-0.0001, 0.5), interval(float("nan"), 1)] == [
        *("0.124", "-"),
        *("0.000 to 0.500", "-"),
    ]


# Coverage --------------------------------------------------------------------------------------------------------


def covers(found, truth):
    return found.low <= truth <= found.high


def mean_of(generator, n):
    return covers(estimate(generator.normal(size=n)), 0)


def ratio_of(generator, n):
    own = generator.normal(size=n)
    return covers(estimate(np.stack([1 + 0.3 * own, 2 + 0.4 * generator.normal(size=n)], 1), ratio), 0.5)


def equal_spread(generator, n):
    return covers(difference(generator.normal(size=n), generator.normal(size=n)), 0)


def unequal_spread(generator, n):
    return covers(difference(generator.normal(size=10), 3 * generator.normal(size=n)), 0)


def pairs_of(generator, n, of_agents):
    """Step 3 of seeds 0 to n - 1; a share ``of_agents`` of the variance is that of their Step-2 agents."""
    agents = np.sqrt(of_agents / 2) * generator.normal(size=10)
    pairs = [(seed, partner(seed)) for seed in range(n)]
    values = [agents[one] + agents[other] + np.sqrt(1 - of_agents) * generator.normal() for one, other in pairs]
    return covers(estimate(values, pairs=pairs), 0)


CASES = {
    "mean": mean_of,
    "ratio of two means": ratio_of,
    "difference between runs, same spread": equal_spread,
    "difference between runs, 10 seeds and n with three times the spread": unequal_spread,
    "Step 3, half of the variance from the agents": lambda generator, n: pairs_of(generator, n, 0.5),
    "Step 3, all of it from the agents": lambda generator, n: pairs_of(generator, n, 1.0),
    "Step 3, none of it from the agents": lambda generator, n: pairs_of(generator, n, 0.0),
}


def printed() -> dict[str, list[float]]:
    """The table of docs/intervals.md: coverage at n = 5, 6 and 10."""
    rows = re.findall(r"^\| (.+?) \| (0\.\d+) \| (0\.\d+) \| (0\.\d+) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: [float(value) for value in values] for name, *values in rows}


@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_the_truth_as_often_as_the_documentation_says(case):
    generator = np.random.default_rng(0)
    for n, said in zip((5, 6, 10), printed()[case], strict=True):
        covered = np.mean([CASES[case](generator, n) for _ in range(SAMPLES)])
        assert 0.93 <= said <= 0.985 and covered == pytest.approx(said, abs=0.02), (case, n)
        assert 0.93 <= said <= 0.98 or "none of it" in case
