"""`python -m docs.sitegen OUT`: the documentation as plain Markdown and figures, for any site builder."""

from __future__ import annotations

import sys
from pathlib import Path

from . import plain


def main(arguments: list[str]) -> int:
    """Exit status: 0 written, 2 bad input."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m docs.sitegen OUT\n\n" + plain.__doc__.strip(), file=sys.stderr)
        return 2
    try:
        files = plain.write(Path(arguments[0]))
    except (OSError, ValueError) as error:
        print(f"sitegen: {error}", file=sys.stderr)
        return 2
    written = sum(file.suffix == ".md" for file in files)
    print(f"{written} pages and {len(files) - written} figures are in {arguments[0]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
