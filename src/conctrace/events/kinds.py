"""Every kind of event, declared once: number, name, what it says, what its fields mean.

The recorder takes the numbers, the model and the exporters the names, ``docs/events.md`` the text.

Naming: ``<NOUN>_<WHAT HAPPENED>``. A ``*_WAIT`` or ``*_JOIN`` record covers a stretch in which its
thread could be blocked (``time`` is where it began, ``duration`` how long until the thing waited for was
got); it is written once, when the wait is over. A wait that never ends has no record: it stands in its
thread's entry of the live mapping. Numbers are never reused; each group of sixteen is one noun.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final


class EventKind:
    """One kind of event: its number on disk, its name, its meaning, and what each field used holds."""

    __slots__ = ("fields", "meaning", "name", "number")

    def __init__(self, number: int, name: str, meaning: str, **fields: str) -> None:
        self.number: Final = number
        self.name: Final = name
        self.meaning: Final = meaning
        self.fields: Final = fields

    def __repr__(self) -> str:
        return f"<EventKind {self.number} {self.name}>"


# Processes -----------------------------------------------------------------------------------------
PROCESS_BORN = EventKind(
    1, "process born", "The first record of an image that records anything; by its first thread.",
    time="when the recorder began in it", other="nonce of the image it was forked from, or 0", value="its pid")
PROCESS_EXIT = EventKind(
    2, "process exit", "The image is about to end by its own doing; what follows is lost time, not lost work.",
    time="when", value="exit status, as given to os._exit or returned by Process._bootstrap; -1: not known yet",
    outcome="how (one of the EXIT_* outcomes)")
PROCESS_FORK = EventKind(
    3, "fork", "os.fork or os.forkpty, as its parent saw it.",
    time="call began", duration="until it returned in the parent", value="the child's pid, -1 when it failed",
    object="text: the function's name",
    outcome="internal when the standard library called it (inside Process.start)")
PROCESS_START = EventKind(
    4, "Process.start", "multiprocessing.Process.start, as its parent saw it.",
    time="call began", duration="until it returned", object="the Process", value="the child's pid, -1 when it failed")
PROCESS_RUN = EventKind(
    5, "Process.run", "The child's side of Process.start: from here on it runs the user's target.",
    time="when", object="the Process, defined anew in the child", other="pid of the process that called start")
PROCESS_JOIN = EventKind(
    6, "Process.join", "Waited for a multiprocessing.Process to end.",
    time="call began", duration="until it returned", object="the Process", value="the child's pid",
    outcome="acquired when it had ended, else timeout")
PROCESS_SIGNAL = EventKind(
    7, "Process.kill", "Process.terminate or kill, or Popen.send_signal, terminate or kill sent a signal.",
    time="when", object="the Process or Popen", other="the pid it went to", value="signal number")
CHILD_WAIT = EventKind(
    8, "os.wait", "The user's own call of os.wait, waitpid, wait3, wait4 or waitid.",
    time="call began", duration="until it returned", other="the pid asked for, 0 for any",
    value="the pid reaped; 0 when none had ended, -1 on error", object="text: the function's name",
    outcome="acquired, timeout (WNOHANG, none had ended) or error")
CHILD_STATUS = EventKind(
    9, "child status", "A child was reaped (by whichever call), so its status is known.",
    time="when", other="its pid", value="exit status 0 to 255, or minus the signal's number")

# Threads -------------------------------------------------------------------------------------------
THREAD_BEGIN = EventKind(
    16, "thread begin", "The first record of a thread.",
    time="when", object="its Thread object, 0 for a thread of _thread or of C code",
    outcome="not_from_start when the thread ran before it was first seen")
THREAD_END = EventKind(17, "thread end", "The last record of a thread.", time="when", object="its Thread object")
THREAD_START = EventKind(
    18, "Thread.start", "Thread.start or _thread.start_new_thread, as the starting thread saw it.",
    time="call began", duration="until it returned", object="the Thread")
THREAD_JOIN = EventKind(
    19, "Thread.join", "Waited for a thread to end.",
    time="call began", duration="until it returned", object="the Thread",
    outcome="acquired when it had ended, else timeout")
THREAD_ERROR = EventKind(
    20, "thread error", "An exception ended the thread.", time="when", object="its Thread object",
    other="text: 'TypeError: message'", stack="where it was raised, innermost first")

# Locks (Lock and RLock; the object's kind tells which) ------------------------------------------------
LOCK_WAIT = EventKind(
    32, "Lock.acquire", "An acquire that found the lock taken.",
    time="call began", duration="until the lock was got, or the call gave up", object="the lock",
    other="moment of the release that let it through: end of that LOCK_HOLD; 0: not known",
    value="ns from getting the lock until Python ran on (the GIL), 0 when not measured",
    outcome="acquired, timeout (acquire(False) included), error")
LOCK_HOLD = EventKind(
    33, "lock held", "A lock was held from time to time+duration; written at its release.",
    time="when it was got", duration="until its release", object="the lock", thread="who held it",
    stack="where it was acquired", other="1 + index of the releasing thread where that is another one, else 0",
    value="number of the site that released it", outcome="contended when somebody waited for it meanwhile")

# The program's own marks -----------------------------------------------------------------------------
SPAN = EventKind(
    48, "span", "A stretch named by the program, written when it is left.", time="entered", duration="until left",
    object="text: name", other="text: arguments as 'key=repr' lines, or 0",
    value="number of the life that it is a step of, or 0", outcome="error when left by an exception")
INSTANT = EventKind(
    49, "instant", "A moment named by the program.", time="when", object="text: name", other="text: arguments, or 0")
COUNTER = EventKind(
    50, "counter", "A value named by the program.", time="when", object="text: name",
    value="the value; the bits of a double when outcome is float", outcome="float or none")
SPAN_BEGIN = EventKind(
    51, "span begins", "A span was entered. The `span` of the same time and name says that it was left; without "
    "one it is open.",
    time="entered", object="text: name", other="text: arguments, or 0",
    value="number of the life that it is a step of, or 0")
LIFE_BEGIN = EventKind(
    52, "life begins", "A traced coroutine or generator runs for the first time.",
    time="when", object="text: name", other="text: arguments, or 0", value="its number")
LIFE_END = EventKind(
    53, "life ends", "A traced coroutine or generator is over.",
    time="when", object="text: name", value="its number", outcome="error, cancelled (closed early), or none")
RANGE_BEGIN = EventKind(
    54, "range begins", "A block of conctrace.trace was entered in a process that was traced already.",
    time="when", object="text: name", other="text: what is to be written, as JSON", value="its number")
RANGE_END = EventKind(
    55, "range ends", "The block was left.", time="when", object="text: name", value="its number")

# Other programs --------------------------------------------------------------------------------------
PROGRAM_START = EventKind(
    64, "program start", "subprocess.Popen or os.posix_spawn began another program, as its parent saw it.",
    time="call began", duration="until the program was there", object="the program (its kind is the call's name)",
    value="its pid")
PROGRAM_FAILED = EventKind(
    65, "program not started", "An exception ended Popen or os.posix_spawn; a program start of the same object before "
    "it was of a child that only got so far as to say why.",
    time="call began", duration="until it was given up", object="the program", other="text: 'OSError: message'",
    value="pid of a child that lives even so, else -1", outcome="error")
PROGRAM_WAIT = EventKind(
    66, "Popen.wait", "Waited for a program to end.",
    time="call began", duration="until it returned", object="the Popen", value="the child's pid",
    outcome="acquired when it had ended, else timeout or error")
PROGRAM_TALK = EventKind(
    67, "Popen.communicate", "Wrote to a program, read from it, waited for its end.",
    time="call began", duration="until it returned", object="the Popen",
    other="1 + bytes written to its stdin, 0: not known",
    value="bytes read from its stdout and stderr, -1: not known",
    outcome="acquired when it had ended, else timeout or error")
PROGRAM_SYSTEM = EventKind(
    68, "os.system", "A shell ran a command while the thread waited; its pid is not known.",
    time="call began", duration="until it returned", object="the command (an object of kind os.system)",
    value="what it returned, -1: nothing", outcome="acquired or error")
PROGRAM_EXEC = EventKind(
    69, "exec", "os.exec* was called, and is to replace this image's program by another one.",
    time="when", object="the program (an object; its kind is the call's name)")
PROGRAM_EXEC_FAILED = EventKind(
    70, "exec failed", "It did not: the last exec of this thread raised an exception.",
    time="when", object="the program", other="text: 'OSError: message'", outcome="error")

# The recorder about itself ---------------------------------------------------------------------------
DEFINE = EventKind(
    240, "define", "Says what a number stands for; its payload follows in `more` slots.",
    object="the number defined", outcome="which definition (see DEFINITIONS)", value="payload length in bytes",
    time="when")
MORE = EventKind(241, "more", "63 bytes of the payload of the define before it.")

KINDS: tuple[EventKind, ...] = (
    PROCESS_BORN, PROCESS_EXIT, PROCESS_FORK, PROCESS_START, PROCESS_RUN, PROCESS_JOIN, PROCESS_SIGNAL,
    CHILD_WAIT, CHILD_STATUS,
    THREAD_BEGIN, THREAD_END, THREAD_START, THREAD_JOIN, THREAD_ERROR,
    LOCK_WAIT, LOCK_HOLD,
    SPAN, INSTANT, COUNTER, SPAN_BEGIN, LIFE_BEGIN, LIFE_END, RANGE_BEGIN, RANGE_END,
    PROGRAM_START, PROGRAM_FAILED, PROGRAM_WAIT, PROGRAM_TALK, PROGRAM_SYSTEM, PROGRAM_EXEC, PROGRAM_EXEC_FAILED,
    DEFINE, MORE,
)  # fmt: skip

#: kind number → kind
BY_NUMBER: dict[int, EventKind] = {kind.number: kind for kind in KINDS}


class OutcomeKind:
    """How an event ended: one small number in each record. The first eight are the contract's words."""

    __slots__ = ("meaning", "name", "number")

    def __init__(self, number: int, name: str, meaning: str) -> None:
        self.number: Final = number
        self.name: Final = name
        self.meaning: Final = meaning


