"""The settings of globalisation."""

from __future__ import annotations

import pytest

from hfbench.errors import ConfigError
from hfbench.hessian_free.globalization import Globalization
from hfbench.parts.hyperparameters import build_part


def test_settings() -> None:
    with pytest.raises(ConfigError, match="did you mean 'warm_start'"):
        build_part(Globalization, {"warmstart": 0.5}, "globalization")
    for name, value in [("keep_growth", 1.0), ("shrink", 1.0), ("initial_damping", -1.0), ("warm_start", 1.1)]:
        with pytest.raises(ConfigError, match=f"globalization.{name}"):
            build_part(Globalization, {name: value}, "globalization")
