"""Made-up tables of results for the tests of the statistics."""

import numpy as np
import pandas as pd


def runs(costs, task="usps", tau=400.0):
    """One row per run from {method: {seed: cost to target, None if censored, "failed" if the run broke}}."""
    rows = []
    for method, by_seed in costs.items():
        for seed, cost in by_seed.items():
            reached = isinstance(cost, int | float)
            spent = cost if reached else tau if cost is None else None
            outcome = "reached" if reached else "budget" if cost is None else "failed"
            row = {"task": task, "method": method, "seed": seed, "outcome": outcome}
            for name, scale in (("work", 1.0), ("products", 7.0), ("seconds", 0.1), ("distinct", 0.05)):
                row[name] = None if spent is None else spent * scale
                row[f"{name}_to_target"] = cost * scale if reached else None
            row["final_test_error"] = 7.0 if reached else 9.0 if cost is None else None
            rows.append(row)
    return pd.DataFrame(rows)


def simulated(ratio, sd, n, rng, method="lsmr", baseline="hf", task="usps"):
    """Log-normal costs near 100 whose paired log ratio is N(log ratio, sd²)."""
    base = 100 * np.exp(0.2 * rng.standard_normal(n))
    other = base * ratio * np.exp(sd * rng.standard_normal(n))
    return runs({baseline: dict(enumerate(base.tolist())), method: dict(enumerate(other.tolist()))}, task=task, tau=1e6)
