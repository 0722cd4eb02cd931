"""The tables and sentences at the end of a study: what they say, and that they fit 80 columns."""

import io
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from support.result_tables import runs, simulated

from hfbench.report.comparison_text import endings, hardware_sentence, markdown, medians, rows, sentences, table
from hfbench.statistics.comparisons import compare

LONG = "shf-lsmr-chapelle-erhan-dynamic-batch-with-validation"


def only(records, **options):
    (comparison,) = compare(records, "hf", **options)
    return comparison


def printed(comparisons, records=None, **options):
    console = Console(file=io.StringIO(), width=80, **options)
    table(comparisons, console, records)
    return console.file.getvalue()


def win(ratio=0.5, n=8, method="lsmr"):
    base = {s: 100.0 + s for s in range(n)}
    return runs({"hf": base, method: {s: cost * ratio for s, cost in base.items()}})


def test_the_sentence_word_by_word():
    assert sentences(only(win())) == (
        "On usps (8 paired seeds), lsmr needed 0.50x the work of hf "
        "(95 % CI 0.50-0.50, Wilcoxon p_Holm = .008, 8/8 wins): clearly better."
    )


def test_equivalence_is_said_with_its_own_test_and_margin():
    words = sentences(only(win(ratio=0.99), primary="products_to_target"))
    assert "needed 0.99x the Gauss-Newton products of hf" in words
    assert "TOST p_Holm < .001" in words
    assert words.endswith("equivalent. Surely less, but by less than 10 %.")


def test_an_inconclusive_sentence_says_what_would_settle_it():
    c = only(simulated(1.0, 0.3, 10, np.random.default_rng(0)))
    assert c.verdict == "inconclusive"
    assert f"About {c.needed} fresh paired seeds, judged alone, would show" in sentences(c)
    few = sentences(only(simulated(1.0, 0.3, 5, np.random.default_rng(0))))
    assert "p_Holm" not in few
    assert "inconclusive (n too small). 5 of the pairs differ, and p can get below 0.05 only if 6 do." in few


def test_censored_and_missing_runs_are_mentioned():
    records = runs({"hf": {0: 100.0, 1: None, 2: "failed"}, "lsmr": {0: None, 1: None, 3: 10.0}}, tau=400.0)
    words = sentences(only(records))
    assert "Target reached by lsmr in 0/2 (2 cut off) and by hf in 1/2 (1 cut off)." in words
    assert "2 seeds recorded for only one of the two left out." in words
    assert "A limit in passes, the same for all runs, would tell more of those that were cut off." in words
    assert "a larger budget or an easier target" in sentences(only(records, budget={"usps": 400.0}))
    assert "no difference" not in words


def test_one_seed_is_singular():
    words = sentences(only(win(n=1)))
    assert words.startswith("On usps (1 paired seed), lsmr needed 0.50x")
    assert "1 of the pairs differs, and p can get below 0.05 only if 6 do." in words
    assert "None of the pairs differ," in sentences(only(win(ratio=1.0, n=3)))


def test_where_no_run_reached_the_target_no_ratio_is_told():
    nobody = dict.fromkeys(range(8))
    c = only(runs({"hf": nobody, "lsmr": nobody, "never": {8: None}}), methods=["lsmr"])
    assert c.unsolved
    words = sentences(c)
    assert words.startswith("On usps (8 paired seeds), neither lsmr nor hf reached the target: inconclusive.")
    assert words.endswith("Raise the budget or ease the target.")
    assert "0x" not in words
    assert not only(win()).unsolved


@pytest.mark.parametrize(
    ("method", "baseline", "sign", "words"),
    [
        (None, 100.0, "≥4.00x", "needed at least 4.00x the work of hf (95 % CI ≥4.00,"),
        (100.0, None, "≤0.25x", "needed at most 0.25x the work of hf (95 % CI ≤0.25,"),
        ("failed", 100.0, "∞x", "lsmr never got where hf did (95 % CI unbounded,"),
    ],
)
def test_the_ratio_to_a_method_that_never_reached_the_target_is_a_bound(method, baseline, sign, words):
    records = runs({"hf": dict.fromkeys(range(8), baseline), "lsmr": dict.fromkeys(range(8), method)}, tau=400.0)
    c = only(records)
    assert words in sentences(c)
    assert sign in printed([c], records)
    assert sign in markdown([c])
    assert max(map(len, printed([c], records).splitlines())) <= 80


def test_seeds_neither_solved_leave_the_interval_open():
    base = dict.fromkeys(range(8), 100.0)
    records = runs({"hf": base | {6: None, 7: None}, "lsmr": dict.fromkeys(base)}, tau=400.0)
    limited = sentences(only(records, budget={"usps": 400.0}))
    assert limited.startswith("On usps (8 paired seeds, limit 400), ")
    assert "needed at least 4.00x the work of hf (95 % CI unbounded, Wilcoxon" in limited
    assert "0/8 wins, 2 ties)" in limited
    assert "In 2 seeds it is open which was cheaper." in sentences(only(records))


