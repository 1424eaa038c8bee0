"""Locks in odd places: what a program sees of them is the same under ``conctrace run`` as without it.

Each program below runs bare and recorded, and must write the same to stdout and stderr and end with the same status; its trace
must hold together. `normal` evens out what differs from one bare run to the next: addresses, pids, thread idents.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from conctrace.model.builder import build
from conctrace.model.validate import problems
from conctrace.tracefile.reader import read
from tests.support.readback import TRUTH_MODULE

if TYPE_CHECKING:
    from conctrace.model.trace import Trace
    from tests.support.run import Result, Runner

#: What the programs have in common.
ODD_MODULE = '''
"""Says what came of a call: its result, or its exception's type and text."""

import os, signal, sys, threading, time
from truth import until_blocked

def say(*words):
    os.write(1, (" ".join(str(word) for word in words) + "\\n").encode())

def show(what, function, *args, **kwargs):
    try:
        result = repr(function(*args, **kwargs))
    except BaseException as error:
        result = f"{type(error).__name__}: {error}"
    say(what, "->", result)

def in_thread(function, *args, daemon=None):
    thread = threading.Thread(target=function, args=args, daemon=daemon)
    thread.start()
    return thread

def in_child(function):
    """Runs the function in a forked child; what it ended with."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException as error:
            say("child:", type(error).__name__, error)
            os._exit(99)
        os._exit(5)
    say("child ended with", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
'''

PROGRAMS = {
    "in a signal handler": """
lock, rlock = threading.Lock(), threading.RLock()
calls = 0

def handler(number, frame):
    global calls
    calls += 1
    with lock:
        with rlock:
            rlock.acquire()
            rlock.release()

signal.signal(signal.SIGUSR1, handler)
for _ in range(100):
    signal.raise_signal(signal.SIGUSR1)
    with rlock:
        signal.raise_signal(signal.SIGUSR1)
say(calls, lock.locked(), rlock._is_owned())

def wants_the_same(number, frame):
    show("the same Lock", lock.acquire, False)
    show("the same Lock, waiting", lock.acquire, timeout=0.01)
    show("the same RLock", rlock.acquire, False)
    show("release", rlock.release)

signal.signal(signal.SIGUSR2, wants_the_same)
with lock, rlock:
    signal.raise_signal(signal.SIGUSR2)
""",
    "in a signal handler, at any moment": """
lock, rlock = threading.Lock(), threading.RLock()
calls = taken = 0

def handler(number, frame):
    global calls
    calls += 1
    with lock:
        with rlock:
            rlock.acquire()
            rlock.release()

def once_more(number, frame):
    handler(number, frame)
    # One by one: a second within the first would want what that holds.
    signal.setitimer(signal.ITIMER_REAL, 0.0005)

signal.signal(signal.SIGALRM, once_more)
signal.setitimer(signal.ITIMER_REAL, 0.0005)
with threading.Lock() as other:
    while calls < 200:
        with rlock:
            taken += 1
signal.setitimer(signal.ITIMER_REAL, 0)
say(calls >= 200, taken > 0, lock.locked(), rlock._is_owned())
""",
    "a handler comes while it waits": """
lock, rlock, inner = threading.Lock(), threading.RLock(), threading.Lock()
handled, held = threading.Event(), threading.Event()

def handler(number, frame):
    with inner:
        say("handler")
    handled.set()

signal.signal(signal.SIGUSR1, handler)

def holder(lock):
    with lock:
        held.set()
        until_blocked(MAIN)
        os.kill(os.getpid(), signal.SIGUSR1)
        handled.wait()
        until_blocked(MAIN)

MAIN = threading.main_thread()
for lock in (lock, rlock):
    for arguments in ({}, {"timeout": 20}, None):
        handled.clear(), held.clear()
        thread = in_thread(holder, lock)
        held.wait()
        if arguments is None:
            with lock:
                say("with: got")
        else:
            show(arguments, lock.acquire, **arguments)
            lock.release()
        thread.join()
        show("then", lock.acquire, False)
        lock.release()
""",
    "a handler raises out of a wait": """
class Out(Exception):
    pass

def handler(number, frame):
    raise Out("by the handler")

signal.signal(signal.SIGUSR1, handler)
MAIN = threading.main_thread()

def holder(lock, held, done):
    with lock:
        held.set()
        until_blocked(MAIN)
        os.kill(os.getpid(), signal.SIGUSR1)
        done.wait()

