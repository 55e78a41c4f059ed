"""The filter over system calls says what the policy says: the BPF is run by an interpreter of its own."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starloom.sandbox.policy import ALLOW, REFUSE, Answer, If, answers
from starloom.sandbox.seccomp import ALLOW as ALLOWED
from starloom.sandbox.seccomp import ARCHITECTURE, ERRNO, KILL_PROCESS, filter_for
from starloom.sandbox.syscalls import numbers

KINDS = [("namespaces", 0, None), ("landlock", 7, None), ("landlock", 5, 4321), ("landlock", 1, 4321)]
MACHINES = ["x86_64", "aarch64"]


def verdict(program: bytes, architecture: int, number: int, arguments: tuple[int, ...]) -> int:
    """What classic BPF returns for a call (linux/filter.h): the five instructions that our filters use."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *(value & (1 << 64) - 1 for value in arguments))
    steps = [struct.unpack_from("<HBBI", program, place) for place in range(0, len(program), 8)]
    place = held = 0
    while True:
        code, if_true, if_false, value = steps[place]
        place += 1
        if code == 0x20:
            held = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            held &= value
        elif code == 0x05:
            place += value
        elif code == 0x15:
            place += if_true if held == value else if_false
        elif code == 0x35:
            place += if_true if held >= value else if_false
        else:
            assert code == 0x06
            return int(value)


def expected(answer: Answer, arguments: tuple[int, ...]) -> int:
    while isinstance(answer, If):
        held = arguments[answer.argument] & answer.mask & 0xFFFFFFFF
        answer = answer.then if held in answer.values else answer.otherwise
    return ALLOWED if answer is None else ERRNO | answer


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(data=st.data())
def test_the_filter_answers_every_call_as_the_policy_does(
    machine: str, kind: tuple[str, int, int | None], data: st.DataObject
) -> None:
    program, policy, table = filter_for(*kind, machine), answers(*kind), numbers(machine)
    assert len(program) // 8 < 4096  # BPF_MAXINSNS
    drawn = tuple(data.draw(st.integers(0, 6) | st.integers(0, (1 << 64) - 1)) for _ in range(6))
    for arguments in (drawn, (0x10000000, 0, 0, 0, 0, 0), (16, 1, 0, 0, 0, 0), (1, 0o1000, 0o60666, 0, 0, 0)):
        for name, number in table.items():
            assert verdict(program, ARCHITECTURE[machine], number, arguments) == expected(policy[name], arguments), name


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_call_without_a_name_does_not_exist(machine: str, kind: tuple[str, int, int | None]) -> None:
    program, known = filter_for(*kind, machine), set(numbers(machine).values())
    for number in {*range(1200), 0x3FFFFFFF} - known:
        assert verdict(program, ARCHITECTURE[machine], number, (0,) * 6) == ERRNO | errno.ENOSYS


@pytest.mark.parametrize("machine", MACHINES)
def test_another_machine_and_x32_are_killed(machine: str) -> None:
    program = filter_for("namespaces", 0, None, machine)
    for architecture in (0x40000003, 0x40000028, 0, *(set(ARCHITECTURE.values()) - {ARCHITECTURE[machine]})):
        assert verdict(program, architecture, 0, (0,) * 6) == KILL_PROCESS
    if machine == "x86_64":
        assert verdict(program, ARCHITECTURE[machine], 0x40000000 + 1, (0,) * 6) == KILL_PROCESS


def test_no_call_is_both_allowed_and_refused_and_each_has_a_number() -> None:
    assert not set(ALLOW) & set(REFUSE)
    table = numbers("x86_64") | numbers("aarch64")
    assert set(answers("landlock", 1, 1)) | set(answers("namespaces", 0, None)) == set(table)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["ptrace", "process_vm_writev", "mount", "unshare", "setns", "pivot_root", "chroot", "bpf", "perf_event_open",
     "userfaultfd", "memfd_create", "open_by_handle_at", "pidfd_getfd", "setuid", "chown", "init_module", "seccomp"],
)  # fmt: skip
def test_what_escapes_were_made_of_is_refused(kind: tuple[str, int, int | None], name: str) -> None:
    assert answers(*kind)[name] == errno.EPERM


@pytest.mark.parametrize(
    "name",
    [
        "clone3",
        "io_uring_setup",
        "keyctl",
        "add_key",
        "shmget",
        "msgget",
        "semget",
        "mq_open",
        "landlock_create_ruleset",
    ],
)
def test_what_no_program_needs_does_not_exist(name: str) -> None:
    assert name not in numbers("x86_64")
