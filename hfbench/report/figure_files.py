"""Files of figures in a report's folder: listed with their digests, so that those no longer shown can be removed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hfbench.errors import StoreError
from hfbench.records.files import file_bytes
from hfbench.records.sealed import read_sealed_json, write_sealed_json
from hfbench.regular_files import MB

LARGEST_FIGURE = 256 * MB


def list_figures(listing: Path, names: Iterable[str], **more: Any) -> None:
    """Writes the names and digests of the figures beside `listing`, and whatever else is to be kept of them.

    Figures of the listing that was there before, and that are not among these, are removed. A file that has changed
    since it was listed is somebody else's, and stays.
    """
    folder, shown = listing.parent, list(names)
    for name, digest in _read(listing).get("files", {}).items():
        file = folder / name
        if name not in shown and file.parent == folder and _is_intact(file, digest):
            file.unlink()
    write_sealed_json(listing, {**more, "files": {name: _digest(folder / name) for name in shown}})


def kept_listing(listing: Path) -> dict[str, Any]:
    """What `list_figures` wrote; empty where it wrote nothing, or where a figure has changed since or is gone."""
    kept = _read(listing)
    files = kept.get("files", {})
    intact = all(Path(name).name == name and _is_intact(listing.parent / name, files[name]) for name in files)
    return kept if intact else {}


def figure_bytes(file: Path) -> bytes:
    """The contents of a figure. Raises StoreError if it is missing, too large or no regular file of its folder."""
    held = file_bytes(file, LARGEST_FIGURE, file.parent)
    if held is None:
        raise StoreError(f"the figure {file} must be there, but is not.")
    return held


def _read(listing: Path) -> dict[str, Any]:
    try:
        kept = read_sealed_json(listing) or {}
    except StoreError:  # torn: it is written anew
        return {}
    return kept if isinstance(kept.get("files"), dict) else {}


def _is_intact(file: Path, digest: object) -> bool:
    with suppress(StoreError, ValueError):  # a damaged listing may hold what is no name
        return _digest(file) == digest
    return False


def _digest(file: Path) -> str:
    return hashlib.sha256(figure_bytes(file)).hexdigest()
