"""Memory of large tensors: taken from the system once, and not anew for every product."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hfbench.memory.freed_memory import OF_THE_USER, keep_freed_memory

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


def pages_taken(environment: dict[str, str]) -> int:
    """Pages that a product takes from the system."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_USER)}
    ran = subprocess.run(
        [sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True, env=plain | environment
    )
    return int(ran.stdout)


@pytest.mark.skipif(not keep_freed_memory(), reason="another allocator than glibc's, or one that the user has set")
def test_a_product_takes_no_new_memory() -> None:
    """Its tensors have 10 MiB each: 2560 pages."""
    assert pages_taken({}) < 500


@pytest.mark.skipif(not keep_freed_memory(), reason="another allocator than glibc's, or one that the user has set")
def test_an_allocator_that_the_user_has_set_stays() -> None:
    assert pages_taken({"MALLOC_MMAP_THRESHOLD_": "131072"}) > 2500


LIMITED = """
import torch
from hfbench import HessianFree
from hfbench.memory.freed_memory import keep_freed_memory
from hfbench.runs.meters import peak_memory

HessianFree(torch.nn.Linear(2, 2), "logistic", max_bytes="1GB")
keep_freed_memory()  # as any linearisation does, which changes nothing
for _ in range(3):
    blocks = [torch.ones(2**24 - 1000 * i) for i in range(4)]  # 64 MiB each, of sizes that fit into no gap
    fixed = torch.ones(2**14)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="another allocator than glibc's, or one that the user has set")
def test_with_a_limit_of_memory_large_blocks_are_returned() -> None:
    counted = f"import resource\n{LIMITED}\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    counted = counted.replace("for _", "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\nfor _")
    plain = {name: value for name, value in os.environ.items() if not name.startswith(OF_THE_USER)}
    ran = subprocess.run([sys.executable, "-c", counted], capture_output=True, text=True, check=True, env=plain)
    assert int(ran.stdout) > 3 * 4 * 2**14 - 2000, "the pages of each block anew"
