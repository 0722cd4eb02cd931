"""`python -m docs.sitegen`: writes the generated pages and tables of docs/ anew; with OUT, a copy of all of docs/."""

from __future__ import annotations

import sys
from pathlib import Path

from . import pages, plain

USAGE = f"""usage: python -m docs.sitegen [OUT]

Without OUT: the pages of docs/ that are made from the code, the tables of results and the figures of benchmarks are
written anew. With OUT:

{(plain.__doc__ or "").strip()}"""


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 2 bad input."""
    if len(arguments) > 1 or any(argument.startswith("-") for argument in arguments):
        print(USAGE, file=sys.stderr)
        return 2
    if not arguments:
        changed = pages.write()
        print("\n".join(f"{path} is new." for path in changed) or "All is as the code has it.")
        return 0
    try:
        files = plain.write(Path(arguments[0]))
    except (OSError, ValueError) as error:
        print(f"sitegen: {error}", file=sys.stderr)
        return 2
    written = sum(file.suffix == ".md" for file in files)
    print(f"{written} pages and {len(files) - written} pictures are in {arguments[0]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
