"""Data files: found in the user's folders or the cache, downloaded otherwise, and never used unverified.

Looked for in this order: the folder given (`--data`), the folder named by HFBENCH_DATA, the user cache; what is in none
of them is downloaded into the cache, mirror after mirror. Checksums are of the *decompressed* bytes, so a re-compressed
copy is as good as the original. A damaged file in a folder of the user is an error, never replaced behind their back;
a damaged file in the cache is ours and is fetched again.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from hfbench.errors import DataError

VARIABLE = "HFBENCH_DATA"
TIMEOUT = (5.0, 30.0)  # seconds a mirror may take to answer the call, and stay silent after it
_GZIP_MAGIC = b"\x1f\x8b"

_verified: set[tuple[str, int, int, str]] = set()  # path, mtime, size, sha256: hashed once per process


@dataclass(frozen=True)
class DataFile:
    """A file of a data set: `path` below any data folder, sha256 of its decompressed bytes, mirrors in order.

    An empty sha256 means that no checksum is known: whoever reads the file must check what is in it. An `optional` file
    is used where it exists and not missed elsewhere. Raises DataError for a path that could leave its folder, something
    that is no sha256, and an address that is not http(s).
    """

    path: str
    sha256: str
    urls: tuple[str, ...] = ()
    optional: bool = False

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        if any(not re.fullmatch(r"[\w.-]+", part, re.ASCII) or set(part) == {"."} for part in parts):
            raise DataError(f"the path of a data file must be plain names joined by '/', but got {self.path!r}.")
        if self.sha256 and not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise DataError(f"{self.path}: sha256 must be 64 lower-case hexadecimal digits, but got {self.sha256!r}.")
        if self.urls and not self.sha256:
            raise DataError(f"{self.path}: a file that is downloaded needs a sha256.")
        for url in self.urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise DataError(f"{self.path}: a mirror must be an http or https address, but got {url!r}.")

    def below(self, folder: Path) -> Path:
        """Where the file is if it is in `folder`."""
        return folder.joinpath(*PurePosixPath(self.path).parts)


# ---------------------------------------------------------------- where


def cache_folder() -> Path:
    """The user cache, where downloads go."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hfbench", appauthor=False))


def where(data: str | None = None) -> list[Path]:
    """The folders looked at, in order. Raises DataError if `data` is given and is no folder."""
    return [*_users_folders(data), cache_folder()]


def _users_folders(data: str | None) -> list[Path]:
    if data is not None and not Path(data).expanduser().is_dir():
        raise DataError(f"the data folder must exist, but got {data!r}.")
    given = [data, os.environ.get(VARIABLE)]
    return [Path(folder).expanduser() for folder in given if folder]


# ---------------------------------------------------------------- reading and checking


def contents(path: Path) -> bytes:
    """The bytes of a file, decompressed if it is gzip. Raises DataError if it cannot be read to its end."""
    try:
        raw = path.read_bytes()
        # Told by content: a server may have undone the compression that the name promises.
        return gzip.decompress(raw) if raw.startswith(_GZIP_MAGIC) else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read: {error}.") from error


def checksum(path: Path) -> str:
    """sha256 of the decompressed bytes."""
    return hashlib.sha256(contents(path)).hexdigest()


def _damage(file: DataFile, path: Path) -> str | None:
    """What is wrong with the file at `path`, or None; a file found good is not hashed again until it changes."""
    try:
        status = path.stat()
        seal = (str(path.absolute()), status.st_mtime_ns, status.st_size, file.sha256)
        if seal in _verified:
            return None
        found = checksum(path)
    except OSError as error:  # DataError is one
        return f"expected sha256 {file.sha256 or '(any)'} of the decompressed bytes, found none: {error}"
    if file.sha256 and found != file.sha256:
        return f"expected sha256 {file.sha256} of the decompressed bytes, found {found}"
    _verified.add(seal)
    return None