def with_statement(lock):
    with lock:
        say("not got here")

for make in (threading.Lock, threading.RLock):
    for want in (lambda l: l.acquire(), lambda l: l.acquire(timeout=20), lambda l: l.acquire(True, 20), with_statement):
        lock, held, done = make(), threading.Event(), threading.Event()
        thread = in_thread(holder, lock, held, done)
        held.wait()
        show("waits", want, lock)
        show("still taken", lock.acquire, False)
        done.set()
        thread.join()
        show("free", lock.acquire, timeout=20)
        lock.release()
        show("once only", lock.release)

condition = threading.Condition()
def interrupts():
    until_blocked(MAIN)
    os.kill(os.getpid(), signal.SIGUSR1)
with condition:
    thread = in_thread(interrupts)
    show("wait", condition.wait)
    say("owned", condition._is_owned())
thread.join()
""",
    "in __del__": """
import gc
lock, rlock = threading.Lock(), threading.RLock()
deleted = missed = 0

class Guarded:
    def __init__(self):
        self.own = threading.Lock()
        self.me = self
    def __del__(self):
        global deleted, missed
        with rlock, self.own:
            deleted += 1
        if lock.acquire(False):
            lock.release()
        else:
            missed += 1

gc.set_threshold(3, 1, 1)
for _ in range(500):
    with lock:
        Guarded()
        junk = [[] for _ in range(5)]
    lock.acquire()
    Guarded()
    lock.release()
    rlock.acquire()
    [Guarded() for _ in range(2)]
    rlock.release()
    del Guarded().me
gc.set_threshold(700, 10, 10)
gc.collect()
# How many found it taken hangs on when the garbage collector comes.
say(deleted, lock.locked(), rlock._is_owned())
""",
    "the collector runs in the middle of it": """
import gc
locks = [threading.Lock() for _ in range(20)]
counted = 0

def found(phase, info):
    global counted
    counted += 1
    for lock in locks[:3]:
        if lock.acquire(False):
            lock.release()

gc.callbacks.append(found)
gc.set_threshold(1, 1, 1)

def work():
    for number in range(300):
        with locks[number % 20]:
            made = threading.Lock()
            made.acquire()
            made.release()

for thread in [in_thread(work) for _ in range(3)]:
    thread.join()
gc.set_threshold(0)
gc.callbacks.clear()
say(counted > 0, [lock.locked() for lock in locks].count(True))
""",
    "at the end of the interpreter": """
class Last:
    def __init__(self, name):
        self.name, self.lock, self.rlock = name, threading.Lock(), threading.RLock()
    def __del__(self, say=say, lock=threading.Lock, os=os):
        with self.lock, self.rlock, lock() as fresh:
            say(self.name, "deleted")
        try:
            self.lock.release()
        except RuntimeError as error:
            say(error)

one = Last("global")
import sys
sys.kept = Last("in sys")
threading.kept = Last("in threading")
held = threading.Lock()
held.acquire()

def holds():
    with mine:
        ready.set()
        threading.Event().wait()

def waits(lock):
    lock.acquire()
    say("not got here")

mine, ready = threading.Lock(), threading.Event()
in_thread(holds, daemon=True)
ready.wait()
waiting = [in_thread(waits, lock, daemon=True) for lock in (mine, held)]
for thread in waiting:
    until_blocked(thread)
say("main is over")
sys.exit(4)
""",
    "daemon threads take locks to the end": """
lock, rlock = threading.Lock(), threading.RLock()
started = [threading.Event() for _ in range(4)]

def work(event):
    with lock:
        event.set()
    while True:
        with lock, rlock:
            pass
        if lock.acquire(timeout=0.001):
            lock.release()

for event in started:
    in_thread(work, event, daemon=True)
for event in started:
    event.wait()
say("main is over")
sys.exit(3)
""",
    "in atexit": """
import atexit
lock, rlock, condition = threading.Lock(), threading.RLock(), threading.Condition()

def at_end(what):
    with lock, rlock:
        say(what)
    with condition:
        show("wait", condition.wait, 0.01)
    show("release", lock.release)
    made = threading.Lock()
    show("made", made.acquire)
    show("again", made.acquire, timeout=0.01)

def starts():
    thread = threading.Thread(target=with_lock)
    try:
        thread.start()
    except RuntimeError as error:
        say(error)
    else:
        thread.join()

def with_lock():
    with lock:
        say("thread in atexit")