NO_OUTCOME = OutcomeKind(0, "", "nothing to say")
ACQUIRED = OutcomeKind(1, "acquired", "got what it asked for")
TIMEOUT = OutcomeKind(2, "timeout", "gave up: the time was over, or it was not to wait at all")
EMPTY = OutcomeKind(3, "empty", "nothing was in the queue")
FULL = OutcomeKind(4, "full", "the queue had no room")
CANCELLED = OutcomeKind(5, "cancelled", "was cancelled")
KILLED = OutcomeKind(6, "killed", "its thread or process was ended from outside meanwhile")
ERROR = OutcomeKind(7, "error", "an exception ended it")
INTERNAL = OutcomeKind(16, "internal", "called by the standard library on the user's behalf")
CONTENDED = OutcomeKind(17, "contended", "somebody waited meanwhile")
NOT_FROM_START = OutcomeKind(18, "not_from_start", "was there before it was first seen")
EXIT_FINALIZED = OutcomeKind(19, "exit_finalized", "the interpreter finalized")
EXIT_OS_EXIT = OutcomeKind(20, "exit_os_exit", "os._exit was called")
EXIT_BOOTSTRAP = OutcomeKind(21, "exit_bootstrap", "Process._bootstrap returned")
FLOAT = OutcomeKind(22, "float", "the value holds the bits of a double")

