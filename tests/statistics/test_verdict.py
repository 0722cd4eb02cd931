"""The rule of verdicts: equivalent comes before better."""

from support.result_tables import runs

from hfbench.statistics.comparisons import compare


def only(records, **options):
    (comparison,) = compare(records, "hf", **options)
    return comparison


def test_equivalent_comes_before_better():
    base = {s: 100.0 + s for s in range(10)}
    c = only(runs({"hf": base, "lsmr": {s: cost * (0.97 + 0.001 * s) for s, cost in base.items()}}))
    assert c.p_holm < 0.05
    assert c.ci_high < 1
    assert c.verdict == "equivalent"