def raises():
    with lock:
        raise ValueError("in atexit")

atexit.register(at_end, "first registered")
atexit.register(starts)
atexit.register(show, "raises", raises)
atexit.register(at_end, "last registered")
lock.acquire()
lock.release()
threading._register_atexit(lambda: say("threading's own", lock.acquire(False), lock.release()))
""",
    "inside Condition": """
for lock in (threading.Lock(), threading.RLock(), None):
    condition = threading.Condition(lock)
    say(re.sub("owner=[0-9]+", "owner=N", repr(condition)))
    show("wait without it", condition.wait, 0.01)
    show("notify without it", condition.notify)
    with condition:
        show("wait", condition.wait, 0.01)
        show("wait 0", condition.wait, 0)
        show("wait_for", condition.wait_for, lambda: False, 0.01)
        show("wait_for that is so", condition.wait_for, lambda: 5)
        show("notify nobody", condition.notify, 3)
        say(condition._is_owned())
    say(condition._is_owned())
    queue, got = [], []
    def consumer():
        with condition:
            while len(got) < 50:
                condition.wait_for(lambda: queue or len(got) >= 50, 20)
                if queue:
                    got.append(queue.pop())
                    condition.notify_all()
    threads = [in_thread(consumer) for _ in range(3)]
    for number in range(50):
        with condition:
            queue.append(number)
            condition.notify()
            while queue:
                condition.wait(20)
    with condition:
        condition.notify_all()
    for thread in threads:
        thread.join()
    say(sorted(got) == list(range(50)))

rlock = threading.RLock()
condition = threading.Condition(rlock)
def notifies():
    with rlock, rlock:
        condition.notify_all()
for depth in (1, 2, 5):
    for _ in range(depth):
        rlock.acquire()
    thread = in_thread(notifies)
    show("wait", condition.wait, 20)
    thread.join()
    for _ in range(depth):
        rlock.release()
    show("one more", rlock.release)

rlock.acquire(), rlock.acquire()
saved = rlock._release_save()
say(saved[0], rlock._is_owned())
show("taken meanwhile", lambda: [rlock.acquire(), rlock.release()])
rlock._acquire_restore(saved)
say(rlock._is_owned())
rlock.release(), rlock.release()
show("not owned", rlock._release_save)
""",
    "held by another thread across a fork": """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of a fork with threads
locks = {"Lock": threading.Lock(), "RLock": threading.RLock()}
held, done = threading.Event(), threading.Event()

def holder():
    with locks["Lock"], locks["RLock"]:
        held.set()
        done.wait()

thread = in_thread(holder)
held.wait()

def as_it_is():
    for name, lock in locks.items():
        show(name, lock.acquire, False)
        show(name + " waiting", lock.acquire, timeout=0.02)
    show("Lock is anybody's", locks["Lock"].release)
    show("so it is free", locks["Lock"].acquire, timeout=1)
    show("RLock is not", locks["RLock"].release)

def reinit():
    for name, lock in locks.items():
        show(name + " new", lock._at_fork_reinit)
        show(name + " got", lock.acquire, False)
        show(name + " again", lock.acquire, False)
        show(name + " released", lock.release)
        with lock if name == "RLock" else threading.Lock():
            pass
    other = in_thread(lambda: show("of a thread", locks["Lock"].acquire, timeout=0.02))
    other.join()

def in_turn():
    as_it_is()
    in_child(reinit)

for what in (as_it_is, reinit, in_turn):
    in_child(what)
show("parent", locks["Lock"].acquire, timeout=0.02)
done.set()
thread.join()
show("parent later", locks["Lock"].acquire, timeout=20)

guard = threading.Lock()
other = threading.RLock()
os.register_at_fork(before=guard.acquire, after_in_parent=guard.release, after_in_child=guard.release)
os.register_at_fork(before=other.acquire, after_in_parent=other.release, after_in_child=other._at_fork_reinit)
in_child(lambda: show("guard", lambda: [guard.acquire(False), other.acquire(False)]))
say(guard.locked(), other._is_owned())
""",
    "released by another thread": """
lock = threading.Lock()
for _ in range(3):
    lock.acquire()
    in_thread(lock.release).join()
    say(lock.locked())
