"""`starloom doctor sandbox`: the tier of this machine, each layer and why it is on or off, live attacks, and toolchains."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from starloom.errors import SandboxError
from starloom.flags import flag, parse
from starloom.sandbox import kernel, landlock, languages
from starloom.sandbox.layers import Layers
from starloom.sandbox.sandbox import TIERS, layers
from starloom.sandbox.self_test import Probe, probes

_SWITCHES = (  # what forbids an ordinary user namespaces: file, the value that does, the command that allows them
    ("/proc/sys/kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ("/proc/sys/user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
)  # fmt: skip
_CONTAINERS = ("/.dockerenv", "/run/.containerenv")
_SCOPED, _SINCE = 6, "Linux 6.12"  # Landlock's ABI that scopes signals and abstract sockets


@dataclass(frozen=True, kw_only=True)
class SandboxFlags:
    """Say how untrusted programs are contained here, and attack the sandbox to see it. Exit code 1 when no tier can be had, or
    an attack gets through.

    Examples:
      starloom doctor sandbox
      starloom doctor sandbox --tier landlock      what is left where namespaces are forbidden
      starloom doctor sandbox --json
    """

    tier: Literal["auto", "namespaces", "landlock"] = flag("auto", help="test this tier instead of the strongest")
    json: bool = flag(False, help="print one JSON object")


@dataclass(frozen=True, slots=True)
class Layer:
    """One protection: whether it stands, and what there is to know or to do about it."""

    name: str
    on: bool
    why: str


def host() -> dict[str, Any]:
    """What the answer depends on."""
    return {"kernel": f"{platform.system()} {platform.release()} {platform.machine()}", "user": os.getuid(),
            "landlock_abi": _abi(), "container": any(Path(mark).exists() for mark in _CONTAINERS)}  # fmt: skip


def _abi() -> int:
    if not sys.platform.startswith("linux") or kernel.MACHINE not in kernel.SUPPORTED:
        return 0
    return landlock.abi()


def explained(found: Layers, asked: str = "auto") -> list[Layer]:
    """Each layer of a tier that was tried out; `asked` is the tier that the user wanted."""
    abi = _abi()
    if found.landlock:
        about = f"ABI {found.landlock}"
        if found.landlock < _SCOPED:
            about += f": signals are held back by seccomp alone; {_SINCE} has ABI {_SCOPED}"
    elif abi:
        about = f"not needed: the program's root holds nothing else (the kernel has ABI {abi})"
    else:
        about = "this kernel has none, or not switched on (lsm=…,landlock on the kernel's command line)"
    spaces = "user, pid, mount, network, IPC and UTS namespaces, a root of its own"
    own = found.user != os.getuid()
    return [
        Layer("namespaces", found.namespaces, spaces if found.namespaces else forbidden() if asked == "auto" else f"not asked for: --tier {asked}"),
        Layer("landlock", found.landlock > 0, about),
        Layer("seccomp", found.seccomp, "system calls are allowed by name" if found.seccomp else "refused by the kernel"),
        Layer("rlimits", found.rlimits, "memory, CPU, files, processes; a watchdog for the tree as a whole"),
        Layer("cgroup", found.cgroup, "counts the tree's memory" if found.cgroup else "not used: the watchdog counts instead"),
        Layer("user", own, f"programs run as user {found.user}" + ("" if own else ", as whom you run this too: start it as root for one of their own")),
    ]  # fmt: skip


def forbidden() -> str:
    """Why there are no namespaces, and what a user can do."""
    for file, value, command in _SWITCHES:
        try:
            if Path(file).read_text().strip() == value:
                return f"{file} is {value}; to allow them: {command}"
        except OSError:
            continue
    if any(Path(mark).exists() for mark in _CONTAINERS):
        return "this container's filter forbids them (Docker's default does); to allow them: --security-opt seccomp=… with unshare and mount"
    return "forbidden by the filter that this process runs under"


def examine(tier: Literal["auto", "namespaces", "landlock"] = "auto") -> tuple[Layers | None, str, list[Probe]]:
    """The layers and what came of the attacks; without a tier, why."""
    try:
        found = layers(tier)
        return found, "", list(probes(tier))
    except SandboxError as error:
        return None, str(error), []


def line() -> tuple[bool, str]:
    """For `starloom doctor`: whether there is a tier, and one line about it."""
    try:
        return True, layers().describe()
    except SandboxError as error:
        return False, str(error)


def command(argv: Sequence[str]) -> int:
    """The command."""
    given = parse(SandboxFlags, argv, "starloom doctor sandbox")
    found, problem, attacks = examine(given.tier)
    table = languages.table()
    through = [attack for attack in attacks if not attack.blocked]
    if given.json:
        facts = {"tier": found.tier if found else None, "problem": problem, "host": host(), "layers": found.as_dict() if found else None,
                 "explained": [asdict(layer) for layer in explained(found, given.tier)] if found else [],
                 "attacks": [asdict(attack) for attack in attacks], "languages": list(table)}  # fmt: skip
        print(json.dumps(facts, indent=2, ensure_ascii=False))
        return 1 if found is None or through else 0
    about = host()
    print(f"host        {about['kernel']}, user {about['user']}, Landlock ABI {about['landlock_abi'] or 'none'}"
          + (", in a container" if about["container"] else ""))  # fmt: skip
    if found is None:
        print(f"tier        none: {problem}")
        print("no untrusted program is run here: evaluation by execution and pickles are refused", file=sys.stderr)
        return 1
    weaker = f", the weaker of {len(TIERS)}" if found.tier == TIERS[-1] else ""
    print(f"tier        {found.tier}{weaker}")
    for layer in explained(found, given.tier):
        print(f"  {'on' if layer.on else 'off':<4}{layer.name:<12}{layer.why}")
    for note in found.notes:
        print(f"  note: {note}")
    print("attacks     run now, on this machine")
    for attack in attacks:
        print(f"  {'blocked' if attack.blocked else 'NOT blocked':<12}{attack.what:<32}{attack.seen}")
    print("languages")
    for row in table:
        print(f"  {row}")
    if through:
        print(
            f"{len(through)} of {len(attacks)} attacks got through; please report this machine's first line",
            file=sys.stderr,
        )
    return 1 if through else 0
