"""Weight decay: the factor of each block by its mask."""

from __future__ import annotations

import pytest
import torch

from hfbench.curvature.weight_decay import decay_penalty, decay_per_block
from hfbench.errors import ConfigError


def test_decay_masks() -> None:
    parameters = [torch.full((2, 3), 2.0), torch.full((3,), 2.0)]
    assert decay_per_block(parameters, 0.1, "weights") == (0.1, 0.0)
    assert decay_per_block(parameters, 0.1, "all") == (0.1, 0.1)
    assert decay_per_block(parameters, 0.1, "none") == (0.0, 0.0)
    assert decay_penalty(parameters, (0.1, 0.0)) == pytest.approx(0.5 * 0.1 * 24)
    with pytest.raises(ConfigError, match="did you mean 'weights'"):
        decay_per_block(parameters, 0.1, "weight")
    with pytest.raises(ConfigError, match="decay"):
        decay_per_block(parameters, -1.0, "all")