lock.acquire()
waiting = in_thread(lock.acquire)
until_blocked(waiting)
in_thread(lock.release).join()
waiting.join()
say("taken by a thread that is gone:", lock.locked())
show("release", lock.release)
rlock = threading.RLock()
rlock.acquire()
in_thread(show, "RLock of another", rlock.release).join()
in_thread(lambda: show("RLock's save of another", lambda: rlock._release_save()[0])).join()
show("its own", rlock.release)
show("once more", rlock.release)
in_thread(rlock.acquire).join()
show("owner is gone", rlock.acquire, timeout=0.01)
show("owner is gone", rlock.release)
""",
    "released out of order": """
locks = [threading.Lock() for _ in range(40)]
for order in (range(40), reversed(range(40)), [n * 7 % 40 for n in range(40)]):
    for lock in locks:
        lock.acquire()
    for number in order:
        locks[number].release()
    say([lock.locked() for lock in locks].count(True))
rlocks = [threading.RLock() for _ in range(5)]
for rlock in rlocks * 2:
    rlock.acquire()
for rlock in rlocks * 2:
    rlock.release()
say([rlock._is_owned() for rlock in rlocks])
for lock in locks:
    lock.acquire()
""",
    "released twice": """
for lock in (threading.Lock(), threading.RLock()):
    show("never taken", lock.release)
    lock.acquire()
    show("once", lock.release)
    show("twice", lock.release)
    show("by with", lock.__exit__, None, None, None)
    def inside():
        with lock:
            lock.release()
    show("inside with", inside)
    show("usable", lock.acquire, False)
    lock.release()
threading.Lock().release()
""",
    "wrong arguments": """
class Index:
    def __index__(self): return 1
class Bad:
    def __bool__(self): raise KeyError("bool")
    def __float__(self): raise KeyError("float")
    def __index__(self): raise KeyError("index")
import fractions
infinite, nan = float("inf"), float("nan")
values = [True, False, 0, 1, -1, 2**31, -(2**31), 2**70, 0.0, 0.001, -0.5, -1.0, 1e300, infinite, -infinite, nan, None, "", "x", b"",
          [], (), {}, Index(), Bad(), fractions.Fraction(1, 1000)]
def name(value):
    return value if isinstance(value, (int, float, str, type(None), bytes, list, tuple, dict)) else type(value).__name__
for make in (threading.Lock, threading.RLock):
    for taken in (False, True):
        calls = [((), {}), ((True, 0.001, 1), {}), ((), {"what": 1}), ((), {"wait": True}), ((True,), {"blocking": True})]
        calls += [((value,), {}) for value in values]
        calls += [((), {"blocking": value}) for value in values]
        calls += [((), {"timeout": value}) for value in values]
        calls += [((blocking, value), {}) for value in values for blocking in (True, False, 1, 0)]
        calls += [((), {"blocking": False, "timeout": value}) for value in values]
        for args, kwargs in calls:
            lock = make()
            holder = None
            if taken:
                go, end = threading.Event(), threading.Event()
                def hold(lock=lock):
                    with lock:
                        go.set()
                        end.wait()
                # One that would wait for ever is not asked for.
                blocking = args[0] if args else kwargs.get("blocking", True)
                timeout = args[1] if len(args) > 1 else kwargs.get("timeout", -1)
                if blocking is not False and isinstance(timeout, (int, float)) and (timeout == -1 or 1 < timeout < threading.TIMEOUT_MAX):
                    continue
                holder = in_thread(hold)
                go.wait()
            show(f"{make.__name__} taken={taken} {tuple(map(name, args))} { {k: name(v) for k, v in kwargs.items()} }",
                 lock.acquire, *args, **kwargs)
            if holder is not None:
                end.set()
                holder.join()
    lock = make()
    for method in ("release", "locked", "_is_owned", "_at_fork_reinit", "__enter__", "_release_save", "_recursion_count"):
        if hasattr(lock, method):
            show(method, getattr(lock, method), 1)
            show(method, getattr(lock, method), what=1)
    show("__exit__", lock.__exit__, 1, 2, 3, 4)
    show("make", make, 1)
    show("make", make, what=1)
""",
    "near the recursion limit": """
sys.setrecursionlimit(300)
lock, rlock = threading.Lock(), threading.RLock()

def deeper(use):
    use()
    deeper(use)

def with_lock():
    with lock:
        pass

def plainly():
    if lock.acquire():
        lock.release()

def with_rlock():
    with rlock:
        pass

def deeper_in_rlock():
    with rlock:
        deeper_in_rlock()

for use in (with_lock, plainly, with_rlock):
    for _ in range(3):
        try:
            deeper(use)
        except RecursionError:
            say(use.__name__, "too deep", lock.locked(), rlock._is_owned())