def test_how_runs_ended_is_told_in_sentence_table_and_markdown():
    base = {s: 100.0 + s for s in range(8)}
    records = runs({"hf": base | {0: None}, "lsmr": base | {1: "failed", 2: None, 3: None}}, tau=400.0)
    records.loc[(records["method"] == "lsmr") & (records["seed"] == 3), "outcome"] = "diverged"
    c = only(records, budget={"usps": 400.0})
    told = "not at the target: hf 1 cut off; lsmr 1 cut off, 1 diverged, 1 failed"
    assert endings([c]) == told
    assert told in " ".join(printed([c]).split())
    assert told.capitalize() in markdown([c])
    words = "Target reached by lsmr in 5/8 (1 cut off, 1 diverged, 1 failed) and by hf in 7/8 (1 cut off). A run that"
    assert words in sentences(c)
    assert "no limit of work was given" in endings([only(records)])
    failing = runs({"hf": base, "lsmr": base | {1: "failed"}})
    assert endings([only(failing)]) == "not at the target: lsmr 1 failed"  # for which no limit is wanted
    assert endings([only(win())]) == ""


def test_what_was_extended_preliminary_or_decided_early_is_told():
    c = replace(only(win()), planned=10, first_n=7, first_verdict="inconclusive", first_how="extended")
    words = sentences(c)
    assert "Preliminary: 8 of 10 planned seeds." in words
    assert "Extended without having declared it; before: inconclusive with 7 seeds." in words
    assert "An earlier block of seeds was judged too: inconcl" in sentences(replace(c, first_how="earlier block"))
    assert "Judged before by another test, level or margin: inconcl" in sentences(replace(c, first_how="another rule"))
    decided = sentences(replace(c, decided_at=8))
    assert "Decided at the declared look of 8 seeds, which this is." in decided
    assert "Preliminary" not in decided
    assert "judged before without a declared look: lsmr inconclusive with 7 seeds" in " ".join(printed([c]).split())
    assert "fresh" not in sentences(replace(only(simulated(1.0, 0.3, 10, np.random.default_rng(0))), planned=20))


def test_no_common_seed_at_all():
    words = sentences(only(runs({"hf": {0: 1.0}, "lsmr": {1: 2.0}})))
    assert words == "On usps, no seed was run for both lsmr and hf: inconclusive (n too small)."


@pytest.mark.parametrize("names", [["lsmr"], [LONG], ["lsmr", LONG, "x[red]y"]])
def test_the_tables_fit_eighty_columns_and_lose_nothing(names):
    base = {s: 1000.0 + s for s in range(20)}
    records = runs({"hf": base, **{name: {s: 0.9 * cost for s, cost in base.items()} for name in names}}, tau=9e4)
    text = printed(compare(records, "hf", methods=names), records)
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text  # plain where there is no terminal
    assert "…" not in text
    for part in ("0.90x", "20/0/0", "20/20", "clearly better", "medians over seeds"):
        assert part in text
    joined = "".join(text.split())
    for name in names:
        assert name in joined


def test_the_test_error_at_a_target_on_validation_has_its_place_in_eighty_columns():
    base = {s: 1000.0 + s for s in range(20)}
    records = runs({"hf": base, LONG: {s: 0.9 * cost for s, cost in base.items()}}, tau=9e4)
    comparisons = compare(records, "hf")
    assert "test_error_at_target" not in medians(records, comparisons)[0]
    records["test_error_at_target"] = records["final_test_error"] + 5.25
    assert medians(records, comparisons)[0]["test_error_at_target"] == 12.25
    text = printed(comparisons, records)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "12.2" in text


def test_a_long_name_is_broken_where_its_words_end():
    base = {s: 1000.0 + s for s in range(20)}
    records = runs({"hf": base, "hf_lsmr_chapelle-erhan_dynamic": {s: 0.9 * cost for s, cost in base.items()}}, tau=9e4)
    starts = [line[1:18].strip() for line in printed(compare(records, "hf"), records).splitlines()]
    assert {"hf_lsmr_", "chapelle-", "erhan_dynamic"} <= set(starts)  # the table of verdicts has less room
    assert starts[starts.index("hf_lsmr_chapelle-") + 1] == "erhan_dynamic"  # than that of medians


def test_a_terminal_gets_colours():
    text = printed(compare(win(), "hf"), force_terminal=True, color_system="standard")
    assert "\x1b[32mclearly better" in text


def test_every_task_has_its_own_table():
    records = pd.concat([win(), win().assign(task="curves")])
    text = printed(compare(records, "hf"), records)
    assert text.index("curves · work to target") < text.index("usps · work to target")
    assert text.count("medians over seeds") == 2


