"""Data files: found in the user's folders or the cache, downloaded otherwise, and always verified.

The folders are searched in this order: the folder given (`--data`), the folder named by HFBENCH_DATA, the user cache.
A file that none of them has is downloaded into the cache, from the first mirror that works. Checksums are of the
*decompressed* bytes, so that a re-compressed copy is as good as the original. A damaged file in a folder of the user is
an error and is never replaced; a damaged file in the cache is downloaded again.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from hfbench.errors import DataError
from hfbench.messages import quoted
from hfbench.parts.gunzip import gunzip
from hfbench.regular_files import MB, read_regular_file

VARIABLE = "HFBENCH_DATA"
CACHE = "user cache"
_GZIP_MAGIC = b"\x1f\x8b"
LARGEST = 1024 * MB  # bytes of a file, decompressed, unless it states its size
_UNREADABLE = (OSError, EOFError, zlib.error)

_verified: set[tuple[str, int, int, str]] = set()  # path, mtime, size, sha256: hashed once per process


@dataclass(frozen=True)
class DataFile:
    """A file of a data set: `path` below any data folder, sha256 of its decompressed bytes, mirrors in order.

    An empty sha256 means that no checksum is known; the reader of the file must check its contents. An `optional` file
    is used if it exists, and is not required. `size` is the number of its decompressed bytes, or a bound: no more are
    read. Raises DataError for a path that could leave its folder, for a malformed sha256, and for an address that is
    not http(s).
    """

    path: str
    sha256: str
    urls: tuple[str, ...] = ()
    optional: bool = False
    size: int = LARGEST

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(not re.fullmatch(r"[\w.-]+", part, re.ASCII) or set(part) == {"."} for part in parts):
            raise DataError(f"the path of a data file must be plain names joined by '/', but got {quoted(self.path)}.")
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise DataError(
                f"{self.path}: sha256 must be 64 lower-case hexadecimal digits, but got {quoted(self.sha256)}."
            )
        if self.urls and not self.sha256:
            raise DataError(f"{self.path}: a file that is downloaded needs a sha256.")
        for url in self.urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise DataError(f"{self.path}: a mirror must be an http or https address, but got {quoted(url)}.")

    def below(self, folder: Path) -> Path:
        """Path of the file in `folder`."""
        return folder.joinpath(*PurePosixPath(self.path).parts)


# ---------------------------------------------------------------- where


@dataclass(frozen=True)
class Place:
    """A folder to search, and the source of its name."""

    folder: Path
    named_by: str

    def __str__(self) -> str:
        """The folder, and the problem with it, if any; the cache may not exist yet."""
        wrong = ""
        if self.named_by != CACHE and not self.folder.is_dir():
            wrong = ": is not a folder" if self.folder.exists() else ": does not exist"
        return f"{self.folder} ({self.named_by}){wrong}"


def cache_folder() -> Path:
    """The user cache, the folder of downloads."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hfbench", appauthor=False))


def where(data: str | None = None) -> list[Place]:
    """The folders to search, in order. Raises DataError if `data` is given and is not a folder."""
    return [*_of_the_user(data), Place(cache_folder(), CACHE)]


def _of_the_user(data: str | None) -> list[Place]:
    if data is not None and not Path(data).expanduser().is_dir():
        raise DataError(f"the data folder must exist, but got {quoted(data)}.")
    given = {"--data": data, VARIABLE: os.environ.get(VARIABLE)}
    return [Place(Path(folder).expanduser(), named_by) for named_by, folder in given.items() if folder]


def present(file: DataFile, data: str | None = None) -> Path | None:
    """The first copy in the folders, not verified; None if there is none. Raises DataError as `where` does."""
    paths = (file.below(place.folder) for place in where(data))
    return next((path for path in paths if path.exists()), None)


# ---------------------------------------------------------------- reading and checking


def decompressed(path: Path, at_most: int = LARGEST) -> bytes:
    """The bytes of a file, decompressed if it is gzip.

    Raises DataError if it cannot be read to its end, or has more than `at_most` bytes.
    """
    try:
        return b"".join(_unpacked(path, at_most))
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}.") from error


def checksum(path: Path) -> str:
    """sha256 of the decompressed bytes. Raises DataError as `decompressed` does."""
    try:
        return _sha256(_unpacked(path, LARGEST))
    except _UNREADABLE as error:
        raise DataError(f"{path}: cannot be read: {_reason(error)}.") from error


def _unpacked(path: Path, at_most: int) -> Iterator[bytes]:
    """The decompressed bytes in pieces. Raises one of _UNREADABLE."""
    raw = read_regular_file(path, at_most + MB)  # gzip adds less to what it cannot compress
    # Told by content: a server may have undone the compression that the name promises.
    if raw.startswith(_GZIP_MAGIC):
        yield from gunzip(raw, at_most)
    elif len(raw) > at_most:
        raise OSError(errno.EFBIG, f"it has {len(raw)} bytes, more than the {at_most} that it may have")
    else:
        yield raw


def _reason(error: BaseException) -> str:
    """The system's error message, without the path that it may repeat."""
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")


@dataclass(frozen=True)
class _Damage:
    """Damage of a file: a short description, and the checksum found instead."""

    brief: str
    found: str