try:
    deeper_in_rlock()
except RecursionError:
    say("too deep", rlock._is_owned())
show("free", lock.acquire, False)
show("free", rlock.acquire, False)
rlock.release()
in_thread(lambda: show("for others too", rlock.acquire, False)).join()
""",
    "made near the recursion limit": """
sys.setrecursionlimit(300)

def deeper(make):
    with make():
        deeper(make)

for make in (threading.Lock, threading.RLock, threading.Condition):
    for limit in range(300, 330):
        sys.setrecursionlimit(limit)
        try:
            deeper(make)
        except RecursionError:
            pass
    say(make.__name__)
""",
    "subclassed": """
import _thread
class Mine(_thread.RLock):
    def __init__(self, name="mine"):
        self.name = name
    def acquire(self, *args, **kwargs):
        say("acquire", args, kwargs)
        return super().acquire(*args, **kwargs)
    __enter__ = acquire

mine = Mine()
with mine:
    mine.acquire(False)
    mine.release()
    say(mine.name, mine._is_owned())
show("twice", mine.release)
condition = threading.Condition(Mine("of a condition"))
with condition:
    show("wait", condition.wait, 0.01)

def subclass_lock():
    class MyLock(type(threading.Lock())):
        pass
show("Lock", lambda: type("MyLock", (threading.Lock,), {}))
show("isinstance", lambda: [isinstance(threading.RLock(), _thread.RLock), isinstance(threading.Lock(), _thread.LockType)])
show("issubclass", lambda: issubclass(Mine, _thread.RLock))
show("_PyRLock", lambda: threading._PyRLock().acquire())

class Wrapped:
    def __init__(self):
        self._lock = threading.Lock()
    def __getattr__(self, name):
        return getattr(self._lock, name)
wrapped = Wrapped()
show("delegated", lambda: [wrapped.acquire(), wrapped.locked(), wrapped.release()])
show("as Condition's", lambda: threading.Condition(wrapped).notify())
""",
    "subclassed by its type": """
class Mine(type(threading.RLock())):
    pass
mine = Mine()
with mine:
    say(mine._is_owned(), type(mine).__name__)
class MyLock(type(threading.Lock())):
    pass
""",
    "weak references": """
import gc, weakref
for make in (threading.Lock, threading.RLock):
    lock = make()
    reference = weakref.ref(lock, lambda ref: say("gone", ref() is None))
    say(reference() is lock, weakref.getweakrefcount(lock), weakref.ref(lock) is weakref.ref(lock))
    with lock:
        pass
    weak = weakref.WeakSet([lock])
    by_key = weakref.WeakKeyDictionary({lock: 1})
    weakref.finalize(lock, say, "finalized")
    proxy = weakref.proxy(lock)
    with proxy:
        show("proxy", proxy.acquire, False) if make is threading.Lock else None
    say(len(weak), by_key[lock])
    del lock
    gc.collect()
    say(len(weak), len(by_key))
    show("proxy", lambda: proxy.acquire())
    made = [make() for _ in range(100)]
    kept = [weakref.ref(each) for each in made]
    for each in made:
        with each:
            pass
    del made, each
    say([ref() for ref in kept].count(None))
""",
    "pickled and copied": """
import copy, pickle
for lock in (threading.Lock(), threading.RLock()):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        show("pickle", pickle.dumps, lock, protocol)
    show("inside", pickle.dumps, {"lock": [lock]})
    show("copy", copy.copy, lock)
    show("deepcopy", copy.deepcopy, [lock])
    show("reduce_ex", lock.__reduce_ex__, 2)
show("made by", lambda: pickle.loads(pickle.dumps(threading.RLock)) is threading.RLock)
show("made by", lambda: pickle.loads(pickle.dumps(threading.Lock)) is threading.Lock)
""",
    "reduced by hand": """
for lock in (threading.Lock(), threading.RLock()):
    show("reduce", lock.__reduce__)
    if hasattr(object, "__getstate__"):
        show("state", lock.__getstate__)
""",
    "repr and state": """
