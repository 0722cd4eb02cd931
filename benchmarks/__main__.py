"""Command `python -m benchmarks`: see `--help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import runner
from hfbench.errors import ConfigError, HfbenchError


def parser() -> argparse.ArgumentParser:
    known = "\n".join(f"  {name:12} {title}" for name, title in runner.titles().items())
    options = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures times and memory, as ratios within one process if possible.",
        epilog=f"benchmarks:\n{known}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("names", nargs="*", metavar="NAME", help="benchmarks, see below; all if none is given")
    options.add_argument(
        "--quick", action="store_true", help="few sizes and rounds, for a first look; the figures are not to be quoted"
    )
    options.add_argument("--threads", type=int, default=2, help="threads of torch; with 1, processor time is taken")
    options.add_argument(
        "--json", type=Path, metavar="FILE", help="file to write as well; its other benchmarks are kept"
    )
    options.add_argument("--peer", type=Path, metavar="PATH", help="a clone of PyTorchHessianFree, to race against")
    options.add_argument("--data", metavar="DIR", help="the folder with MNIST and USPS")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    try:
        return run(given)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def run(given: argparse.Namespace) -> int:
    """Returns 0, or 1 if a benchmark failed; the others are measured and kept. Raises ConfigError for bad input."""
    names = runner.checked_names(given.names)
    if given.threads < 1:
        raise ConfigError(f"--threads: must be at least 1, but got {given.threads}.")
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of processes that a benchmark starts
    import torch

    from benchmarks import machine

    torch.set_num_threads(given.threads)
    options = runner.Options(given.threads, given.quick, given.peer, given.data)
    described = machine.describe(given.threads)
    held = runner.read(given.json, described) if given.json else {}
    for name in names:
        getattr(runner.load(name), "check_options", lambda options: None)(options)

    console = Console(width=runner.WIDTH)
    console.print(*(f"{key}: {value}" for key, value in described.items()), sep="\n", markup=False, highlight=False)
    failed = []
    for name in names:
        try:
            with console.status(name):
                found = runner.measure(name, options)
        except HfbenchError as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
            continue
        runner.show(found, console)
        if given.json:
            held["benchmarks"][name] = found
            runner.write(given.json, held)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
