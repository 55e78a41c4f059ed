"""The filter over system calls: `policy.py` compiled to BPF, loaded by the process that becomes the program."""

from __future__ import annotations

import ctypes
import errno
import struct

from starloom.sandbox import kernel
from starloom.sandbox.policy import Answer, If, answers
from starloom.sandbox.syscalls import numbers

LOAD, MASK, JUMP, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x06  # linux/bpf_common.h
KILL_PROCESS, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000  # linux/seccomp.h
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
X32 = 0x40000000  # numbers from here on are the x32 ABI
Instruction = tuple[int, int, int, int]


def filter_for(tier: str, abi: int, process: int | None, machine: str = kernel.MACHINE) -> bytes:
    """The program for one tier, as the kernel takes it."""
    table = numbers(machine)
    named = {table[name]: answer for name, answer in answers(tier, abi, process).items() if name in table}
    ranges: list[tuple[int, Answer]] = []
    for number in range(max(named) + 2):
        answer = named.get(number, errno.ENOSYS)
        if not ranges or ranges[-1][1] != answer or isinstance(answer, If):
            ranges.append((number, answer))
    program: list[Instruction] = [
        (LOAD, 0, 0, 4),  # the architecture
        (EQUAL, 1, 0, ARCHITECTURE[machine]),
        (RETURN, 0, 0, KILL_PROCESS),
        (LOAD, 0, 0, 0),  # the system call's number
    ]
    if machine == "x86_64":
        program += [(AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL_PROCESS)]
    program += _search(ranges)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)


def _search(ranges: list[tuple[int, Answer]]) -> list[Instruction]:
    """A binary search for the range that the number is in."""
    if len(ranges) == 1:
        return _answer(ranges[0][1])
    middle = len(ranges) // 2
    low, high = _search(ranges[:middle]), _search(ranges[middle:])
    return [(AT_LEAST, 0, 1, ranges[middle][0]), (JUMP, 0, 0, len(low)), *low, *high]


def _answer(answer: Answer) -> list[Instruction]:
    if answer is None:
        return [(RETURN, 0, 0, ALLOW)]
    if isinstance(answer, int):
        return [(RETURN, 0, 0, ERRNO | answer)]
    then, otherwise = _answer(answer.then), _answer(answer.otherwise)
    asked: list[Instruction] = [(LOAD, 0, 0, 16 + 8 * answer.argument), (MASK, 0, 0, answer.mask)]
    for place, value in enumerate(answer.values):
        asked.append((EQUAL, len(answer.values) - place + len(otherwise) - 1, 0, value))
    return [*asked, *otherwise, *then]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Filter:
    """A filter as the kernel takes it, made ready before the fork."""

    def __init__(self, program: bytes) -> None:
        self._buffer = ctypes.create_string_buffer(program, len(program))
        self._described = _Program(len(program) // 8, ctypes.cast(self._buffer, ctypes.c_void_p))
        self._reference = ctypes.byref(self._described)

    def load(self) -> None:
        """From here on this process and all that come of it are filtered; needs no_new_privs."""
        kernel.prctl(kernel.PR_SET_SECCOMP, kernel.SECCOMP_MODE_FILTER, self._reference)
