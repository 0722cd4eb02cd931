"""`hfbench simulate` on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from hfbench.cli.options import Jobs, jobs_of
from hfbench.errors import ConfigError
from hfbench.messages import quoted


def simulate(
    studies: Annotated[int, typer.Option(help="Number of simulated studies in each situation.")] = 1000,
    seeds: Annotated[str, typer.Option(help="Numbers of paired seeds, separated by commas.")] = "7,10,20",
    jobs: Jobs = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> int:
    """Simulate studies whose truth is known, and count how often verdicts are wrong and right.

    The situations include censored runs, failed runs, skewed costs and two looks. The code that judges real studies
    judges them. Exit status 1 if an error rate exceeds its promised level by more than three standard errors.
    """
    from hfbench.commands.simulate import simulate_studies
    from hfbench.execution.screen import Screen

    if not all(number.strip().isdecimal() for number in seeds.split(",")):
        raise ConfigError(f"--seeds: must be numbers separated by commas (7,10,20), but got {quoted(seeds)}.")
    numbers = [int(number) for number in seeds.split(",")]
    return simulate_studies(numbers, studies, jobs_of(jobs), Screen(), markdown)
