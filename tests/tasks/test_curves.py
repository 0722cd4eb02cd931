"""Generated curves, pinned to the bit, and the original file where there is one."""

import hashlib
import io
import tracemalloc
from importlib import resources

import numpy as np
import pytest
import torch
from scipy.io import savemat

from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import DataError
from hfbench.parts import data_files
from hfbench.records.run_folder import RunFolder
from hfbench.runs.attempt import attempt
from hfbench.tasks.curves import (
    ORIGINAL,
    PEN,
    STEPS,
    Curves,
    CurvesSmall,
    draw_curves,
    generated,
    levels,
    original,
    quadratic,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _no_data_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("HFBENCH_DATA", raising=False)


@pytest.mark.slow
def test_the_default_budget_of_the_small_curves_reaches_their_default_target(tmp_path):
    text = resources.files("hfbench.studies").joinpath("quickstart.toml").read_text("utf-8")
    file = tmp_path / "defaults.toml"
    file.write_text(text.replace("budget =", "# budget =").replace("seeds = 7", "seeds = 1"))
    study = load_study(str(file))
    assert {(spec.target, spec.budget["passes"]) for spec in runs_of(study)} == {
        (CurvesSmall().target, CurvesSmall.budget["passes"])
    }
    outcomes = {spec.method.name: attempt(spec, RunFolder(tmp_path, spec.key()))["outcome"] for spec in runs_of(study)}
    assert outcomes == {"hf": "reached", "shf-lsmr": "reached"}


# ---------------------------------------------------------------- generated


@pytest.mark.parametrize(
    ("side", "count", "sha256"),
    [
        (16, 1600, "e91a7dfb90d4d66d3f7644f29dcbecf86bca9a6eb2005180c0ffa07fa1ff5c0e"),
        (28, 30_000, "3bb5f2989ed59bdbb66882e3b206701cd63f04cc7ff7ca08f40dde9a6863917e"),
    ],
)
def test_pictures_are_pinned(side, count, sha256):
    assert hashlib.sha256(levels(side, count).tobytes()).hexdigest() == sha256


def test_curve_goes_through_its_points():
    points = np.array([[[2.0, 3.0], [8.0, 20.0], [11.0, 5.0]]])
    curve = quadratic(points)
    assert curve.shape == (STEPS, 1, 2)
    np.testing.assert_allclose(curve[0], points[:, 0], atol=1e-12)
    np.testing.assert_allclose(curve[-1], points[:, 2], atol=1e-12)
    half_a_step = np.abs(np.diff(curve[:, 0], axis=0)).max()
    assert np.abs(curve[:, 0] - points[0, 1]).max(axis=1).min() <= half_a_step


def test_ink_is_the_formula_everywhere():
    points = np.random.default_rng(0).uniform(0, 12, size=(20, 3, 2))  # up to the border, and beyond between the points
    curve = quadratic(points)
    centres = np.stack(np.meshgrid(np.arange(12) + 0.5, np.arange(12) + 0.5), axis=-1).reshape(-1, 2)
    squares = ((curve[:, :, None, :] - centres) ** 2).sum(-1).min(0)
    expected = np.rint(255 * np.maximum(1 - squares / PEN**2, 0) ** 2)
    np.testing.assert_array_equal(draw_curves(curve, 12), expected)


def test_remembered_pictures_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        levels(16, 1600)[0, 0] = 1
    train, _ = generated(16, 1200, 400)
    train.zero_()
    assert generated(16, 1200, 400)[0].any()


def test_pictures_look_like_strokes():
    train, test = generated(16, 1200, 400)
    assert train.dtype == torch.float32
    for pictures in (train, test):
        assert pictures.min() == 0
        assert pictures.amax(1).min() > 0.7  # a dark line in each
        assert 0.1 < (pictures > 0).float().mean() < 0.3
    assert len(torch.unique(torch.cat([train, test]), dim=0)) == 1600


# ---------------------------------------------------------------- tasks


def test_small_task():
    loaded = CurvesSmall().load(generator())
    assert [tuple(part.inputs.shape) for part in (loaded.train, loaded.validation, loaded.test)] == [
        (1000, 256),
        (200, 256),
        (400, 256),
    ]


def test_task_sizes():
    loaded = Curves().load(generator())
    assert [tuple(part.inputs.shape) for part in (loaded.train, loaded.validation, loaded.test)] == [
        (18_000, 784),
        (2000, 784),
        (10_000, 784),
    ]


def test_seed_moves_the_split_but_not_the_pictures():
    first, again, other = (CurvesSmall().load(generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.test.inputs, other.test.inputs)
    assert not torch.equal(first.validation.inputs, other.validation.inputs)
    pools = [torch.cat([loaded.train.inputs, loaded.validation.inputs]) for loaded in (first, other)]
    assert torch.equal(torch.unique(pools[0], dim=0), torch.unique(pools[1], dim=0))


# ---------------------------------------------------------------- original


def mat(**variables):
    content = io.BytesIO()
    savemat(content, variables)
    return content.getvalue()


def pictures(count, seed):
    return np.random.default_rng(seed).uniform(size=(count, 784))


def test_original_is_honoured(tmp_path):
    train, test = pictures(12, 0), pictures(5, 1)
    path = ORIGINAL.below(tmp_path)
    path.parent.mkdir()
    path.write_bytes(mat(bdata=train, bdatatest=test, other=1))
    loaded = Curves(validation=2).load(generator(), str(tmp_path))
    assert (len(loaded.train), len(loaded.validation)) == (10, 2)
    torch.testing.assert_close(loaded.test.inputs, torch.from_numpy(test).float(), rtol=0, atol=0)
    together = torch.cat([loaded.train.inputs, loaded.validation.inputs])
    assert torch.equal(torch.unique(together, dim=0), torch.unique(torch.from_numpy(train).float(), dim=0))


def test_damaged_original_is_an_error(tmp_path):
    path = ORIGINAL.below(tmp_path)
    path.parent.mkdir()
    path.write_bytes(mat(bdata=pictures(3, 0), bdatatest=pictures(3, 0))[:900])
    with pytest.raises(DataError, match=f"{path}: cannot be read as a MATLAB file"):
        Curves().load(generator(), str(tmp_path))


GOOD = pictures(3, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a MATLAB file"),
        (b"no MATLAB file, but long enough for a header " * 20, "cannot be read as a MATLAB file"),
        (mat(bdata=GOOD), "bdatatest is missing"),
        (mat(bdata=GOOD.T, bdatatest=GOOD), "bdata must be a matrix of numbers with 784 columns"),
        (mat(bdata="words", bdatatest=GOOD), "bdata must be a matrix of numbers"),
        (mat(bdata={"a": GOOD}, bdatatest=GOOD), "bdata must be a matrix of numbers"),
        (mat(bdata=GOOD, bdatatest=255 * GOOD), r"bdatatest must hold values in \[0, 1\]"),
        (mat(bdata=np.full_like(GOOD, np.nan), bdatatest=GOOD), r"bdata must hold values in \[0, 1\]"),
        (mat(bdata=GOOD[:0], bdatatest=GOOD), "bdata must hold"),
        (mat(bdata=1j * GOOD, bdatatest=GOOD), "bdata must be a matrix of real numbers, but is complex128"),
        (mat(bdata=np.full((10, 784), 1, object), bdatatest=GOOD), "bdata must be a matrix of numbers .*, but is cell"),
    ],
)
def test_original_that_is_something_else(content, message):
    with pytest.raises(DataError, match=message):
        original(content)


def test_an_original_that_expands_is_refused_before_it_does():
    content = io.BytesIO()
    savemat(content, {"bdata": np.zeros((50_000, 784)), "bdatatest": GOOD}, do_compression=True)
    assert len(content.getvalue()) < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="bytes expand to more than the 268435456 that it may have"):
            original(content.getvalue())
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
