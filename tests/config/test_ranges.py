"""Values that nobody can mean are refused when the study is read, each by a sentence that begins with its key."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import TEXT, tiny

from hfbench.config.load import load_study
from hfbench.errors import ConfigError

SWEEP = """
[sweep]
method = "shf"
%s
[sweep.parameters]
%s
"""
CLAIM = '[hypotheses.%s]\nmethod = "shf"\nmeasure = "work_to_target"\n'
FRACTION = r"must lie in \(0, 1\] or \[2, inf\)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("study.seeds=[18446744073709551616]", r"study\.seeds: must be a whole number of 64 bits, below 2\^63"),
        ("study.seeds=[1, 9223372036854775808]", r"study\.seeds: must be a whole number of 64 bits"),
        ("study.seeds=[[1], [1]]", r"study\.seeds\[0\]: must be a whole number, but got \[1\]"),
        ("study.margin=1e18", r"study\.margin: must lie in \(1, 10\]"),
        ("study.alpha=0.9999999", r"study\.alpha: must lie in \(0, 0\.5\]"),
        ("study.targets.tiny-curves=nan", r"study\.targets\.tiny-curves: must lie in \(0, inf\), but got nan"),
        ("study.targets.tiny-curves=-1", r"study\.targets\.tiny-curves: must lie in \(0, inf\)"),
        ("study.budget.iterations=0.5", r"study\.budget\.iterations: must lie in \[1, 1e9\]"),
        ("study.budget.iterations=1.5", r"study\.budget\.iterations: must be a whole number of steps, but got 1\.5"),
        ("study.budget.seconds=1e-9", r"study\.budget\.seconds: must lie in \[0\.001, 1e8\]"),
        ("study.budget.products=0.5", r"study\.budget\.products: must lie in \[1, 1e12\]"),
        ("study.budget.passes=1e300", r"study\.budget\.passes: must lie in \(0, 1e9\]"),
        ("on.tiny-curves.budget={iterations=0.5}", r"on\.tiny-curves\.budget\.iterations: must lie in \[1, 1e9\]"),
        ("on.tiny-curves.methods=[['hf']]", r"on\.tiny-curves\.methods: must name a method .*, but got \['hf'\]"),
        ("on.tiny-curves.methods=[{}, {}]", r"on\.tiny-curves\.methods: must not repeat a value, but \{\} occurs 2"),
        ("methods.hf.scheduler.curvature=1.25", rf"methods\.hf\.scheduler\.curvature: {FRACTION}, but got 1\.25"),
        ("methods.hf.scheduler.gradient=1.5", rf"methods\.hf\.scheduler\.gradient: {FRACTION}, but got 1\.5"),
        ("methods.shf.scheduler.start=1.01", rf"methods\.shf\.scheduler\.start: {FRACTION}, but got 1\.01"),
        ("methods.shf.scheduler={use='geometric', start=1.9}", FRACTION),
        ("methods.shf.scheduler={use='inner-product', start=1.9}", FRACTION),
        ("methods.shf.scheduler.growth=1e300", r"scheduler\.growth: must lie in \(1, 1000\]"),
        ("methods.shf.scheduler.theta=1e300", r"scheduler\.theta: must lie in \(0, 1000\]"),
        ("methods.hf.max_inner=1000000000000000000", r"methods\.hf\.max_inner: must lie in \[1, 1e6\]"),
        ("methods.hf.rules=[{use='fixed-iterations', iterations=10000000}]", r"must lie in \[1, 1e6\]"),
        ("methods.hf.rules=[{use='fixed-work', products=0.1}]", r"must lie in \[1, 1e6\]"),
        ("methods.hf.rules=['relative-progress', 'relative-progress']", r"methods\.hf\.rules: must not repeat a value"),
        ("methods.shf.preconditioner.probes=1000000", r"probes: must lie in \[1, 10000\]"),
        ("methods.hf.globalization={rho_low=0.8, rho_high=0.3}", r"rho_low: must be at most rho_high, 0\.3"),
        ("methods.hf.globalization={rho_low=0.8}", r"rho_low: must be at most rho_high, 0\.75"),
        ("methods.hf.globalization={min_damping=1e300}", r"min_damping: must lie in \[0, 1e12\]"),
        ("methods.hf.globalization={min_damping=46}", r"min_damping: must be at most initial_damping, 45"),
        ("methods.hf.globalization={initial_damping=1e300}", r"initial_damping: must lie in \[0, 1e12\]"),
        ("methods.hf.globalization={max_tries=1000000000}", r"max_tries: must lie in \[1, 10000\]"),
        ("methods.hf.globalization={damping_growth=1e9}", r"damping_growth: must lie in \[1, 1000\]"),
        ("tasks.tiny-curves.decay=1e30", r"tasks\.tiny-curves\.decay: must lie in \[0, 1000\]"),
        ("study.seeds=10000", None),
    ],
)  # fmt: skip
def test_nonsense_is_refused_by_its_key(tmp_path: Path, change: str, message: str | None) -> None:
    if message is None:
        tiny(tmp_path, change)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        tiny(tmp_path, change)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("head", "parameters", "message"),
    [
        ("", "scheduler.theta = { low = -inf, high = 1 }", r"scheduler\.theta\.low: must be a finite number"),
        ("", "scheduler.window = { low = 1, high = inf }", r"scheduler\.window\.high: must be a finite"),
        ("", "rules = { low = 0, high = 1 }", r"rules: only a number has a range, but shf has "),
        ("", "rules.relative-progress = {}", r"rules\.relative-progress: methods\.shf\.rules is no part"),
        ("", "chunk = { low = 1, high = 9 }", r"chunk: only a number has a range, but shf has None"),
        ("", "scheduler.theta = { values = [1, 1.0] }", r"theta\.values: must not repeat a value, but 1\.0 occurs 2"),
        ("", "scheduler.theta = { values = [[1], [1]] }", r"theta\.values: must be a number, but got \[1\]"),
        ("", "scheduler.theta = { values = [0.5] }", r"theta\.values: a choice needs at least two values"),
        ("", "scheduler.start = { low = 0.1, high = 90 }", r"all from low to high must lie in \(0, 1\] or"),
        ("", "scheduler.theta = { low = 1, high = 0.1 }", r"`low < high` must hold"),
        ("", "scheduler.theta = { low = 0, high = 1, log = true }", r"must lie in \(0, 1000\]"),
        ("trials = 1", "scheduler.theta = {}", r"sweep\.trials: must lie in \[2, 10000\]"),
        ("hours = 1e300", "scheduler.theta = {}", r"sweep\.hours: must lie in \(0, 100000\]"),
        ("retest = [1000]", "scheduler.theta = {}", r"sweep\.seeds: must have no seed in common with sweep\.retest"),
        ("constraint = { measure = 'final_test_error', at_most = 0 }", "scheduler.theta = {}", r"at_most: must lie in"),
    ],
)  # fmt: skip
def test_nonsense_in_a_sweep_is_refused(tmp_path: Path, head: str, parameters: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        tiny(tmp_path, extra=SWEEP % (head, parameters))
    assert len(str(caught.value)) < 400


def test_a_grid_has_as_many_points_as_a_sweep_has_trials(tmp_path: Path) -> None:
    values = [round(0.1 + index / 1000, 3) for index in range(150)]
    parameters = (
        f"scheduler.theta = {{ values = {[0.5, *values]} }}\nscheduler.tolerance = {{ values = {[0.01, *values]} }}"
    )
    with pytest.raises(ConfigError, match=r"parameters: a grid must have at most 10000 points, but has 22801"):
        tiny(tmp_path, extra=SWEEP % ('sampler = "grid"', parameters))


def test_the_same_claim_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"hypotheses\.b: must differ from hypotheses\.a, but makes the same claim"):
        tiny(tmp_path, extra=CLAIM % "a" + CLAIM % "b")


def test_a_study_has_a_bounded_number_of_runs(tmp_path: Path) -> None:
    methods = "".join(TEXT[TEXT.index("[methods.shf]") :].replace("shf", f"m{index}") for index in range(9))
    with pytest.raises(ConfigError, match=r"study\.seeds: .* at most 100000 runs, but this one has 110000"):
        tiny(tmp_path, "study.seeds=10000", extra=methods)

    path = tiny(tmp_path, extra=methods).source
    with pytest.raises(ConfigError, match="at most 100000 runs, but this one has 110000"):
        load_study(path, seeds="0-9999")


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_seeds_of_64_bits_are_taken(tmp_path: Path, seed: int) -> None:
    assert load_study(tiny(tmp_path).source, overrides=[f"study.seeds=[{seed}]"]).seeds == (seed,)
