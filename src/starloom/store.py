"""What lies on disk between stages: directories with a manifest written last, Parquet shards, and their checks.

A directory is complete when, and only when, it holds `manifest.json`. Every file that the manifest names has its size
checked when the directory is opened and its SHA-256 when it is read whole; Parquet pages carry checksums of their own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starloom.errors import AlignmentError, BusyError, DamagedError, DiskFullError, StoreError, suggestion

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.json"
MARKER = "starloom-store.json"  # names a folder as a store, so that reading `.` as a source leaves it out
UNITS = ".units"  # one record per finished unit of work
SCRATCH = ".tmp"  # unfinished files; nothing in it counts
FINGERPRINT_DIGITS = 16  # hexadecimal, 64 bits: our choice
CHUNK = 1 << 20  # bytes hashed at a time


def canonical_json(value: object) -> bytes:
    """The one spelling of a JSON value: sorted keys, two spaces, UTF-8, a newline. NaN is refused."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "surrogateescape") + b"\n"


def sealed_json(value: Mapping[str, object]) -> bytes:
    """Canonical JSON that carries the SHA-256 of the rest of itself, so that a flipped bit in it shows."""
    body = {key: item for key, item in value.items() if key != "sealed"}
    return canonical_json({**body, "sealed": hashlib.sha256(canonical_json(body)).hexdigest()})


def read_sealed_json(path: Path) -> dict[str, Any]:
    """Read what `sealed_json` wrote. Raises DamagedError when one bit of it differs."""
    data = path.read_bytes()
    try:
        value = json.loads(data)
        sound = isinstance(value, dict) and sealed_json(value) == data
    except (ValueError, RecursionError):
        sound = False
    if not sound:
        raise DamagedError(
            f"{path} is damaged (its own checksum does not hold); `starloom verify --repair "
            f"{path.parent}` sets the directory back, and the next run makes it anew"
        )
    return dict(value)


