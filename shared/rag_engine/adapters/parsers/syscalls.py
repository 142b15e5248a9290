"""Forbids, on Linux, the system calls that open network sockets and start programs.

Unlike a network namespace it needs no privilege, and unlike an audit hook it binds native code.
"""

from __future__ import annotations

import ctypes
import errno
import platform
from dataclasses import dataclass

_NO_NEW_PRIVILEGES = 38
_SET_SECCOMP = 22
_FILTER = 2
_ALLOW = 0x7FFF0000
_DENY = 0x00050000 | errno.EACCES
_UNIX_SOCKETS = 1
# Offsets into what the filter is shown, and the three instructions it is made of.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06


@dataclass(frozen=True, slots=True, kw_only=True)
class _Calls:
    """The kernel's number of an architecture and its numbers of system calls."""

    architecture: int
    socket: int
    execve: int
    execveat: int


_KNOWN = {
    "x86_64": _Calls(architecture=0xC000003E, socket=41, execve=59, execveat=322),
    "aarch64": _Calls(architecture=0xC00000B7, socket=198, execve=221, execveat=281),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("if_true", ctypes.c_uint8),
        ("if_false", ctypes.c_uint8),
        ("value", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def forbid() -> bool:
    """Forbid them to this process for good; `False` where the kernel or the processor is another.

    Threads that run already are not bound, so call it before any is started.
    """
    calls = _KNOWN.get(platform.machine())
    if calls is None:
        return False
    steps = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_IF_EQUAL, 0, 4, calls.architecture),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_IF_EQUAL, 3, 0, calls.socket),
        (_JUMP_IF_EQUAL, 5, 0, calls.execve),
        (_JUMP_IF_EQUAL, 4, 0, calls.execveat),
        (_RETURN, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_IF_EQUAL, 0, 1, _UNIX_SOCKETS),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _DENY),
    )
    instructions = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    program = _Program(len(steps), ctypes.cast(instructions, ctypes.POINTER(_Instruction)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        return False
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, ctypes.byref(program), 0, 0) == 0)
