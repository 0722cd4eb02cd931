from __future__ import annotations

from pathlib import Path

from support.tiny_study import specs, tiny

from hfbench.config.study_runs import runs_of
from hfbench.tracking.params import columns, flat_params, study_params

EVERY_RUN = {
    "method", "solver", "preconditioner", "scheduler", "rules", "right_hand_side", "max_inner", "task", "seed",
    "target", "precision", "budget.iterations",
}  # fmt: skip


def test_a_run_as_params(tmp_path: Path) -> None:
    params = flat_params(specs(tiny(tmp_path))["shf", 0].config())
    assert params["solver"] == "lsmr"
    assert params["scheduler"] == "dynamic"
    assert params["scheduler.start"] == "0.2"
    assert params["rules"] == "relative-progress"
    assert params["rules.relative-progress.epsilon"] == "0.0005"
    assert params["budget.iterations"] == "6"
    assert (params["task"], params["task.use"]) == ("tiny-curves", "curves-small")


BASELINE = """
[methods.adam]
optimizer = { use = "adam", lr = 0.5 }
scheduler = "fixed"
"""


def test_a_baseline_has_no_params_of_a_hessian_free_method(tmp_path: Path) -> None:
    known = specs(tiny(tmp_path, extra=BASELINE))
    params = flat_params(known["adam", 0].config())
    assert (params["optimizer"], params["optimizer.lr"], params["scheduler"]) == ("adam", "0.5", "fixed")
    assert not {name for name in params if name.startswith(("solver", "rules", "globalization", "right_hand", "max_"))}
    shown = columns(spec.config() for spec in known.values())
    assert {"optimizer", "optimizer.lr", "solver"} <= shown
    assert "optimizer.beta1" not in shown


def test_columns_are_what_runs_are_known_by_what_varies_and_what_was_chosen(tmp_path: Path) -> None:
    runs = specs(tiny(tmp_path))
    of_all = columns(spec.config() for spec in runs.values())
    assert of_all >= EVERY_RUN | {"scheduler.start", "task.layers", "task.cases"}
    assert not {"rules.relative-progress.epsilon", "globalization.armijo", "chunk", "stop_at_target"} & of_all
    assert not {"scheduler.window", "task.use"} & of_all

    alone = columns([runs["hf", 0].config()])  # nothing differs between one run and itself
    assert alone == EVERY_RUN | {"task.layers", "task.cases", "task.validation"} | (alone & {"scheduler.curvature"})


def test_safeguards_and_rules_that_are_not_the_default_have_a_column_though_all_methods_share_them(
    tmp_path: Path,
) -> None:
    shared = (
        "globalization.initial_damping=10.0",
        "globalization.line_search=false",
        "globalization.armijo=0.01",  # the default, spelled out
        'rules=[{ use = "relative-progress", epsilon = 1e-3 }]',
    )
    study = tiny(tmp_path, *(f"methods.{name}.{setting}" for name in ("hf", "shf") for setting in shared))
    found = columns(spec.config() for spec in runs_of(study))
    assert {name for name in found if name.startswith(("globalization", "rules."))} == {
        "globalization.initial_damping",
        "globalization.line_search",
        "rules.relative-progress.epsilon",
    }


def test_a_study_as_params(tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.margin=1.2")
    assert study_params(study, runs_of(study)) == {
        "question": "Does <LSMR> need less *work*?",
        "tasks": "tiny-curves",
        "seeds": "0, 1",
        "budget": "tiny-curves: 6 iterations",
        "targets": "tiny-curves: 60",
        "target_on": "validation",
        "primary": "work_to_target",
        "margin": "1.2",
        "alpha": "0.05",
        "baseline": "hf",
        "precision": "float32",
        "stop_at_target": "True",
        "methods": "hf, shf",
    }


def test_what_earlier_records_do_not_know_is_told_where_it_is_something_else(tmp_path: Path) -> None:
    plain = tiny(tmp_path, "study.target_on=test")
    assert {"target_on", "evaluate_every"}.isdisjoint(study_params(plain, runs_of(plain)))
    assert {"target_on", "evaluate_every"}.isdisjoint(flat_params(runs_of(plain)[0].config()))
    rarely = tiny(tmp_path, "study.evaluate_every=3")
    told = study_params(rarely, runs_of(rarely))
    assert (told["target_on"], told["evaluate_every"]) == ("validation", "tiny-curves: 3")
    of_run = flat_params(runs_of(rarely)[0].config())
    assert (of_run["target_on"], of_run["evaluate_every"]) == ("validation", "3")


def test_a_device_is_told_where_it_is_a_gpu(tmp_path: Path) -> None:
    study = tiny(tmp_path, "study.device=cuda:1")
    assert study_params(study, runs_of(study))["device"] == "cuda:1"
    runs = [spec.config() for spec in runs_of(study)]
    assert {flat_params(config)["device"] for config in runs} == {"cuda:1"}
    assert "device" in columns(runs)
    older = {key: value for key, value in runs[0].items() if key != "device"}
    assert "device" not in flat_params(older)