def _damage(file: DataFile, path: Path) -> _Damage | None:
    """Damage of the file at `path`, or None. A good file is not hashed again until it changes."""
    try:
        status = path.stat()
        seal = (str(path.absolute()), status.st_mtime_ns, status.st_size, file.sha256)
        if seal in _verified:
            return None
        found = _sha256(_unpacked(path, file.size))
    except _UNREADABLE as error:
        too_large = getattr(error, "errno", None) == errno.EFBIG
        return _Damage("too large" if too_large else "cut short or corrupt", f"not readable: {_reason(error)}")
    if file.sha256 and found != file.sha256:
        return _Damage("wrong checksum", f"sha256 {found}")
    _verified.add(seal)
    return None


def _sha256(pieces: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def find_file(file: DataFile, data: str | None = None) -> Path | None:
    """The verified file in the folders, or None if it must be downloaded. Downloads nothing.

    Raises DataError if the first copy in a folder of the user is damaged.
    """
    for place in _of_the_user(data):
        if file.below(place.folder).exists():
            return _intact(file, place)
    cached = file.below(cache_folder())
    return cached if cached.is_file() and _damage(file, cached) is None else None


def locate(file: DataFile, data: str | None = None) -> Path:
    """The verified file, downloaded into the user cache if no folder has it.

    Raises DataError, listing every folder and mirror tried, if it is nowhere or damaged.
    """
    return find_file(file, data) or _download(file, data)


def read_file(file: DataFile, data: str | None = None) -> bytes:
    """The decompressed bytes of the file that `locate` finds."""
    return decompressed(locate(file, data), file.size)


def verify(file: DataFile, data: str | None = None) -> Path | None:
    """The file, always hashed anew, or None if it is optional and absent. Downloads nothing.

    Raises DataError if it is damaged, even in the cache, or if it is missing and not optional.
    """
    for place in where(data):
        path = file.below(place.folder)
        if path.exists():
            _verified.difference_update([seal for seal in _verified if seal[0] == str(path.absolute())])
            return _intact(file, place)
    if file.optional:
        return None
    raise DataError(missing_files([file], data))


def _intact(file: DataFile, place: Place) -> Path:
    path = file.below(place.folder)
    if damage := _damage(file, path):
        raise DataError(_damaged(file, place, damage))
    return path


# ---------------------------------------------------------------- downloading


def _download(file: DataFile, data: str | None) -> Path:
    """The file in the cache, from the first mirror whose copy has the right checksum. All or nothing."""
    root = cache_folder()
    target = file.below(root)
    failed = []
    for url in file.urls:
        try:
            root.mkdir(parents=True, exist_ok=True)
            # On the same disk, so that the move is atomic.
            with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as folder:
                fresh = Path(folder) / target.name
                problem = _fetched(file, url, fresh)
                if problem is None:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(fresh, target)
                    return target
        except OSError as error:
            raise DataError(f"{file.path}: the {CACHE} {root} cannot be written: {_reason(error)}.") from error
        failed.append(f"{url}: {problem}")
    raise DataError(missing_files([file], data, failed))


def _fetched(file: DataFile, url: str, fresh: Path) -> str | None:
    """Reason why a mirror's copy cannot be used, or None if it was written to `fresh` and is good."""
    from hfbench.parts.download import FAILURES, reason_of

    try:
        _get(url, fresh, file.size)
    except FAILURES as error:
        return reason_of(error)
    damage = _damage(file, fresh)
    return None if damage is None else damage.brief


def _get(url: str, target: Path, at_most: int) -> None:
    from hfbench.parts.download import download

    download(url, target, at_most + MB)


# ---------------------------------------------------------------- messages


def _damaged(file: DataFile, place: Place, damage: _Damage) -> str:
    expected = f"sha256 {file.sha256}" if file.sha256 else "a file that can be read"
    if place.named_by == CACHE and file.urls:
        cure = "It is in the cache and is downloaded again when it is needed; `hfbench data fetch` does so now."
    elif file.urls:
        cure = "Replace it, or delete it: it is then taken from the next folder that has it, or downloaded."
    else:
        cure = "Replace it, or delete it."
    return (
        f"{file.below(place.folder)} is damaged or is another file.\n"
        f"  expected  {expected} (of the decompressed bytes)\n"
        f"  found     {damage.found}\n"
        f"{cure}"
    )


def missing_files(files: Sequence[DataFile], data: str | None = None, failed: Sequence[str] = ()) -> str:
    """Message about files that no folder has, and about the mirrors that `failed` to provide them, with the reasons."""
    paths = [file.path for file in files]
    subject = f"{paths[0]} is" if len(paths) == 1 else f"{len(paths)} data files are"
    lines = [f"{subject} in none of the data folders{' and could not be downloaded' if failed else ''}."]
    if len(paths) > 1:
        lines += ["Missing:", *_indented(paths)]
    lines += ["Looked in:", *_indented(f"{place}{_copy_in(files, place)}" for place in where(data))]
    if failed:
        lines += ["Mirrors:", *_indented(failed)]
    if not any(file.urls for file in files):
        lines += ["There is no mirror to download from."]
    put = f"the file at <folder>/{paths[0]}" if len(paths) == 1 else "each file at <folder>/<its path above>"
    lines += [f"To supply {'it' if len(paths) == 1 else 'them'} offline, put {put} and set {VARIABLE}=<folder>."]
    return "\n".join(lines)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _copy_in(files: Sequence[DataFile], place: Place) -> str:
    """A note if the cache's copy is damaged; a damaged file in a folder of the user is a separate error."""
    damaged = any(file.below(place.folder).exists() for file in files)
    return ": the copy there is damaged" if damaged else ""