OUTCOMES: tuple[OutcomeKind, ...] = (
    NO_OUTCOME, ACQUIRED, TIMEOUT, EMPTY, FULL, CANCELLED, KILLED, ERROR,
    INTERNAL, CONTENDED, NOT_FROM_START, EXIT_FINALIZED, EXIT_OS_EXIT, EXIT_BOOTSTRAP, FLOAT,
)  # fmt: skip

#: outcome number → outcome
OUTCOME_BY_NUMBER: dict[int, OutcomeKind] = {outcome.number: outcome for outcome in OUTCOMES}


class Definition:
    """One kind of definition: the payload of a `DEFINE` record is these fields, in this order, as text."""

    __slots__ = ("fields", "meaning", "name", "number")

    def __init__(self, number: int, name: str, meaning: str, fields: tuple[str, ...]) -> None:
        self.number: Final = number
        self.name: Final = name
        self.meaning: Final = meaning
        self.fields: Final = fields


TEXT = Definition(1, "text", "A string: a name, an exception's text, arguments.", ("text",))
SITE = Definition(2, "site", "A place in the source.", ("file", "line", "function"))
STACK = Definition(3, "stack", "Site numbers, innermost first, separated by blanks.", ("sites",))
OBJECT = Definition(
    4, "object", "A lock, a Thread, a Process, a program. `name` is the program's own for it or empty, `site` the number of "
    "the site that made it (0: not seen), `detail` the qualified name of a Thread's or Process's target, a program's "
    "command.",
    ("kind", "name", "site", "detail"))  # fmt: skip
THREAD = Definition(
    5, "thread", "A thread of this image (the number defined is 1 + its index); sent again when the name changes. "
    "`object` is the number of its Thread object or 0; `daemon` is 1 or 0.",
    ("name", "native_id", "daemon", "object"))  # fmt: skip
PROCESS = Definition(
    6, "process", "What multiprocessing calls this image; `parent_pid` is who called Process.start.",
    ("name", "parent_pid", "daemon", "target"))  # fmt: skip
TOTALS = Definition(
    7, "totals", "The final totals of a lock that is gone, for one thread (its index) and call site; fields as in "
    "`layout.TOTALS_COUNTS`.",
    ("object", "thread", "site", "holds", "hold_ns", "hold_max_ns", "waits", "wait_ns", "wait_max_ns",
     "failed"))  # fmt: skip

DEFINITIONS: tuple[Definition, ...] = (TEXT, SITE, STACK, OBJECT, THREAD, PROCESS, TOTALS)
DEFINITION_BY_NUMBER: dict[int, Definition] = {definition.number: definition for definition in DEFINITIONS}
