"""The verdict rule: the verdict of an interval, a claim's weakest row, and the sentences of the report."""

import math

import pytest

from coopctx.analysis.intervals import Estimate
from coopctx.analysis.paper import Target
from coopctx.analysis.verdict import NOT_REPRODUCED, NOT_RUN, PARTLY, REPRODUCED, VERDICTS, Threshold, counted, of_claim, of_row

PAPER = Target(0.89, 0.05, "Fig. 1A")
ABOVE, BELOW = Threshold("above", 0.5), Threshold("below", 0.5)


@pytest.mark.parametrize(
    ("low", "high", "threshold", "earned"),
    [
        (0.80, 0.90, ABOVE, REPRODUCED),
        (0.91, 0.99, ABOVE, REPRODUCED),  # up to 0.94 is the paper's
        (0.95, 0.99, ABOVE, PARTLY),
        (0.55, 0.65, ABOVE, PARTLY),
        (0.83, 0.835, ABOVE, PARTLY),
        (0.83, 0.845, ABOVE, REPRODUCED),
        (0.50, 0.99, ABOVE, NOT_REPRODUCED),  # on the border is not on its side
        (0.30, 0.95, ABOVE, NOT_REPRODUCED),  # though the mean is
        (0.10, 0.30, ABOVE, NOT_REPRODUCED),
        (0.85, 0.95, BELOW, NOT_REPRODUCED),
        (0.30, 0.55, BELOW, NOT_REPRODUCED),
        (0.30, 0.45, BELOW, PARTLY),
        (math.nan, math.nan, ABOVE, NOT_REPRODUCED),  # one seed
    ],
)
def test_the_whole_interval_must_be_on_its_side_and_meet_the_paper(low, high, threshold, earned):
    assert of_row(Estimate((low + high) / 2, low, high, 9), threshold, PAPER) is earned


def test_what_is_not_measured_is_not_run():
    assert of_row(None, ABOVE, PAPER) is NOT_RUN


def test_a_claim_has_the_verdict_of_its_weakest_row():
    assert of_claim([REPRODUCED, REPRODUCED]) is REPRODUCED
    assert of_claim([REPRODUCED, PARTLY, REPRODUCED]) is PARTLY
    assert of_claim([PARTLY, NOT_RUN]) is NOT_RUN
    assert of_claim([NOT_RUN, NOT_REPRODUCED, REPRODUCED]) is NOT_REPRODUCED


def test_verdicts_are_spelt_out_and_each_is_explained_in_one_sentence():
    assert [str(verdict) for verdict in VERDICTS] == ["reproduced", "partly", "not reproduced", "not run"]
    assert all(verdict.means.endswith(".") and verdict.means.count(". ") == 0 for verdict in VERDICTS)
    assert counted([PARTLY, REPRODUCED, PARTLY]) == "1 reproduced, 2 partly"
    assert [str(ABOVE), str(BELOW)] == ["> 0.5", "< 0.5"] and not ABOVE.holds(math.nan)