def test_medians_put_the_baseline_first_and_know_censoring():
    hf = {0: 100.0, 1: 200.0, 2: 300.0}
    records = runs({"hf": hf, "lsmr": {0: 50.0, 1: None, 2: "failed"}}, tau=400.0)
    first, second = medians(records, [only(records)])
    assert (first["method"], first["cost"], first["solved"], first["n"]) == ("hf", 200.0, 3, 3)
    assert (second["method"], second["cost"], second["known"], second["solved"]) == ("lsmr", 400.0, False, 1)
    assert second["products"] == (350 + 2800) / 2  # the failed run spent nothing that is known
    assert ">400" in printed([only(records)], records)
    failing = runs({"hf": hf, "lsmr": dict.fromkeys(range(3), "failed")})
    assert "never" in printed([only(failing)], failing)


def test_of_few_seeds_the_widest_interval_is_told_with_its_level():
    hf = dict.fromkeys(range(5), 100.0)
    few = only(runs({"hf": hf, "lsmr": {s: 98.0 + 3 * s for s in range(5)}}))
    assert "(93.7 % CI 0.98-1.10, n = 5, 1/5 wins): inconclusive (n too small)." in sentences(few)
    text = printed([few])
    assert "95 % CI " in text
    (line,) = (line for line in text.splitlines() if line.startswith(" lsmr "))
    assert "0.98-1.10" in line
    assert text.splitlines()[text.splitlines().index(line) + 1].split() == ["(93.7", "%)", "(n", "too", "small)"]
    assert "| 0.98-1.10 (93.7 %) |" in markdown([few])
    one, *_ = compare(win(n=1), "hf")
    assert "(95 % CI unbounded, " in sentences(one)


def test_of_few_seeds_an_open_end_stays_open_and_two_are_no_interval():
    records = runs({"hf": dict.fromkeys(range(3), 100.0), "lsmr": {0: 90.0, 1: 95.0, 2: None}}, tau=400.0)
    assert "(75 % CI ≥0.90, n = 3, " in sentences(only(records, budget={"usps": 400.0}))
    open_ = runs({"hf": {0: None, 1: 99.0, 2: 98.0}, "lsmr": {0: 90.0, 1: 95.0, 2: None}}, tau=400.0)
    assert "(95 % CI unbounded, " in sentences(only(open_, budget={"usps": 400.0}))
    failed = only(runs({"hf": dict.fromkeys(range(3), 100.0), "lsmr": dict.fromkeys(range(3), "failed")}))
    assert "(95 % CI unbounded, " in sentences(failed)


def test_rows_of_looks_with_other_shares_say_their_level():
    first, second = (only(simulated(0.8, 0.1, 12, np.random.default_rng(0)), alpha=a) for a in (0.0175, 0.0075))
    text = printed([first, replace(second, method="shf")])
    assert "98.2 % CI" in text
    assert "(99.2 %)" in text


def test_markdown_escapes_names():
    records = win(method="a|b<script>")
    text = markdown(compare(records, "hf"))
    assert "| a\\|b&lt;script&gt; | 0.50x | 0.50-0.50 | .008 | 8/0/0 | 8/8 | **clearly better** |" in text
    assert "<script>" not in text
    assert "- On usps (8 paired seeds), a\\|b" in text


def test_rows_hold_the_sentence_and_are_strict_json():
    (row,) = rows(compare(simulated(1.0, 0.3, 5, np.random.default_rng(0)), "hf"))
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["sentence"].startswith("On usps (5 paired seeds)")


def test_a_family_too_large_for_the_seeds_is_told():
    """Six pairs that all agree give p = .031, which three comparisons at once turn into .094."""
    faster = {s: 50.0 + s for s in range(6)}
    three = runs({"hf": {s: 100.0 + s for s in range(6)}, "a": faster, "b": faster, "c": faster})
    words = sentences(next(c for c in compare(three, "hf") if c.method == "a"))
    assert "inconclusive (n too small). 6 of the pairs differ" in words
    assert words.endswith("among 3 comparisons only if 7 do.")  # a difference far beyond the margin needs no others


def test_the_hardware_of_seconds_is_said_and_what_is_left_out() -> None:
    rows = [{"task": "t", "method": "a", "seed": seed, "hardware": "EPYC, 2 cores"} for seed in range(3)]
    assert hardware_sentence(pd.DataFrame(rows), "t") == "Seconds are of EPYC, 2 cores."
    more = pd.DataFrame([*rows, {"task": "t", "method": "a", "seed": 3, "hardware": "Xeon, 8 cores"}])
    left = "Seconds are of EPYC, 2 cores. The seconds of 1 run on other hardware are left out."
    assert hardware_sentence(more, "t") == left
    assert hardware_sentence(pd.DataFrame(rows).assign(hardware=""), "t") == ""
    assert hardware_sentence(pd.DataFrame(rows).drop(columns="hardware"), "t") == ""