def find(file: DataFile, data: str | None = None) -> Path | None:
    """The verified file in the folders, or None if it must be downloaded. Downloads nothing.

    Raises DataError if the first copy in a folder of the user is damaged.
    """
    for folder in _users_folders(data):
        if file.below(folder).exists():
            return _intact(file, folder, data)
    return _cached(file)


def locate(file: DataFile, data: str | None = None) -> Path:
    """The verified file, downloaded into the user cache if no folder has it.

    Raises DataError, listing every folder and mirror tried, if it is nowhere or damaged.
    """
    return find(file, data) or _download(file, _looked_at(file, where(data)))


def fetch(file: DataFile) -> Path:
    """The verified file in the user cache, downloaded unless it is there. Raises DataError as `locate` does."""
    return _cached(file) or _download(file, _looked_at(file, [cache_folder()]))


def read(file: DataFile, data: str | None = None) -> bytes:
    """The decompressed bytes of the file that `locate` finds."""
    return contents(locate(file, data))


def verify(file: DataFile, data: str | None = None) -> Path | None:
    """The file, hashed anew whatever is remembered of it, or None if it is optional and absent. Downloads nothing.

    Raises DataError if it is damaged, in the cache too, or is missing and not optional.
    """
    for folder in where(data):
        if file.below(folder).exists():
            _forget(file.below(folder))
            return _intact(file, folder, data)
    if file.optional:
        return None
    raise DataError(_message(file, "it is in none of the data folders.", _looked_at(file, where(data))))


def _intact(file: DataFile, folder: Path, data: str | None) -> Path:
    path = file.below(folder)
    if damage := _damage(file, path):
        folders = where(data)
        tried = _looked_at(file, folders[: folders.index(folder) + 1])
        raise DataError(_message(file, f"{path} is not the file it should be: {damage}.", tried))
    return path


def _cached(file: DataFile) -> Path | None:
    path = file.below(cache_folder())
    return path if path.is_file() and _damage(file, path) is None else None


def _forget(path: Path) -> None:
    name = str(path.absolute())
    _verified.difference_update([seal for seal in _verified if seal[0] == name])


# ---------------------------------------------------------------- downloading


def _download(file: DataFile, tried: list[str]) -> Path:
    """The file in the cache, from the first mirror whose copy has the right checksum. All or nothing."""
    root = cache_folder()
    target = file.below(root)
    for url in file.urls:
        try:
            root.mkdir(parents=True, exist_ok=True)
            scratch = tempfile.TemporaryDirectory(dir=root, prefix=".download-")  # same disk: the move is atomic
        except OSError as error:
            raise DataError(_message(file, f"the cache {root} cannot be written: {error}.", tried)) from error
        with scratch as folder:
            fresh = Path(folder) / target.name
            try:
                _get(url, fresh)
                if damage := _damage(file, fresh):
                    raise DataError(damage)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh, target)
                return target
            except OSError as error:  # requests' errors and DataError are OSErrors
                tried = [*tried, f"{url}: {error}"]
    problem = "every download failed." if file.urls else "it is in none of the data folders and has no mirror."
    raise DataError(_message(file, problem, tried))


def _get(url: str, target: Path) -> None:
    import pooch

    pooch.HTTPDownloader(timeout=TIMEOUT)(url, str(target), None)


# ---------------------------------------------------------------- messages


def _looked_at(file: DataFile, folders: list[Path]) -> list[str]:
    paths = [file.below(folder) for folder in folders]
    return [f"{path}: {'damaged' if path.exists() else 'not there'}" for path in paths]


def _message(file: DataFile, problem: str, tried: list[str]) -> str:
    return "\n".join(
        [
            f"data file {file.path}: {problem}",
            "Tried:",
            *(f"  {source}" for source in tried),
            f"To supply it offline, put the file at <folder>/{file.path} and set {VARIABLE}=<folder>.",
        ]
    )