for make in (threading.Lock, threading.RLock):
    lock = make()
    def state(what):
        say(what, repr(lock), str(lock) == repr(lock) == f"{lock}" == "%r" % lock)
        for method in ("locked", "locked_lock") if make is threading.Lock else ("_is_owned",):
            show(method, getattr(lock, method))
    state("new")
    lock.acquire()
    state("taken")
    in_thread(state, "taken, of another thread").join()
    if make is threading.RLock:
        lock.acquire()
        state("twice")
        lock.release()
    waiting = in_thread(lambda: [lock.acquire(), state("got at last"), lock.release()])
    until_blocked(waiting)
    state("wanted")
    lock.release()
    waiting.join()
    state("free")
    lock.acquire()
    lock._at_fork_reinit()
    state("made new")
""",
    "attributes": """
import types
for make in (threading.Lock, threading.RLock):
    lock = make()
    for name in ("acquire", "release", "acquire_lock", "release_lock", "locked_lock", "_at_fork_reinit", "_is_owned",
                 "_release_save", "_acquire_restore", "__enter__", "__exit__", "__dict__", "nothing"):
        say(name, hasattr(lock, name), callable(getattr(lock, name, None)))
    show("set", setattr, lock, "name", 1)
    show("delete", delattr, lock, "name")
    show("method", setattr, lock, "acquire", 1)
    show("vars", vars, lock)
    show("get", getattr, lock, "nothing")
    say(lock.__class__, type(lock).__name__, type(lock).__qualname__, type(lock).__module__)
    show("call", lambda: lock())
    show("len", lambda: len(lock))
    show("item", lambda: lock[0])
    say([name for name in dir(lock) if not name.startswith("_")])
""",
    "every attribute": """
for make in (threading.Lock, threading.RLock):
    say(sorted(dir(make())), hasattr(make(), "locked"))
    say(type(make()).__doc__)
    say(make().acquire.__doc__)
    say(make().__sizeof__() > 0, type(make().acquire).__name__)
""",
    "its class": """
for make in (threading.Lock, threading.RLock):
    say([name for name in dir(make()) if not hasattr(make(), name)])
    show("class", setattr, make(), "__class__", int)
    show("module", getattr, make(), "__module__")
""",
    "hash and equality": """
for make in (threading.Lock, threading.RLock):
    one, other = make(), make()
    say(one == one, one == other, one != other, one in [other], one in [other, one], len({one, other, one}))
    say(hash(one) == hash(one), hash(one) == object.__hash__(one), {one: 1}[one], bool(one), not one)
    show("order", lambda: one < other)
    show("add", lambda: one + other)
    say(one == "x", one is None)
    with one:
        say({one: 2}[one], hash(one) == object.__hash__(one))
""",
    "in generators and coroutines": """
import asyncio, contextlib
lock, rlock = threading.Lock(), threading.RLock()

def holds(lock):
    with lock:
        say("begun")
        try:
            yield lock._is_owned() if lock is rlock else lock.locked()
        finally:
            say("over")

for each in (lock, rlock):
    generator = holds(each)
    say(next(generator), list(generator))
    generator = holds(each)
    next(generator)
    generator.close()
    generator = holds(each)
    next(generator)
    del generator
    generator = holds(each)
    next(generator)
    show("throw", generator.throw, ValueError("thrown"))
    show("free", each.acquire, False)
    each.release()

generator = holds(lock)
next(generator)
in_thread(generator.close).join()
say("closed by another thread:", lock.locked())
generator = holds(rlock)
next(generator)
in_thread(show, "closed by another thread", generator.close).join()
show("release", rlock.release)

@contextlib.contextmanager
def both():
    with lock, rlock:
        yield

async def takes(number):
    with rlock, (lock if number == 0 else threading.Lock()):
        await asyncio.sleep(0)
        say("coroutine", number)
    with contextlib.suppress(asyncio.CancelledError):
        with threading.Lock():
            await asyncio.sleep(100 if number == 2 else 0)

async def main():
    tasks = [asyncio.create_task(takes(number)) for number in range(3)]
    await asyncio.gather(*tasks[:2])
    tasks[2].cancel()
    await asyncio.gather(*tasks)
    loop = asyncio.get_running_loop()
    say(await loop.run_in_executor(None, lambda: lock.acquire(timeout=1)))
    lock.release()

asyncio.run(main())
with both():
    pass
say(lock.locked(), rlock._is_owned())
""",
    "made here, dropped there": """
import gc, queue, weakref
handed = queue.SimpleQueue()

def makes():
    for _ in range(200):
        lock = threading.Lock()
        with lock:
            pass
        handed.put((lock, threading.RLock()))
        del lock

def drops():
    for _ in range(200):
        lock, rlock = handed.get()
        references.append(weakref.ref(lock))
        with lock, rlock:
            pass
        del lock, rlock

