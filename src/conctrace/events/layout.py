"""The files that a traced process shares with its collector while it runs, byte by byte.

Everything lies in the session's folder. The traced process creates and fills, the collector reads,
acknowledges and unlinks; nobody ever truncates a live file.

========================  ===============================================================================
``control``               one page, made by ``conctrace run``; the collector holds an OFD lock on it
``NONCE.live``            one page per image: who it is, and its counters (`LIVE`); its magic is stored last
``NONCE.K.births``        nurseries: live pages for the children that an image, or its descendants, will fork
``NONCE.SEQ.seg``         segments: a header slot, then records (`schema.RECORD`), SEQ counts from 0
``NONCE.threads.K``       chunks of `THREAD_ENTRY`: what each thread waits for and holds right now
``NONCE.totals.K``        chunks of `TOTALS_ENTRY`: exact totals per (object, thread, call site)
``NONCE.objects.K``       chunks of `OBJECT_ENTRY`: who has each lock that somebody had to wait for
``functions``             empty; there when calls of functions are to be recorded, too (``run --functions``)
``NONCE.functions``       what viztracer recorded of an image's calls; made when the image ends (`functions`)
``session.json``          what was asked for (`sessions.Plan`), read by collector and ``recover``
``trace.ctrace``          the trace so far
========================  ===============================================================================

NONCE is 16 hex digits, SEQ 6 decimal digits, K a decimal number.

Nurseries. A page of head (`BIRTHS`), then live pages, all zero when the file is made. Making a file is the dearest thing
that a forked child would have to do; so a process makes a nursery before it forks, and its children, and theirs, which all
inherit the mapping, take the next page by adding 1 to the word `taken`. A page counts from the moment its magic is stored;
until then its process may still write it, or has been killed at it. `taken` goes beyond the last page when there is none
left; such a child makes a ``NONCE.live`` of its own, as every image does that was not forked, and all of the recorder in
Python. Before the collector unlinks a nursery it stores `closed`: whoever takes a page and then finds that word
set leaves `BIRTH_UNUSED` in it, and makes a file.

Segments. Slots are zero when the file is made (``fallocate``). A writer reserves the next slot
atomically, fills it, and stores the kind, which is the slot's last byte, last. A reader therefore stops
at the first slot of kind 0 while the process lives, and skips such holes (counting them) once it is dead.
A definition takes one `DEFINE` slot and ``ceil(length / 63)`` `MORE` slots, reserved together and never split
over two segments; the MORE slots are stored first. The process goes to segment SEQ+1 when SEQ has no room for
what it wants to store; the slots that stay free at the end of SEQ are holes that the next segment's
existence explains.

Entries. A thread entry's wait and a totals entry's counts exist twice: the writer counts `seq` up and fills
half ``seq & 1``, whose first and last word are `seq`. The reader takes the half with the higher seq whose two
words agree, so a process killed in the middle of a store leaves the state before it.
"""

from __future__ import annotations

from struct import Struct

from . import payload

#: Changed whenever a native recorder of one build could misread files of another.
ABI_VERSION = 3

PAGE = 4096
NONCE_DIGITS = 16

# Control page -------------------------------------------------------------------------------------------
CONTROL_FILE = "control"
CONTROL_MAGIC = b"CTCTRL01"
#: magic, schema, abi, on (1/0), detail (0 budget, 1 all, 2 waits), snapshot request number, collector's pid,
#: cap of undrained bytes per process, cap per session, undrained bytes of the session as last counted, whether values
#: (arguments of spans) are recorded (1/0).
CONTROL = Struct("<8sIIIIIIQQQI")
CONTROL_ON_OFFSET = 16
CONTROL_DETAIL_OFFSET = 20
CONTROL_SNAPSHOT_OFFSET = 24
CONTROL_COLLECTOR_OFFSET = 28
CONTROL_UNDRAINED_OFFSET = 48

DETAILS = ("budget", "all", "waits")

# Live page ------------------------------------------------------------------------------------------------
LIVE_MAGIC = b"CTLIVE01"
#: Identity, written once: magic, schema, abi, nonce, parent's nonce or 0, pid, ppid, start time in clock ticks
#: (/proc/PID/stat field 22), inode of the pid namespace, born (monotonic ns), wall clock at that moment (ns),
#: inherited_below: numbers below it that this image did not define are its parent image's, exec generation,
#: recorder (RECORDERS), role (ROLES), sys.hexversion.
LIVE = Struct("<8sIIQQIIQQQQQIIII")
RECORDERS = ("python", "native")
ROLES = ("program", "forkserver", "resource tracker")

