"""A manifest in a terminal: what a step did, from what, with what result. Plain aligned text, so that it can be piped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from starloom.report import plain
from starloom.stage import code_revision
from starloom.store import Built

BAR = 24  # characters of a full bar
_TAKEN = {"rows_in", "rows_out", "dropped"}


def render_manifest(built: Built) -> str:
    """Every entry of a directory's manifest for a person; `--json` gives the manifest itself."""
    manifest = built.manifest
    lines = [
        f"{manifest['step']}  {manifest['summary']}",
        "",
        *table(
            [
                ("stage", f"{manifest['stage']} version {manifest['version']}"),
                ("fingerprint", manifest["fingerprint"]),
                ("directory", str(built.directory)),
                ("code", f"{manifest['code']}{other_code(manifest)}"),
                (
                    "took",
                    f"{plain.duration(manifest['seconds'])}, peak memory {plain.size(manifest['peak_memory_bytes'])}",
                ),
                ("on", machine_text(manifest["runtime"])),
            ]
        ),
    ]
    if manifest.get("purged"):
        lines += _section("purged", flattened(manifest["purged"]))
    lines += _section("settings", flattened(manifest["settings"]))
    lines += _section("inputs", _inputs(built))
    lines += _section(
        "outside", [(name, f"{one['value']}  {one['digest']}") for name, one in manifest["externals"].items()]
    )
    lines += _section("resolved when it ran", flattened(manifest["resolved"]))
    counts = manifest["counts"]
    lines += _section("counts", _counts(counts))
    lines += _section("dropped", _dropped(counts), right=(1, 2))
    lines += _section(
        "files",
        [(name, plain.size(entry["bytes"]), f"sha256 {entry['sha256']}") for name, entry in manifest["files"].items()],
        right=(1,),
    )
    return "\n".join(plain.visible(line).rstrip() for line in lines)


def other_code(manifest: Mapping[str, Any]) -> str:
    """A note when other code than what now runs built a directory; empty when the same did."""
    now = code_revision()
    return "" if manifest["code"] == now else f" (built by other code: this is {now})"


def machine_text(runtime: Mapping[str, Any]) -> str:
    """The `runtime` of a manifest in one line."""
    workers, threads = runtime["workers"], runtime["threads"]
    libraries = "".join(f", {name} {version}" for name, version in sorted(runtime["libraries"].items()))
    return (
        f"{workers} worker{'s' * (workers != 1)}, {threads} thread{'s' * (threads != 1)}, {runtime['device']}, "
        f"{runtime['machine']}, Python {runtime['python']}{libraries}"
    )


def flattened(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """JSON as (dotted name, text) pairs; an element that has a name is called by it, as `--set` does."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flattened(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for position, item in enumerate(value):
            name = item.get("name", position) if isinstance(item, Mapping) else position
            rest = {key: one for key, one in item.items() if key != "name"} if isinstance(item, Mapping) else item
            yield from flattened(rest, f"{prefix}.{name}" if prefix else str(name))
    elif isinstance(value, list):
        yield prefix, ", ".join(map(str, value)) or "none"
    else:
        yield prefix, _value(value)


def _value(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return repr(value) if (isinstance(value, str) and value.strip() != value) or value == "" else str(value)


def _inputs(built: Built) -> Iterator[tuple[str, str]]:
    for name, value in built.manifest["inputs"].items():
        for one in value if isinstance(value, list) else [value]:
            found = next(iter(sorted(built.directory.parent.glob(f"*-{one}"))), None)
            yield name, str(found.name if found else f"{one} (no longer in this store)")


def _counts(counts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    rows_in, rows_out = counts.get("rows_in"), counts.get("rows_out")
    if rows_in is not None:
        yield "rows in", plain.count(rows_in)
    if rows_out is not None:
        kept = f"  ({plain.share(rows_out, rows_in)} of them)" if rows_in else ""
        yield "rows out", plain.count(rows_out) + kept
    for name, value in counts.items():
        if name in _TAKEN:
            continue
        if isinstance(value, Mapping):
            for key, number in sorted(value.items(), key=lambda item: -item[1]):
                yield f"{plain.words(name)}: {key}", plain.count(number)
        else:
            text = plain.size(value) if name == "bytes" or name.endswith("_bytes") else plain.count(value)
            yield plain.words(name), text


def _dropped(counts: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    dropped: Mapping[str, int] = counts.get("dropped", {})
    rows_in = counts.get("rows_in", counts.get("rows_out", 0) + sum(dropped.values()))
    most = max(dropped.values(), default=0)
    for reason, number in sorted(dropped.items(), key=lambda item: (-item[1], item[0])):
        bar = "█" * max(1, round(BAR * number / most)) if number else ""
        yield reason, plain.count(number), plain.share(number, rows_in), bar


def _section(title: str, rows: Any, right: Sequence[int] = ()) -> list[str]:
    body = list(table(rows, right=right, indent="  "))
    return ["", title, *body] if body else []


def table(rows: Any, right: Sequence[int] = (), indent: str = "") -> Iterator[str]:
    """Rows of text in aligned columns, those of `right` to the right."""
    cells = [[plain.visible(str(cell)) for cell in row] for row in rows]
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        line = "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield f"{indent}{line}".rstrip()
