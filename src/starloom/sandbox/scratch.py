"""The scratch folder of a run: filled before it, looked through and emptied after it, when no process of it is left."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
from collections.abc import Iterator, Mapping

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def fill(files: Mapping[str, bytes], executable: list[str]) -> None:
    """Write the files into the working directory, as the user that the program will be."""
    for name, content in files.items():
        folder = os.path.dirname(name)
        if folder:
            os.makedirs(folder, exist_ok=True)
        descriptor = os.open(
            name,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o755 if name in executable else 0o644,
        )
        with open(descriptor, "wb", buffering=0) as file:
            view = memoryview(content)
            while view:
                view = view[file.write(view) :]


def kept(folder: str, patterns: list[str], most_bytes: int, most_files: int) -> dict[str, bytes]:
    """Regular files whose path matches a glob; links are never followed. What is over the bounds is left out."""
    found: dict[str, bytes] = {}
    if not patterns:
        return found
    wanted = [os.path.normpath(pattern) for pattern in patterns]
    for name, parent, entry in walk(folder):
        if len(found) >= most_files:
            break
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted):
            continue
        try:
            descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            continue
        with open(descriptor, "rb", buffering=0) as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > most_bytes:
                continue
            content = file.read(facts.st_size) or b""
        most_bytes -= len(content)
        found[name] = content
    return found


def walk(folder: str) -> Iterator[tuple[str, int, str]]:
    """(path, descriptor of its folder, name) of everything but folders, in the order of names; any depth."""
    try:
        top = os.open(folder, FOLDER)
    except OSError:
        return
    stack = [("", top, sorted(os.listdir(top), reverse=True))]
    try:
        while stack:
            prefix, here, names = stack[-1]
            if not names:
                stack.pop()
                os.close(here)
                continue
            name = names.pop()
            try:
                is_folder = stat.S_ISDIR(os.lstat(name, dir_fd=here).st_mode)
                if is_folder and len(stack) < 64:  # deeper folders are not looked into
                    inner = os.open(name, FOLDER, dir_fd=here)
                    stack.append((f"{prefix}{name}/", inner, sorted(os.listdir(inner), reverse=True)))
            except OSError:
                continue
            if not is_folder:
                yield prefix + name, here, name
    finally:
        for _, here, _ in stack:
            os.close(here)


def size(folder: str, most_files: int) -> tuple[int, int]:
    """Bytes on disk and number of entries below a folder; counting ends soon after `most_files`.

    A folder that cannot be looked into (no permission, a path beyond PATH_MAX) counts as more than `most_files`.
    """
    total = count = 0
    open_ = [folder]
    while open_ and count <= most_files:
        try:
            with os.scandir(open_.pop()) as entries:
                for entry in entries:
                    count += 1
                    with contextlib.suppress(FileNotFoundError):
                        facts = entry.stat(follow_symlinks=False)
                        total += facts.st_blocks * 512
                        if stat.S_ISDIR(facts.st_mode):
                            open_.append(entry.path)
        except FileNotFoundError:
            continue  # gone since it was listed
        except OSError:
            return total, most_files + 1
    return total, count


def empty(folder: str) -> None:
    """Remove everything below a folder of a run whose processes are all dead; any depth, any mode, links not followed."""
    top = here = os.open(folder, FOLDER)
    way: list[str] = []
    names = os.listdir(here)
    try:
        while True:
            deeper = None
            for name in names:
                try:
                    os.unlink(name, dir_fd=here)
                except IsADirectoryError:
                    with contextlib.suppress(OSError):
                        os.rmdir(name, dir_fd=here)
                        continue
                    deeper = name
                    break
                except FileNotFoundError:
                    continue
            if deeper is not None:
                os.chmod(deeper, 0o700, dir_fd=here, follow_symlinks=True)  # a folder, as unlink said
                inner = os.open(deeper, FOLDER, dir_fd=here)
                way.append(deeper)
            elif way:
                inner = os.open("..", FOLDER, dir_fd=here)
                os.rmdir(way.pop(), dir_fd=inner)
            else:
                return
            if here != top:
                os.close(here)
            here = inner
            names = os.listdir(here)
    finally:
        os.close(here)
        if here != top:
            os.close(top)