#: Counters of the live page: (name, offset, what it counts). Each is one aligned 64-bit word.
LIVE_COUNTERS: tuple[tuple[str, int, str], ...] = (
    ("records", 256, "record slots of finished segments, definitions included"),
    ("dropped", 264, "records not stored: no room, a cap, or the collector was gone"),
    ("errors", 280, "failures inside the recorder or a patch; the first one switches it off"),
    ("stacks_dropped", 288, "stacks not stored: the table of stacks was full"),
    ("held_dropped", 296, "held locks not shown in the live mapping: nested deeper than it has room for"),
    ("totals_dropped", 304, "operations missing from the totals: no room for another entry"),
    ("off_time", 312, "monotonic ns when the recorder switched itself off, 0: it did not"),
    ("ended", 320, "monotonic ns of the image's own last breath (PROCESS_EXIT), 0: it gave none"),
    ("exit_value", 328, "1 + the exit status it said it would end with, 0: it said none"),
)
LIVE_COUNTER_OFFSETS: dict[str, int] = {name: offset for name, offset, _ in LIVE_COUNTERS}
#: Why the recorder switched itself off: UTF-8, zero padded.
LIVE_OFF_REASON = (512, 512)
#: The command: a `pack_payload` of (executable, *orig_argv), behind its length in four bytes; cut to fit.
LIVE_COMMAND = (PAGE - payload.COMMAND_SIZE, payload.COMMAND_SIZE)

# Nurseries --------------------------------------------------------------------------------------------------
BIRTHS_MAGIC = b"CTBRTH01"
#: magic, schema, abi, nonce of the image that made it, number of its live pages, a random number from which the nonces
#: of those who take them are made; the magic is stored last.
BIRTHS = Struct("<8sIIQQQ")
#: 64-bit words of the head: the random number, how often a page was taken; 1 once none may be taken any more; and 1 once a child has found
#: its start time to be what the clock says (see ``births.c``).
BIRTHS_SEED_OFFSET = 32
BIRTHS_TAKEN_OFFSET = 64
BIRTHS_CLOSED_OFFSET = 128
BIRTHS_CLOCK_OFFSET = 192
#: Stands where the magic would in a page that was taken too late.
BIRTH_UNUSED = b"CTUNUSED"
#: Pages of an image's first nursery; each next one has four times as many, up to the largest.
FIRST_BIRTHS = 8
LARGEST_BIRTHS = 256

# Segments ---------------------------------------------------------------------------------------------------
SEGMENT_MAGIC = b"CTSEGM01"
#: magic, schema, abi, nonce, seq, size of the file in bytes: the first slot (64 bytes) of a segment.
SEGMENT = Struct("<8sIIQQQ")
FIRST_SEGMENT_SIZE = 64 * 1024
LARGEST_SEGMENT_SIZE = 1024 * 1024

# Thread entries -----------------------------------------------------------------------------------------------
THREAD_ENTRY_SIZE = 512
#: thread index + 1 (0: free), native thread id
THREAD_KEY = Struct("<II")
#: One half of the current wait: seq, since (ns), other, value, object, stack, kind (0: not waiting), core, seq.
THREAD_WAIT = Struct("<QQQqIIIIQ")
THREAD_WAIT_OFFSETS = (16, 16 + THREAD_WAIT.size)
#: Held locks, outermost first: pairs of words since (ns) and ``object << 32 | site``; the first pair whose second
#: word is 0 ends them. A release out of order writes them all anew.
THREAD_HELD_OFFSET = 128
THREAD_HELD = Struct("<QQ")
THREAD_HELD_MAX = (THREAD_ENTRY_SIZE - THREAD_HELD_OFFSET) // THREAD_HELD.size - 1

# Totals entries -----------------------------------------------------------------------------------------------
TOTALS_ENTRY_SIZE = 192
#: used (1/0), object, thread index, site
TOTALS_KEY = Struct("<IIII")
TOTALS_COUNTS = ("holds", "hold_ns", "hold_max_ns", "waits", "wait_ns", "wait_max_ns", "failed")
#: One half: seq, the counts above, seq.
TOTALS_HALF = Struct("<" + "Q" * (len(TOTALS_COUNTS) + 2))
TOTALS_HALF_OFFSETS = (16, 16 + TOTALS_HALF.size)

# Object entries -----------------------------------------------------------------------------------------------
OBJECT_ENTRY_SIZE = 32
#: number of the lock, 0: free
OBJECT_KEY = Struct("<I")
#: since (ns), and the owner as ``(1 + thread index) << 32 | site``, 0: nobody. Stored in this order, after the owner
#: was set to 0. A thread that has got the lock and waits for the GIL stands here and not yet in its own entry.
OBJECT_OWNER_OFFSET = 8
OBJECT_OWNER = Struct("<QQ")

#: Table chunks double from the first to the largest number of bytes.
FIRST_CHUNK_SIZE = 16 * 1024
LARGEST_CHUNK_SIZE = 1024 * 1024


def nonce_name(nonce: int) -> str:
    """The nonce as it stands in file names."""
    return f"{nonce:016x}"


def live_name(nonce: int) -> str:
    """File name of an image's live page."""
    return f"{nonce_name(nonce)}.live"


def births_name(nonce: int, index: int) -> str:
    """File name of nursery `index` that an image made."""
    return f"{nonce_name(nonce)}.{index}.births"


def segment_name(nonce: int, seq: int) -> str:
    """File name of an image's segment number `seq`."""
    return f"{nonce_name(nonce)}.{seq:06d}.seg"


def chunk_name(nonce: int, table: str, index: int) -> str:
    """File name of chunk `index` of an image's ``threads``, ``totals`` or ``objects`` table."""
    return f"{nonce_name(nonce)}.{table}.{index}"
