"""Failure signatures: each reads one run's trace and returns a finding, or nothing.

A signature needs `LEAST` outer iterations. Its thresholds stand beside it; they were set so that none of the published
runs that reached their targets as a matter of course shows it without reason.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hfbench.diagnosis.run_trace import Finding, Run
from hfbench.messages import printable_line

LONGEST = 1000  # characters of an error
LEAST = 8  # outer iterations, below which a trace says little
FEW_INNER = 25  # a max_inner below is there to cut solves short
FAR, FAR_STEPS = 5.0, 4  # the factor by which a first lambda is far off; 4 steps change it by 1.5⁴ = 5
MIDDLE = 0.5  # 1 - rho in the middle between rho_low and rho_high
MIB = 2**20


def findings(run: Run) -> list[Finding]:
    """What the run shows, in the order in which its causes come."""
    if run.result.get("outcome") in ("diverged", "failed"):
        return [_broken(run)]
    looked = [] if run.is_baseline else [*OF_STEPS]
    found = [signature(run) for signature in (*looked, *OF_ALL)] if len(run) >= LEAST else []
    return [finding for finding in found if finding is not None]


def _broken(run: Run) -> Finding:
    outcome, error = run.result["outcome"], printable_line(str(run.result.get("error")), LONGEST)
    if outcome == "failed":
        return Finding("failed", error, "The traceback is in error.txt of the run's folder.")
    return Finding(
        "diverged",
        error,
        "`hfbench diagnose` of its study with --origin trains it again and names the first layer and quantity that is "
        "not finite. Switch backtracking, line search and damping on, or raise globalization.initial_damping.",
    )


def _late(run: Run) -> slice:
    """The later half, when a start is over."""
    return slice(len(run) // 2, None)


def _leading(flags: NDArray[Any]) -> int:
    """How many are true before the first that is not."""
    return int(np.argmin(flags)) if flags.size and not flags.all() else flags.size


def _share(flags: NDArray[Any]) -> float:
    return float(np.mean(flags)) if flags.size else 0.0


# ---------------------------------------------------------------- inner solves


def stalled(run: Run) -> Finding | None:
    """Most late solves end at the most iterations that they may take."""
    ended = np.asarray(run.rows["stop_reason"] == "max_iterations")[_late(run)]
    if _share(ended) <= 0.6 or run.method["max_inner"] < FEW_INNER:
        return None
    most, used = run.method["max_inner"], run.method["preconditioner"]["use"]
    other = "a lower exponent" if used == "kfac" else "kfac"
    return Finding(
        "stalled inner solves",
        f"{100 * _share(ended):.0f} % of the later solves ended at max_inner = {most}, not by a stopping rule.",
        f"A better preconditioner ({other} in place of {used}), a larger max_inner, or globalization.min_damping; "
        "`hfbench probe preconditioners` tells which.",
    )


def backtracked(run: Run) -> Finding | None:
    """Most inner iterations lie beyond the iterate that was chosen."""
    inner, chosen = run.column("inner_iterations")[_late(run)], run.column("chosen_iterate")[_late(run)]
    wasted = float(np.sum(inner - chosen) / max(np.sum(inner), 1))
    if wasted <= 0.75:  # healthy runs of `hf` on quickstart come to two thirds
        return None
    return Finding(
        "budget spent in backtracking",
        f"{100 * wasted:.0f} % of the later inner iterations lie beyond the iterate that backtracking chose.",
        "Stop solves sooner: a larger epsilon of relative-progress or a smaller max_inner; or more cases in the "
        "curvature, so that the quadratic is true for longer.",
    )


# ---------------------------------------------------------------- globalisation


def damping_at_bound(run: Run) -> Finding | None:
    """lambda stays at its lower bound, or runs away upwards."""
    rules, damping = run.globalization, run.column("damping")[_late(run)]
    low = _share(damping <= rules.min_damping * (1 + 1e-9)) if rules.adapt_damping else 0.0
    if low > 0.3 and rules.min_damping > 0:
        return Finding(
            "lambda at its bound",
            f"lambda = {rules.min_damping:g} = min_damping in {100 * low:.0f} % of the later steps.",
            "Lower globalization.min_damping, unless it is there on purpose, as beside bfloat16 products.",
        )
    start = run.column("damping")[0]
    if rules.adapt_damping and damping[-1] > 100 * max(start, 1e-30):
        return Finding(
            "lambda runs away",
            f"lambda rose from {start:.3g} to {damping[-1]:.3g}: the quadratic promises more than the steps give.",
            "More cases in the curvature, a smaller max_inner, or warm_start = 0; look at rho.",
        )
    return None


def damping_starts_far_off(run: Run) -> Finding | None:
    """lambda begins far from where rho is between its bounds, and takes a good part of the run to come closer.

    While steps are short, 1 - rho is about proportional to 1/lambda; so a first rho near 1 says how far off it is.
    """
    rules, damping, rho = run.globalization, run.column("damping"), run.column("rho")
    high, low = (_leading(flags) for flags in (rho > rules.rho_high, rho < rules.rho_low))
    least = max(FAR_STEPS, math.ceil(0.1 * len(run)))
    start, now = damping[0], damping[min(max(high, low), len(run) - 1)]
    if max(high, low) < least or max(now / start, start / now) < FAR:
        return None
    if high and rho[0] < 1 - (1 - rules.rho_high) / FAR:  # not far above the bound: training itself lowers lambda
        return None
    wanted = max(start * (1 - rho[0]) / MIDDLE, start / 100) if high else now
    moved = "fell in each of the first" if high else "rose in each of the first"
    return Finding(
        "lambda starts far off",
        f"lambda = {start:g} {moved} {max(high, low)} of {len(run)} steps, to {now:.3g}; "
        f"the first rho was {rho[0]:.3g}.",
        f"globalization.initial_damping = {wanted:.1g}, or what brings the first rho between {rules.rho_low:g} and "
        f"{rules.rho_high:g}; `hfbench show globalization` says how to choose it.",
    )


def rho_out_of_range(run: Run) -> Finding | None:
    """The reduction ratio is below rho_low in most late steps."""
    rho = run.column("rho")[_late(run)]
    known = rho[~np.isnan(rho)]
    low = _share(known < run.globalization.rho_low)
    if known.size < LEAST // 2 or low <= 0.5:
        return None
    return Finding(
        "rho below its range",
        f"rho < {run.globalization.rho_low:g} in {100 * low:.0f} % of the later steps (median {np.median(known):.3g}).",
        "The quadratic does not tell what f does: more cases in the curvature, a larger lambda "
        "(damping_growth, initial_damping), or whole instead of bfloat16 products.",
    )


def rejected(run: Run) -> Finding | None:
    """The line search often finds no step."""
    length = run.column("step_length")
    none = _share(length[_late(run)] == 0)
    if none <= 0.15:
        return None
    return Finding(
        "line search rejects steps",
        f"No step was taken in {100 * none:.0f} % of the later iterations.",
        "Gradient and direction disagree: more cases, a larger lambda, a preconditioner that is not stale, "
        "or a looser globalization.armijo.",
    )


# ---------------------------------------------------------------- batches


def grows_too_early(run: Run) -> Finding | None:
    """The batch comes to most of the cases early, while one step's gradient was hardly noisy."""
    n, noise = run.column("batch_gradient"), run.noise
    big = np.flatnonzero(n >= 0.5 * run.total)
    grew = n[0] < 0.25 * run.total and big.size > 0
    if not grew or not math.isfinite(run.total) or big[0] > 0.25 * len(run):
        return None
    before = noise[: big[0]]
    known = before[np.isfinite(before)]
    if not known.size or np.median(known) > 0.05:
        return None
    return Finding(
        "batch grows too early",
        f"Half of all cases from iteration {big[0] + 1} of {len(run)} on, though before that the gradient's noise was "
        f"{np.median(known):.2g} of its square.",
        "A larger theta, a smaller tolerance of the validation test, or a smaller max_growth.",
    )