references = []
threads = [in_thread(makes), in_thread(drops)]
for thread in threads:
    thread.join()
gc.collect()
say([each() for each in references].count(None))
""",
    "dropped while held": """
import gc, weakref
references = []

def takes():
    for make in (threading.Lock, threading.RLock):
        for count in (1, 3):
            lock = make()
            lock.acquire()
            if make is threading.RLock and count == 3:
                lock.acquire()
            references.append(weakref.ref(lock))
        del lock

# By the end of the thread that took them they are gone.
in_thread(takes).join()
gc.collect()
say([each() for each in references].count(None))
takes()
def waits():
    lock = threading.Lock()
    lock.acquire()
    show("nobody else has it", lock.acquire, timeout=0.01)
in_thread(waits).join()
""",
    "by its other names": """
import _thread
for make in (_thread.allocate_lock, _thread.allocate, _thread.RLock, threading.RLock, threading.Lock):
    lock = make()
    show("acquire", lock.acquire)
    for name in ("acquire_lock", "release_lock", "locked_lock"):
        if hasattr(lock, name):
            show(name, getattr(lock, name), *((False,) if name == "acquire_lock" else ()))
    show("release", lock.release)
    acquire, release = lock.acquire, lock.release
    show("bound", lambda: [acquire(), release()])
    show("unbound", lambda: [type(lock).acquire(lock), type(lock).release(lock)])
    enter, leave = lock.__enter__, lock.__exit__
    show("by hand", lambda: [enter(), leave(None, None, None)])
    show("leave with less", lambda: [enter(), leave()])
    show("map", lambda: list(map(make().acquire, [True, False])))
say(threading.Lock is _thread.allocate_lock or isinstance(threading.Lock, type))
""",
    "by a thread of _thread": """
import _thread
lock, done = _thread.allocate_lock(), [_thread.allocate_lock() for _ in range(3)]
counted = 0
def work(mine):
    global counted
    for _ in range(100):
        with lock:
            counted += 1
    mine.release()
for each in done:
    each.acquire()
    _thread.start_new_thread(work, (each,))
for each in done:
    each.acquire()
say(counted)
def fails():
    with lock:
        done[0].release()
        raise SystemExit
_thread.start_new_thread(fails, ())
done[0].acquire()
show("free", lock.acquire, timeout=20)
""",
    "under tracers": """
program = __file__
events = {"line": 0, "call": 0, "return": 0, "profile": 0}
lock, rlock, condition = threading.Lock(), threading.RLock(), threading.Condition()

def trace(frame, event, arg):
    # Only the program's own file: the recorder in Python has frames of its own.
    if frame.f_code.co_filename == program and event in events:
        with lock:
            events[event] += 1
    return trace

def profile(frame, event, arg):
    if frame.f_code.co_filename == program and event == "call":
        with rlock:
            events["profile"] += 1

def work():
    with inner:
        pass
    for _ in range(5):
        inner.acquire()
        inner.release()
    with condition:
        condition.wait(0.001)

inner = threading.Lock()
threading.settrace(trace), sys.settrace(trace)
work()
in_thread(work).join()
threading.settrace(None), sys.settrace(None)
say(events)
threading.setprofile(profile), sys.setprofile(profile)
work()
in_thread(work).join()
threading.setprofile(None), sys.setprofile(None)
say(events["profile"], lock.locked(), rlock._is_owned())
if hasattr(sys, "monitoring"):
    seen = 0
    def line(code, number):
        global seen
        if code.co_filename == program:
            with rlock:
                seen += 1
    sys.monitoring.use_tool_id(3, "odd")
    sys.monitoring.register_callback(3, sys.monitoring.events.LINE, line)
    sys.monitoring.set_events(3, sys.monitoring.events.LINE)
    work()
    in_thread(work).join()
    sys.monitoring.set_events(3, 0)
    say(seen)
