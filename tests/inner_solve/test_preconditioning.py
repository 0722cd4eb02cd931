"""Preconditioners that keep a state over steps: saved, resumed, and untouched by a step that fails."""

from __future__ import annotations

import io

import pytest
import torch
from support.systems import inputs_for, network, targets_for

from hfbench import HessianFree
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.hessian_free import step

DTYPE = torch.float64


def optimiser(**settings) -> HessianFree:
    return HessianFree(network((4, 5, 3), 0), solver="cg", preconditioner={"use": "kfac", **settings}, seed=3)


def stepped(optimizer: HessianFree, steps: range) -> list[float]:
    rows = [optimizer.step(inputs_for(30, 4, k), targets_for("logistic", 30, 3, k)) for k in steps]
    return [row.objective_after for row in rows]


@pytest.mark.parametrize("settings", [{}, {"refresh": 3}, {"memory": 0.9}, {"refresh": 2, "memory": 0.5}], ids=str)
def test_interrupted_equals_uninterrupted(settings: dict[str, float]) -> None:
    whole, first = optimiser(**settings), optimiser(**settings)
    stepped(whole, range(4))
    stepped(first, range(4))
    file = io.BytesIO()
    torch.save({"optimizer": first.state_dict(), "model": first.model.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = optimiser(**settings)
    resumed.model.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert stepped(resumed, range(4, 9)) == stepped(whole, range(4, 9))
    assert ("preconditioner" in saved["optimizer"]["param_groups"][0]) == bool(settings)


def test_a_step_that_fails_leaves_the_factors_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, failing = optimiser(refresh=2, memory=0.9), optimiser(refresh=2, memory=0.9)
    stepped(whole, range(3))
    stepped(failing, range(3))
    with pytest.raises(NonFiniteError):
        failing.step(torch.full((30, 4), torch.inf, dtype=DTYPE), targets_for("logistic", 30, 3, 0))

    def fails(*_: object) -> None:
        raise RuntimeError("after the build")

    with monkeypatch.context() as patch:
        patch.setattr(step, "solve", fails)
        with pytest.raises(RuntimeError, match="after the build"):
            stepped(failing, range(7, 8))
    assert stepped(failing, range(3, 7)) == stepped(whole, range(3, 7))


def test_a_state_of_another_preconditioner_is_refused_whole() -> None:
    kept, plain = optimiser(refresh=2), HessianFree(network((4, 5, 3), 0), preconditioner="martens")
    stepped(kept, range(2))
    before = plain.state_dict()
    with pytest.raises(ConfigError, match="state_dict: the state must be of a preconditioner that keeps none, Martens"):
        plain.load_state_dict(kept.state_dict())
    assert plain.state_dict()["param_groups"][0]["damping"] == before["param_groups"][0]["damping"]
    state = kept.state_dict()
    state["param_groups"][0]["preconditioner"] = {"steps": 2}
    with pytest.raises(
        ConfigError, match="state_dict: the state of kfac must have steps, .*and factors .* but has steps"
    ):
        kept.load_state_dict(state)


def test_a_state_saved_before_there_were_any_still_loads() -> None:
    kept = optimiser(refresh=4)
    state = HessianFree(network((4, 5, 3), 0), preconditioner="martens").state_dict()
    kept.load_state_dict(state)
    assert len(stepped(kept, range(2))) == 2
