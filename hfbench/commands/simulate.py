"""`hfbench simulate`: how often verdicts are wrong, and right, on simulated studies whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from hfbench.errors import ConfigError
from hfbench.execution.parallel_map import parallel_map
from hfbench.report.document import row_of
from hfbench.report.wording import grid_of
from hfbench.statistics.pairs import LEAST_PAIRS
from hfbench.statistics.simulation import ALPHA, MARGIN, POWER_AT, SD, SD_AT_MARGIN, SITUATIONS, Rates, rates, sizes

HEAD = ("situation", "n", "better", "worse", "equiv.", "covered", "power")
ABOUT = (
    f"Percent of studies. better, worse: these verdicts at equal costs. equiv.: this verdict at a true ratio on the "
    f"margin, {MARGIN:g}. covered: {100 * (1 - ALPHA):g} % intervals that hold the centre. power: a verdict better at "
    f"a true ratio of {POWER_AT:g}. Standard deviation of the log ratio {SD:g}, for equiv. {SD_AT_MARGIN:g}."
)


def simulate_studies(seeds: Sequence[int], studies: int, jobs: int, console: Console, markdown: bool = False) -> int:
    """Prints the rates of every situation with n = `seeds`. Returns 1 if a rate exceeds its promised level, else 0."""
    _check(seeds, studies)
    calls = [(situation, n, studies) for situation in SITUATIONS for n in sizes(situation, seeds)]
    found = list(parallel_map(rates, calls, jobs, console, "situation"))
    if markdown:
        console.print("\n".join(_markdown(found)), highlight=False, soft_wrap=True, markup=False)
    else:
        _table(found, console)
    largest = max(rate.error(share) for rate in found for share in _errors(rate))
    said = f"{studies} studies of each situation; standard errors up to {100 * largest:.2g} points."
    console.print(said, highlight=False, soft_wrap=True)
    broken = [
        f"{rate.situation.name}, n = {rate.n}: {', '.join(missed)}" for rate in found if (missed := rate.broken())
    ]
    for line in broken:
        console.print(f"Above the promised level: {line}.", style="red", highlight=False, soft_wrap=True)
    return 1 if broken else 0


def _check(seeds: Sequence[int], studies: int) -> None:
    if studies < 1:
        raise ConfigError(f"--studies: must be at least 1, but got {studies}.")
    for n in seeds:
        if n < LEAST_PAIRS:
            raise ConfigError(f"--seeds: with fewer than {LEAST_PAIRS} seeds no difference can be found, but got {n}.")


def _errors(rate: Rates) -> list[float]:
    return [rate.better + rate.worse, rate.equivalent, 1 - rate.covered]


def _cells(rate: Rates) -> list[str]:
    shares = (rate.better, rate.worse, rate.equivalent, rate.covered, rate.power)
    return [rate.situation.name, str(rate.n), *(f"{100 * share:.1f}" for share in shares)]


def _table(found: Sequence[Rates], console: Console) -> None:
    grid = grid_of(Text("simulated studies", "bold"), caption=ABOUT)
    grid.add_column(HEAD[0], min_width=20)
    for name in HEAD[1:]:
        grid.add_column(name, justify="right")
    for rate in found:
        grid.add_row(*_cells(rate))
    console.print(grid)


def _markdown(found: Sequence[Rates]) -> list[str]:
    return [
        row_of(HEAD),
        row_of(["---", *["--:"] * (len(HEAD) - 1)]),
        *(row_of(_cells(rate)) for rate in found),
        "",
        ABOUT,
    ]