def sha256_of(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file, read in chunks."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def fsync(path: Path) -> None:
    """Force a file or a directory's entries to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old bytes or the new ones and nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync(path.parent)


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn 'no space left' and 'file too large', from whichever library says it, into a DiskFullError that names the place."""
    try:
        yield
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        said = "" if isinstance(error, StoreError) else str(error)
        if number == errno.EFBIG or "File too large" in said:
            what, remedy = "a file is larger than this process or file system allows", "raise the limit (ulimit -f)"
        elif number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in said:
            what, remedy = "the disk is full", "make room"
        else:
            raise
        raise DiskFullError(
            f"{what} while writing {place}; what was finished stays: {remedy} and run the "
            "same command again, it goes on from there"
        ) from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write one Parquet file: zstd, page checksums, the same bytes for the same table and pyarrow release."""
    import pyarrow.parquet as pq

    pq.write_table(table, path, compression="zstd", write_page_checksum=True, store_schema=True)


@dataclass(frozen=True, slots=True)
class Built:
    """A complete stage directory: its manifest, and its files, checked as they are read."""

    directory: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, directory: Path) -> Built:
        """Open a directory. Raises StoreError when it is not complete, DamagedError when a file is missing or resized."""
        if not (directory / MANIFEST).is_file():
            what = "was never finished; run its recipe again" if directory.is_dir() else "does not exist"
            raise StoreError(f"{directory} {what} (no {MANIFEST}); `starloom plan RECIPE` lists the steps")
        manifest = read_sealed_json(directory / MANIFEST)
        built = cls(directory, manifest)
        for name, entry in manifest["files"].items():
            try:
                size = (directory / name).stat().st_size
            except OSError:
                raise built._damaged(name, "is missing") from None
            if size != entry["bytes"]:
                raise built._damaged(name, f"has {size:,} bytes where the manifest says {entry['bytes']:,}")
        return built

    @property
    def name(self) -> str:
        """The step that built it, such as `near_dedup` or `pretrain:no-fim`."""
        return str(self.manifest["step"])

    @property
    def fingerprint(self) -> str:
        return str(self.manifest["fingerprint"])

    @property
    def counts(self) -> dict[str, Any]:
        return dict(self.manifest["counts"])

    def _damaged(self, name: str, what: str) -> DamagedError:
        return DamagedError(
            f"{self.directory / name} {what}; run `starloom verify --repair {self.directory}`, then the "
            "same command again: only what is damaged is made anew"
        )

    def path(self, name: str) -> Path:
        """Path of a file that the manifest names, unread: for memory maps, whose readers check size and header."""
        if name not in self.manifest["files"]:
            raise StoreError(f"{self.directory} holds no '{name}'; {suggestion(name, self.manifest['files'])}")
        return self.directory / name

    def read_bytes(self, name: str) -> bytes:
        """A whole file, its SHA-256 checked."""
        data = self.path(name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.manifest["files"][name]["sha256"]:
            raise self._damaged(name, "differs from its SHA-256 in the manifest")
        return data

    def check(self, name: str, stopped: Callable[[], bool] = lambda: False) -> None:
        """Compare a file that is too large to be read whole with its SHA-256; leave off when it is no longer wanted."""
        digest = hashlib.sha256()
        with self.path(name).open("rb") as file:
            while chunk := file.read(CHUNK):
                if stopped():
                    return
                digest.update(chunk)
        if digest.hexdigest() != self.manifest["files"][name]["sha256"]:
            raise self._damaged(name, "differs from its SHA-256 in the manifest")

    def table(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A Parquet file as a table, its SHA-256 checked first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        data = self.read_bytes(name)
        missing = set(columns or ()) - set(pq.read_schema(pa.BufferReader(data)).names)
        if missing:
            raise StoreError(
                f"{self.directory / name} has no column '{min(missing)}'; it was built by "
                f"{self.manifest['stage']} version {self.manifest['version']}"
            )
        return pq.read_table(
            pa.BufferReader(data), columns=list(columns) if columns is not None else None, use_threads=False
        )

    def parts(self) -> list[str]:
        """Names of its shards, in order."""
        return sorted(name for name in self.manifest["files"] if name.startswith("part-") and name.endswith(".parquet"))

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Its shards as tables, one at a time."""
        for name in self.parts():
            yield self.table(name, columns)

    def verify(self) -> list[str]:
        """Every difference from the manifest and from the unit records, one sentence each; none means sound."""
        problems = []
        for name, entry in self.manifest["files"].items():
            size, digest = sha256_of(self.directory / name)
            if (size, digest) != (entry["bytes"], entry["sha256"]):
                problems.append(f"{self.directory / name} differs from its SHA-256 in the manifest")
        known = {MANIFEST, *self.manifest["files"]}
        for path in sorted(self.directory.rglob("*")):
            name = path.relative_to(self.directory).as_posix()
            if name.startswith(UNITS + "/"):
                try:
                    read_sealed_json(path)
                except DamagedError as error:
                    problems.append(str(error))
            elif path.is_file() and name not in known and not name.startswith(SCRATCH):
                problems.append(f"{path} is not in the manifest")
        return problems


def aligned(
    files: Built,
    *others: Built,
    columns: Sequence[Sequence[str] | None] | None = None,
) -> Iterator[tuple[str, list[pa.Table]]]:
    """Shards of a `Read` and of what was said about it, side by side: (part name, [table of files, table of others…]).

    Raises AlignmentError when a shard is missing on one side or its ids are not the documents' ids in their order.
    """
    everything = (files, *others)
    chosen = columns or [None] * len(everything)
    names = files.parts()
    for other in others:
        if other.parts() != names:
            raise AlignmentError(
                f"{other.directory} has shards {other.parts()} where its documents in {files.directory} "
                f"have {names}; build {other.name} again"
            )
    for name in names:
        yield name, aligned_part(name, everything, chosen)


def aligned_part(
    name: str, everything: Sequence[Built], columns: Sequence[Sequence[str] | None] | None = None
) -> list[pa.Table]:
    """One shard of each, checked to hold the same ids in the same order."""
    tables = []
    for built, wanted in zip(everything, columns or [None] * len(everything), strict=True):
        tables.append(built.table(name, None if wanted is None else ["id", *(c for c in wanted if c != "id")]))
    ids = tables[0]["id"].combine_chunks()
    for built, table in zip(everything[1:], tables[1:], strict=True):
        if not table["id"].combine_chunks().equals(ids):
            raise AlignmentError(
                f"{built.directory / name} does not hold the rows of {everything[0].directory / name} in "
                f"their order; build {built.name} again"
            )
    return tables


class Store:
    """A folder of stage directories, each named by its step and fingerprint."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folder and mark it as a store. Raises StoreError when the place holds something else."""
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root} is not a folder; choose another --store")
        with disk_errors(self.root):
            try:
                (self.root / ".locks").mkdir(parents=True, exist_ok=True)
                if not (self.root / MARKER).exists():
                    write_atomically(self.root / MARKER, canonical_json({"format": 1}))
            except PermissionError:
                raise StoreError(f"{self.root} cannot be written; choose another --store") from None

    def directory(self, step: str, fingerprint: str) -> Path:
        """Where this fingerprint lies, or would lie. Labels are no part of a fingerprint: a directory that another
        label built is found too."""
        for path in sorted(self.root.glob(f"*-{fingerprint}")):
            if path.is_dir():
                return path
        return self.root / f"{step.replace(':', '.')}-{fingerprint}"

    def directories(self) -> list[Path]:
        """Every stage directory, complete or not, oldest first."""
        found = [path for path in self.root.glob(f"*-{'?' * FINGERPRINT_DIGITS}") if path.is_dir()]
        return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))

    @contextlib.contextmanager
    def lock(self, directory: Path) -> Iterator[None]:
        """Hold the right to write one directory; the kernel frees it when the process dies. Raises BusyError."""
        lock = self.root / ".locks" / directory.name.rpartition("-")[2]
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.read(descriptor, 32).decode(errors="replace").strip() or "?"
                raise BusyError(
                    f"{directory} is being built by process {owner}; wait for it, or stop it with "
                    f"`kill {owner}`: its finished work is kept"
                ) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(descriptor)


def reopen(directory: Path) -> None:
    """Set a directory back to unfinished: the next build checks each unit and makes anew what is damaged."""
    (directory / MANIFEST).unlink(missing_ok=True)
    if directory.is_dir():
        fsync(directory)


def clear_scratch(directory: Path) -> None:
    """Remove what a killed build left half-written."""
    shutil.rmtree(directory / SCRATCH, ignore_errors=True)
    for path in directory.glob(".*.tmp"):
        path.unlink(missing_ok=True)
