"""Memory of large tensors: taken from the system once, and not anew for every product."""

from __future__ import annotations

import subprocess
import sys

import pytest

PRODUCTS = """
import resource, torch
from torch import nn
import hfbench

torch.set_num_threads(1)
model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 1024, 2))
at = hfbench.linearize(model, "least-squares", torch.randn(80, 3, 32, 32), torch.zeros(80, 2))
for _ in range(4):
    at.gauss_newton(at.gradient)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    at.gauss_newton(at.gradient)
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_product_takes_no_new_memory() -> None:
    """Its tensors have 10 MiB each: 2560 pages."""
    ran = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True)
    assert int(ran.stdout) < 500