def grows_too_late(run: Run) -> Finding | None:
    """Most late gradients are more noise than signal, and the batch stays as it is."""
    n, noise = run.column("batch_gradient")[_late(run)], run.noise[_late(run)]
    known = noise[np.isfinite(noise)]
    if known.size < LEAST // 2 or n[-1] > 1.5 * n[0] or n[-1] >= run.total:
        return None
    if np.median(known) <= 0.5:
        return None
    return Finding(
        "batch grows too late",
        f"{100 * min(np.median(known), 1.0):.0f} % of the square of the later gradients is noise, at {n[-1]:.0f} of "
        f"{run.total:.0f} cases.",
        "A growing batch (scheduler dynamic or inner-product), or a smaller theta.",
    )


# ---------------------------------------------------------------- of every optimiser


def overfits(run: Run) -> Finding | None:
    """Validation turns while training goes on falling."""
    validation, training = run.column("validation_error"), run.column("train_objective_batch")
    if not run.has("validation_error"):
        return None
    best = int(np.nanargmin(validation))
    rise = validation[-1] / validation[best] - 1
    after = training[best:][np.isfinite(training[best:])]
    third = max(len(after) // 3, 1)
    falls = after.size >= 6 and np.median(after[-third:]) < np.median(after[:third])
    if rise <= 0.05 or not falls or best > 0.85 * len(run):
        return None
    return Finding(
        "overfitting",
        f"The validation error was least at iteration {best + 1} of {len(run)} and has risen by {100 * rise:.0f} % "
        "since, while the training objective fell.",
        "Weight decay, a smaller network, more data; or stop at the least validation error.",
    )


def grows_in_memory(run: Run) -> Finding | None:
    """Memory goes up step after step while batches stay the same size."""
    peak, n = run.column("peak_memory"), run.column("batch_gradient")
    late = slice(len(run) // 3, None)
    peak, n = peak[late], n[late]
    if len(peak) < LEAST or np.ptp(n) > 0.1 * n.max():
        return None
    rises = _share(np.diff(peak) > 0)
    rise = peak[-1] - peak[0]
    if rises <= 0.5 or rise <= max(0.1 * peak[0], 16 * MIB):
        return None
    return Finding(
        "growing memory",
        f"Peak memory rose by {rise / MIB:.0f} MiB in the last {len(peak)} steps, in {100 * rises:.0f} % of them, at "
        "one batch size.",
        "Something keeps tensors from step to step: look for a list that grows in a part of your own, "
        "or a graph that is kept.",
    )


Signature = Callable[[Run], Finding | None]
OF_STEPS: tuple[Signature, ...] = (
    stalled, backtracked, damping_at_bound, damping_starts_far_off, rho_out_of_range, rejected, grows_too_early,
    grows_too_late,
)  # fmt: skip
OF_ALL: tuple[Signature, ...] = (overfits, grows_in_memory)
