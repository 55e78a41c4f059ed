"""A model that is asked: its identity by what it is made of, whatever it is called on this machine."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path
from typing import Any, Final

from starloom.errors import SourceError
from starloom.generate.generators.named import open_generator
from starloom.generate.protocol import Generator
from starloom.models import revisions
from starloom.store import canonical_json, sha256_of

# What changes what a folder says: weights, shape, tokens, how it ends. Cards, logs and optimizers do not.
_PARTS: Final = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")
_NOT: Final = frozenset({"manifest.json", "resolved.json", "training_args.json", "trainer_state.json"})
# What names an endpoint's answers; how many requests run at once and which key pays for them do not.
_NO_IDENTITY: Final = ("key=", "at_once=")
_ENDPOINTS: Final = ("openai", "http", "https")


def folder_of(name: str, hub: str | Path | None = None) -> Path | None:
    """The folder of a model that lies here, by path or as a published name; None for what is no folder."""
    kind, colon, rest = name.partition(":")
    path = Path(rest if kind == "vllm" and colon else name)
    if path.is_dir():
        return path
    return revisions.locate(name, None, hub) if not colon and revisions.is_published(name, hub) else None


def digest(name: str, hub: str | Path | None = None) -> str:
    """What a model is, for a fingerprint: hashes of a folder's files, of a file of completions, of outside code; of a
    server its address and the model that is asked for, since nothing more can be known.

    Raises SourceError where nothing lies.
    """
    kind, _, rest = name.partition(":")
    folder = folder_of(name, hub)
    if folder is not None:
        files = sorted({path for pattern in _PARTS for path in folder.glob(pattern) if path.name not in _NOT})
        if not files:
            raise SourceError(f"{folder} holds no model: no config.json, no tokenizer.json, no weights in safetensors")
        said: Any = {path.name: _sha256(path) for path in files}
    elif kind == "file":
        try:
            said = {"file": sha256_of(Path(rest))[1]}
        except OSError as error:
            raise SourceError(f"{rest} cannot be read: {error.strerror or error}") from None
    elif kind in _ENDPOINTS:
        address, _, behind = name.removeprefix("openai:").partition("#")
        said = {"server": address, "asks": [one for one in behind.split(",") if not one.startswith(_NO_IDENTITY)]}
    elif rest:
        said = {"name": name, "code": _code(kind)}
    else:
        raise SourceError(
            f"there is no model folder at {name}, and no model of that name is published here; name a folder, "
            "OWNER/MODEL@REVISION, openai:URL#MODEL or file:PATH"
        )
    return hashlib.sha256(canonical_json({"kind": kind if folder is None else "folder", "is": said})).hexdigest()


def _sha256(path: Path) -> str:
    """SHA-256 of a file; gigabytes are read once in a process, unless they change."""
    seen = path.stat()
    return _read_once(path.resolve(), (seen.st_size, seen.st_mtime_ns, seen.st_ino))


@functools.lru_cache(maxsize=1024)
def _read_once(path: Path, seen: tuple[int, int, int]) -> str:
    return sha256_of(path)[1]


def _code(module: str) -> str:
    """SHA-256 of a module's file; "" where it has none, such as `vllm` on a name that it fetches itself."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        spec = None
    return sha256_of(Path(spec.origin))[1] if spec is not None and spec.origin and spec.has_location else ""


def shown(name: str, hub: str | Path | None = None) -> str:
    """What a model is called in rows: a folder by its own name, wherever it lies."""
    folder = folder_of(name, hub)
    if folder is None or not Path(name).is_dir():
        return name
    return Path(name).name or Path(name).resolve().name


@functools.lru_cache(maxsize=1)  # the tasks of one evaluation ask the same model: it is opened once
def opened(name: str, of: str, *, hub: str | None = None, **compute: Any) -> Generator:
    """The generator of a name whose digest is `of`.

    How to compute (device, dtype, threads, slots) is for a folder that the local engine runs.
    """
    if folder_of(name, hub) is not None and not name.startswith("vllm:"):
        return open_generator(name, hub=hub, **compute)
    return open_generator(name)
