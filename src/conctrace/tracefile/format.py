"""What a ``.ctrace`` file is made of: sixteen bytes of head, then blocks, each whole in itself.

A block is a header, whose checksum covers the rest of the header and the payload, and a zlib payload. Whoever
writes one does so in a single call at the end of the file; so a file is readable up to its last whole block,
however its writer ended. The payload of `RECORDS` is the columns of `codec`, that of `CALLS` those of `calls`, and that of every other kind JSON.

Blocks of one kind about one image replace each other, the last one wins; blocks of records add up, and
are idempotent by (image, segment, first slot), so that a collector that died and whoever recovers its session may
both write the same rows.

History of FORMAT_VERSION
  1  the first
"""

from __future__ import annotations

from struct import Struct

FORMAT_VERSION = 1

#: Not text on purpose: what converts line ends or strips the eighth bit breaks the very first bytes.
MAGIC = b"\x93conctrace\r\n"
#: magic, format version, version of the event schema
HEAD = Struct("<12sHH")

#: kind, 0, payload length, image's nonce or 0, checksum, payload length before compression
BLOCK = Struct("<HHIQII")
#: The same without the checksum: what the checksum covers of the header.
BLOCK_FACTS = Struct("<HHIQI")

#: The plan of the session: always the first block.
PLAN = 1
#: Who an image is: identity from its live page.
IMAGE = 2
#: Rows of one image's segment.
RECORDS = 3
#: What is known of an image at its end, or at the end of the trace: counters, totals, threads, objects, what the collector saw.
FINAL = 4
#: The main process: pid, and once it ended its status.
MAIN = 5
#: "file:line" → what the program's source calls the lock made there.
NAMES = 6
#: The last block: the trace is complete.
END = 7

#: Only a part of what follows the head is asked for: its name, start and end. May stand behind the last block.
PART = 8
#: Programs that an image started and that record nothing: pid, moment of the call, when it was dead (or null).
PROGRAMS = 9
#: Calls of functions of one image, part by part (`calls`); readers from before there were any skip them.
CALLS = 10

KINDS = {
    PLAN: "plan",
    IMAGE: "image",
    RECORDS: "records",
    FINAL: "final",
    MAIN: "main",
    NAMES: "names",
    END: "end",
    PART: "part",
    PROGRAMS: "programs",
    CALLS: "calls",
}
#: Kinds whose payload is no JSON.
BINARY = (RECORDS, CALLS)

#: No block is larger than this before compression; a header that says so is garbled.
LARGEST_PAYLOAD = 1 << 30
