"""Stories that several tests tell."""

from __future__ import annotations

from conctrace.model.trace import End, Loss, Totals

from .traces import Story, moment, site


def contended_lock() -> Story:
    """Two threads and a killed child want a lock that the first thread holds for 480 µs."""
    story = Story(end=1000)
    main = story.process("MainProcess", 4242, 0, 1000)
    lock = story.thing(main, "Lock", "lock", site(3, "<module>"))
    started = {"target": "work", "started_by": main, "start_site": site(20, "<module>")}
    first = story.thread(main, "Thread-1 (work)", 4243, 100, 700, **started)
    second = story.thread(main, "Thread-2 (work)", 4244, 150, 900, **started)
    story.span(main, 95, 110, "Thread.start Thread-1", "thread", stack=(site(20, "<module>"),))
    story.span(main, 145, 160, "Thread.start Thread-2", "thread", stack=(site(20, "<module>"),))
    story.arrow("start", main, 100, first, 100)
    story.arrow("start", main, 150, second, 150)
    story.hold(lock, first, 120, 600, site(8), contended=True, release_site=site(10))
    story.hold(lock, second, 600, 890, site(8))
    story.wait(
        second, 200, 600, "Lock.acquire lock", lock, stack=(site(8),), holder=first, holder_site=site(8),
        cause=story.woken("release", first, 600, site(10)), core=1,
    )  # fmt: skip
    story.arrow("release", first, 600, second, 600)
    story.wait(main, 200, 700, "Thread.join Thread-1", category="thread", cause=story.woken("end", first, 700))
    story.wait(main, 700, 900, "Thread.join Thread-2", category="thread", cause=story.woken("end", second, 900))
    story.arrow("end", first, 700, main, 700)
    story.arrow("end", second, 900, main, 900)
    killed = End(
        "killed", moment(800), signal=15, by="MainProcess", doing=("MainThread was waiting in Lock.acquire lock",)
    )
    child = story.process("Process-1", 4250, 300, 800, killed, parent=main[0], target="work", origin="Process")
    story.span(main, 295, 305, "Process.start Process-1", "process")
    story.arrow("start", main, 300, child, 300)
    story.wait(child, 310, None, "Lock.acquire lock", lock, stack=(site(8),), holder=first, holder_site=site(8))
    story.instant(main, 1000, "exit 0")
    for thread in (first, second):
        story.totals.append(Totals(lock, thread, site(8), 10, 480_000, 300_000, 3, 400_000, 400_000, 9, 1))
    story.losses.append(Loss("summarised", 12, "12 holds are in the totals only.", "summarised"))
    return story
