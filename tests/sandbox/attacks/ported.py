"""Twenty attacks in other languages: one text for each language in `ports/`, which takes the attack's name as its argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.attacks.hostile import LIMITS, Attack
from starloom.sandbox import Command, Limits, languages

PORTS = Path(__file__).parent / "ports"
STOPPED = ("timed_out", "out_of_cpu", "signaled", "out_of_memory")
FLOOD: dict[str, Any] = {"wall_s": 4.0, "cpu_s": 1.5}
DEAF: dict[str, Any] = {"wall_s": 2.5, "cpu_s": 1.5}
ENOUGH: dict[str, Any] = {"wall_s": 60.0, "cpu_s": 20.0}  # a JVM on a busy core starts slowly
# name → property, statuses that are no harm, limits, what it must have said
PORTED: dict[str, tuple[str, tuple[str, ...], dict[str, Any], str]] = {
    "fork_bomb": ("Processes without end.", (*STOPPED, "exited"), FLOOD, ""),
    "thread_bomb": ("Threads without end.", (*STOPPED, "exited", "too_much_output"), FLOOD, ""),
    "memory": ("Memory without end.", (*STOPPED, "exited"), ENOUGH, ""),
    "output_without_end": ("Standard output without end.", ("too_much_output",), ENOUGH, ""),
    "errors_without_end": ("Standard error without end.", ("too_much_output",), ENOUGH, ""),
    "cpu_spin": ("A loop, with every signal ignored that may be.", STOPPED, FLOOD, ""),
    "deaf_sleep": ("Sleep that SIGTERM does not end.", STOPPED, DEAF, ""),
    "daemon": ("A process that stays behind.", (*STOPPED, "exited"), ENOUGH, "refused:"),
    "scratch_filled": ("The scratch folder filled.", (*STOPPED, "exited"), ENOUGH, ""),
    "empty_files": ("Inodes used up.", (*STOPPED, "exited"), ENOUGH, ""),
    "huge_file": ("One file without end.", (*STOPPED, "exited"), ENOUGH, ""),
    "open_files": ("Descriptors used up.", ("exited", "signaled"), ENOUGH, ""),
    "reads_files": ("The caller's and the host's secrets.", ("exited",), ENOUGH, "refused:"),
    "writes_files": ("The caller's file changed or removed.", ("exited",), ENOUGH, "refused:"),
    "reads_environments": ("Environment and arguments of other processes.", ("exited",), ENOUGH, "refused:"),
    "kills_the_caller": ("Signals to the caller's processes.", ("exited",), ENOUGH, "refused:"),
    "calls_the_caller": ("The caller's listener on TCP.", ("exited",), ENOUGH, "refused:"),
    "listens": ("A port that others could call.", ("exited",), ENOUGH, "refused:"),
    "runs_unshare": ("Namespaces and mounts of its own.", ("exited",), ENOUGH, "refused:"),
    "links_out": ("Links from scratch to the caller's file.", ("exited",), ENOUGH, "refused:"),
}
TEXTS = {  # language → its text in ports/
    "C": "attacks.c",
    "C++": "attacks.c",
    "Go": "attacks.go",
    "Java": "Main.java",
    "JavaScript": "attacks.js",
    "PHP": "attacks.php",
    "Perl": "attacks.pl",
    "Ruby": "attacks.rb",
    "Shell": "attacks.sh",
}
LACKING = {"PHP": {"thread_bomb"}, "Perl": {"thread_bomb"}, "Shell": {"thread_bomb", "listens"}}  # cannot do it
STARTS = {"Java": 2 << 30, "JavaScript": 512 << 20, "Go": 512 << 20}  # bytes that a run time may take for itself


@dataclass(frozen=True, slots=True)
class Port:
    """One attack in one language."""

    language: str
    attack: Attack


def ports(language: str) -> list[Port]:
    """Every attack that a language can do."""
    own = languages.language(language).limits
    found = []
    for name, (about, ends, limits, says) in PORTED.items():
        if name in LACKING.get(language, ()):
            continue
        changed = {
            **LIMITS,
            **limits,
            "address_space": own.address_space,
            "memory_bytes": STARTS.get(language, 256 << 20),
        }
        if not own.address_space:
            changed["processes"] = 64  # threads of the run time
        else:
            changed["cpu_s"] = min(changed["cpu_s"], 0.5) if limits is FLOOD else changed["cpu_s"]
        if language in ("C", "C++", "Perl", "Ruby", "PHP", "Shell"):
            changed["processes"] = 24
        found.append(Port(language, Attack(f"{language}: {name}", "ports", about, name, (), ends, changed, says=says)))
    return found


def built(sandbox: Any, language: str) -> Mapping[str, bytes]:
    """The files that running a language's text needs: itself, or what compiling it in the sandbox left."""
    found = languages.toolchain(language)
    assert found is not None
    entry = found.language
    files = {entry.file: (PORTS / TEXTS[language]).read_bytes()}
    if not entry.compile:
        return files
    done = sandbox.run(
        Command(found.argv(entry.compile), files, env=entry.env, limits=entry.compile_limits, keep=entry.keep)
    )
    assert done.ok, (language, done.status, done.detail, done.stderr[-2000:])
    kept: dict[str, bytes] = done.files
    return kept


def command(port: Port, files: Mapping[str, bytes], facts: Mapping[str, object]) -> Command:
    found = languages.toolchain(port.language)
    assert found is not None
    told = {
        "SECRET_FILE": "secret_file",
        "CANARY_FILE": "canary_file",
        "CALLER": "caller_pid",
        "SENTINEL": "sentinel_pid",
        "PORT": "tcp_port",
    }
    env = {**found.language.env, **{f"BAIT_{name}": str(facts[fact]) for name, fact in told.items()}}
    executable = tuple(files) if found.language.compile else ()
    argv = (*found.argv(found.language.run), port.attack.body)
    return Command(argv, files, env=env, limits=Limits(**port.attack.limits), executable=executable)
