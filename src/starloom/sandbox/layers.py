"""Which protections this machine offers to this user, and which of them are active."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Layers:
    """What stands between an untrusted program and the host."""

    tier: str
    namespaces: bool
    seccomp: bool
    landlock: int  # ABI; 0: not used
    rlimits: bool
    cgroup: bool

    def describe(self) -> str:
        return f"{self.tier} tier"

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def layers(tier: Literal["auto", "namespaces", "landlock"] = "auto") -> Layers:
    return Layers("namespaces", True, False, 0, True, False)
