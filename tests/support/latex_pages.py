"""LaTeX that is typeset, where pdflatex is installed, and read back as text."""

import re
import shutil
import subprocess
from pathlib import Path


def missing_programs() -> str | None:
    """Why nothing can be typeset here, None where it can."""
    absent = [name for name in ("pdflatex", "pdftotext") if shutil.which(name) is None]
    cure = "apt-get install texlive-latex-recommended lmodern poppler-utils"
    return f"needs {', '.join(absent)} ({cure})" if absent else None


def typeset(file: Path) -> tuple[Path, list[str]]:
    """The PDF of a file, made in its folder, and what its log says of missing letters and of what sticks out."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, timeout=120, check=False)
    log = file.with_suffix(".log").read_text("latin-1").replace("\n", " ")
    assert done.returncode == 0, re.findall(r"!.{0,400}", log)
    return file.with_suffix(".pdf"), re.findall(r"(?:Overfull|Missing character|LaTeX Font Warning).{0,100}", log)


def text_of(pdf: Path) -> str:
    """What a reader of the pages reads."""
    return subprocess.run(["pdftotext", str(pdf), "-"], capture_output=True, check=True, text=True).stdout