""",
}

#: What is not as without us when the recorder is the one in Python, whose locks are objects of a class of its own. With the
#: native one it must be.
DIFFERS_IN_PYTHON = {
    "subclassed by its type": "that class cannot be made an instance of by the program, and can be subclassed",
    "every attribute": "that class has docstrings of its own, methods written in Python, and newer Pythons' attributes",
    "made here, dropped there": "a lock that goes while a thread ends that had it switches the recorder off",
    "reduced by hand": "that class has another `__reduce__`, and `__getstate__`",
    "in a signal handler, at any moment": "a handler that takes an RLock while it is released makes a hold of less than no time",
    "made near the recursion limit": "a lock that is made half only is taken apart, which fails",
    "the collector runs in the middle of it": "a lock taken while a thread is being announced is told of before its beginning",
}

#: What is not as without us with either: a traced lock is of a class of its own, which says that it is another.
DIFFERS = {
    "its class": "it has no `__module__`, or refuses another class in other words",
}

_NORMAL = (
    (re.compile(r"\b0x[0-9a-f]+\b"), "0xADDRESS"),
    (re.compile(r"\bowner=[1-9][0-9]*\b"), "owner=IDENT"),
    (re.compile(r"\(pid=[0-9]+\)"), "(pid=PID)"),
)
#: A lock written in Python says other words about wrong arguments (docs/fidelity.md), and stands in tracebacks.
_NORMAL_IN_PYTHON = (
    (re.compile(r"-> (TypeError|AttributeError): .*"), r"-> \1"),
    (re.compile(r'  File "[^"]*/conctrace/[^"]*", line .*\n(?:    .*\n)*'), ""),
)


def normal(text: str, *, in_python: bool) -> list[str]:
    for pattern, word in (*_NORMAL, *(_NORMAL_IN_PYTHON if in_python else ())):
        text = pattern.sub(word, text)
    return text.splitlines()


class Both(NamedTuple):
    """A program bare and under conctrace, and the trace of the latter."""

    bare: Result
    traced: Result
    trace: Trace

    @property
    def in_python(self) -> bool:
        return any(process.recorder == "python" for process in self.trace.processes.values())


def run_both(runner: Runner, program: str) -> Both:
    (runner.folder / "truth.py").write_text(TRUTH_MODULE)
    (runner.folder / "odd.py").write_text(ODD_MODULE)
    (runner.folder / "program.py").write_text("import re\nfrom odd import *\n" + program)
    bare = runner.bare("program.py")
    traced = runner.traced("program.py", options=["-q", "-o", "t.ctrace"])
    return Both(bare, traced, build(read(str(runner.folder / "t.ctrace"))))


def check(name: str, both: Both) -> None:
    """The same, and a trace that holds together; but for what is known of the recorder in Python."""
    try:
        check_same(both)
    except AssertionError:
        known = {**DIFFERS, **DIFFERS_IN_PYTHON} if both.in_python else DIFFERS
        if name in known:
            pytest.xfail(known[name])
        raise


def check_same(both: Both) -> None:
    bare, traced, trace = both
    in_python = both.in_python
    assert bare.stdout or bare.stderr
    assert normal(traced.stdout, in_python=in_python) == normal(bare.stdout, in_python=in_python)
    assert normal(traced.stderr, in_python=in_python) == normal(bare.stderr, in_python=in_python)
    assert traced.status == bare.status
    for process in trace.processes.values():
        assert (process.off_reason, process.counters["errors"]) == ("", 0)
    assert problems(trace) == []


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_as_without_us(runner: Runner, name: str) -> None:
    check(name, run_both(runner, PROGRAMS[name]))


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize(("variable", "value"), [("PYTHONMALLOC", "debug"), ("PYTHONDEVMODE", "1")])
@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_as_without_us_in_debugging_modes(runner: Runner, name: str, variable: str, value: str) -> None:
    check(name, run_both(replace(runner, variables={variable: value}), PROGRAMS[name]))


#: What coverage.py then says of the program's lines is part of what must be the same.
UNDER_COVERAGE = """
import coverage, io
measured = coverage.Coverage(data_file=None, branch=True, concurrency="thread", include=[__file__])
measured.start()
lock, rlock, condition = threading.Lock(), threading.RLock(), threading.Condition()

def work():
    for number in range(200):
        with lock, rlock:
            if number == 1000:
                say("never")
    with condition:
        condition.wait(0.001)

threads = [in_thread(work) for _ in range(3)]
for thread in threads:
    thread.join()
measured.stop()
told = io.StringIO()
measured.report(file=told, show_missing=True)
say(told.getvalue())
"""


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage.py is not installed")
@pytest.mark.parametrize("core", ["ctrace", "pytrace", "sysmon"])
def test_coverage_py_measures_the_same(runner: Runner, core: str) -> None:
    check(core, run_both(replace(runner, variables={"COVERAGE_CORE": core}), UNDER_COVERAGE))
