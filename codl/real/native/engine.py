"""What the threads of a native queue do: go through lists of commands together, without Python.

A thread reads the addresses of lists from a pipe, where it sleeps while there is none. It never takes Python's lock, so
it begins at once, whatever the thread that wrote to the pipe goes on with.

Threads claim the work-items of a command one by one, so a core that is slower, or comes late, computes less. No thread
waits for another one that has not begun: all items that it waits for are claimed by threads that are computing them.
A thread that waits looks at a word in memory; once that has taken long it sleeps, so that whoever it waits for can have
its core. Whoever completes a command wakes those that sleep, if there are any.

A list is a row of `LIST` integers: addresses of its commands, of the words that they wait for, of counters and events,
how many commands there are, and how many threads have left it. A command is a row of `COMMAND` integers: address of the
kernel (0: nothing to compute), of its slots, three extents, the number of event words to wait for, and where their
addresses begin among those of the list. It has a line of `COUNTERS` integers (items claimed, items done) and an event
of `EVENT` integers (status, start, end).
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from codl.ops.native import cache  # noqa: F401  # says where compiled code is kept, before anything is compiled

LIST, COMMAND, COUNTERS, EVENT = 6, 7, 16, 8
"""64-bit integers of each; counters and events have cache lines of their own."""
LENGTH, LEFT = 4, 5
HOUSE, STOP, SLEEPERS, NAP = 4, 0, 1, 2
"""Words that the threads of a queue share: once STOP is not 0 nothing is waited for any more; the address of the number
of threads of all queues that sleep; and how long they sleep at most, as a `timespec` of two words."""
STATUS, START, END = 0, 1, 2
CLAIMED, DONE = 0, 8
KERNEL, SLOTS, EXTENTS, WAITS, FIRST_WAIT = 0, 1, 2, 5, 6
COMPLETE = 1
_LOOKS = 20_000
"""So often a thread looks before it sleeps: some ten microseconds, about what waking it takes."""
_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine(), -1) if sys.platform == "linux" else -1
"""Number of the system call by which Linux puts threads to sleep at a word; -1: they only give way."""
_FUTEX_WAIT, _FUTEX_WAKE, _EVERYBODY = 128, 129, 1 << 30  # of this process only
_CLOCK = getattr(time, "CLOCK_MONOTONIC_RAW", time.CLOCK_MONOTONIC)
_LONG, _INT = ir.IntType(64), ir.IntType(32)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True}

Builder = Callable[[Any, ir.IRBuilder, Any, Any], ir.Value]


@intrinsic
def _call(typingctx: Any, kernel: Any, slots: Any, i: Any, j: Any, k: Any) -> tuple[Any, Builder]:
    """Call a kernel for one work-item."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = ir.FunctionType(ir.VoidType(), [_LONG] * 4).as_pointer()
        builder.call(builder.inttoptr(args[0], function), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def _add(typingctx: Any, address: Any, amount: Any) -> tuple[Any, Builder]:
    """Add to a word that others change; what it held before."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        where = builder.inttoptr(args[0], _LONG.as_pointer())
        return builder.atomic_rmw("add", where, args[1], "acq_rel")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _word(typingctx: Any, address: Any, index: Any) -> tuple[Any, Builder]:
    """The n-th word from an address."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load(builder.gep(builder.inttoptr(args[0], _LONG.as_pointer()), [args[1]]))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _look(typingctx: Any, address: Any) -> tuple[Any, Builder]:
    """Read a word that another thread writes when it is done; what that one wrote before is seen from here on."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        return builder.load_atomic(builder.inttoptr(args[0], _LONG.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _exchange(typingctx: Any, address: Any, value: Any) -> tuple[Any, Builder]:
    """Write a word that others look at, before anything that follows; what it held."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        where = builder.inttoptr(args[0], _LONG.as_pointer())
        return builder.atomic_rmw("xchg", where, args[1], "seq_cst")

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _publish(typingctx: Any, address: Any, value: Any) -> tuple[Any, Builder]:
    """Write a word that others look at."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        builder.store_atomic(args[1], builder.inttoptr(args[0], _LONG.as_pointer()), "release", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _now(typingctx: Any) -> tuple[Any, Builder]:
    """The host's clock (`codl.real.clock.host_ns`), ns."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        pair = cgutils.alloca_once(builder, ir.ArrayType(_LONG, 2))
        kind = ir.FunctionType(_INT, [_INT, _LONG.as_pointer()])
        function = cgutils.get_or_insert_function(builder.module, kind, "clock_gettime")
        first = builder.bitcast(pair, _LONG.as_pointer())
        builder.call(function, [ir.Constant(_INT, _CLOCK), first])
        seconds = builder.load(first)
        rest = builder.load(builder.gep(first, [ir.Constant(_LONG, 1)]))
        return builder.add(builder.mul(seconds, ir.Constant(_LONG, 10**9)), rest)

    return types.int64(), generate


def _system(name: str, result: ir.Type, *takes: ir.Type) -> Any:
    """A function of the C library, of integers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, takes), name)
        cast = [builder.trunc(value, kind) if kind is _INT else value for value, kind in zip(args, takes, strict=True)]
        found = builder.call(function, cast)
        return builder.sext(found, _LONG) if result is _INT else found

    signature = types.int64(*[types.int64] * len(takes))
    if not takes:
        return intrinsic(lambda typingctx: (signature, generate))
    if len(takes) == 1:
        return intrinsic(lambda typingctx, a: (signature, generate))
    return intrinsic(lambda typingctx, a, b, c: (signature, generate))


@intrinsic
def _futex(typingctx: Any, address: Any, operation: Any, value: Any, timeout: Any) -> tuple[Any, Builder]:
    """Linux' futex(2): sleep while the lower half of the word at `address` is `value`, or wake so many sleepers."""

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
        kind = ir.FunctionType(_LONG, [_LONG], var_arg=True)
        function = cgutils.get_or_insert_function(builder.module, kind, "syscall")
        nothing = ir.Constant(_LONG, 0)
        return builder.call(function, [ir.Constant(_LONG, _FUTEX), *args, nothing, nothing])

    return types.int64(*[types.int64] * 4), generate


_give_way = _system("sched_yield", _INT)
_read = _system("read", _LONG, _INT, _LONG, _LONG)
_write = _system("write", _LONG, _INT, _LONG, _LONG)
_close = _system("close", _INT, _INT)


@numba.njit(**_OPTIONS)
def _wait(word: int, house: int) -> bool:
    """Wait until a status word says COMPLETE; False if told to stop."""
    for _ in range(_LOOKS):
        if _look(word) == COMPLETE:
            return True
    sleepers, nap = _word(house, SLEEPERS), house + 8 * NAP
    _add(sleepers, 1)
    while _look(word) != COMPLETE and not _look(house + 8 * STOP):
        if _FUTEX < 0:
            _give_way()
        else:
            _futex(word, _FUTEX_WAIT, 0, nap)
    _add(sleepers, -1)
    return bool(_look(word) == COMPLETE)


@numba.njit(**_OPTIONS)
def _complete(word: int, house: int) -> None:
    """Say that a command is complete, and wake who sleeps until then."""
    _exchange(word, COMPLETE)  # not only written: before it is seen nobody may be overlooked who goes to sleep
    if _FUTEX >= 0 and _look(_word(house, SLEEPERS)):
        _futex(word, _FUTEX_WAKE, _EVERYBODY, 0)


@numba.njit(**_OPTIONS)
def _go_through(work: int, house: int) -> None:
    """Compute this thread's part of every command of a list; `house`: as in `serve`."""
    commands, waits, counters, events = _word(work, 0), _word(work, 1), _word(work, 2), _word(work, 3)
    for at in range(_word(work, LENGTH)):
        command = commands + 8 * at * COMMAND
        claimed = counters + 8 * (at * COUNTERS + CLAIMED)
        done = counters + 8 * (at * COUNTERS + DONE)
        status = events + 8 * (at * EVENT + STATUS)
        for n in range(_word(command, WAITS)):
            if not _wait(_word(waits, _word(command, FIRST_WAIT) + n), house):
                return
        kernel, slots, along = _word(command, KERNEL), _word(command, SLOTS), _word(command, EXTENTS)
        rows = along * _word(command, EXTENTS + 1)
        total = rows * _word(command, EXTENTS + 2)
        mine = 0
        item = _add(claimed, 1)
        if item == 0:
            _publish(status + 8 * START, _now())
        while item < total:
            if kernel:
                _call(kernel, slots, item % along, item // along % (rows // along), item // rows)
            mine += 1
            item = _add(claimed, 1)
        if mine and _add(done, mine) + mine == total:
            _publish(status + 8 * END, _now())
            _complete(status, house)
        elif not _wait(status, house):
            return


@numba.njit(**_OPTIONS)
def serve(inbox: int, done: int, letter: int, house: int) -> None:
    """What a thread does all its life: read addresses of lists, go through them, until an address is 0.

    Args:
        inbox: file descriptor of the pipe from which 8 bytes a list are read.
        done: file descriptor of the pipe to which the same 8 bytes are written afterwards; -1: somebody else does.
        letter: address of 8 bytes for them.
        house: address of the queue's `HOUSE` words.
    """
    while _read(inbox, letter, 8) == 8 and _word(letter, 0) != 0:
        work = _word(letter, 0)
        _go_through(work, house)
        _add(work + 8 * LEFT, 1)
        if done >= 0:
            _write(done, letter, 8)
    _close(inbox)
    if done >= 0:
        _close(done)
