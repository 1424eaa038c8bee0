"""``run --functions``: the calls that viztracer counts by itself are those that Perfetto shows on our lanes."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from conctrace.model import validate
from conctrace.model.builder import build
from conctrace.tracefile.reader import read
from tests.support.perfetto import TraceProcessor
from tests.support.run import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from conctrace.model.trace import Trace
    from tests.support.run import Result

#: Compiles and renders a large template: some ten thousand calls, the same each time.
TEMPLATES = """
import sys
import threading

import jinja2

SOURCE = "{% macro row(n) %}<tr><td>{{ n }}</td>{% if n is odd %}<td>{{ n|upper }}</td>{% endif %}</tr>{% endmacro %}" + "".join(
    f"{{% for n in numbers %}}{{{{ row(n + {i}) }}}}{{% endfor %}}" for i in range(20)
)


def made(count):
    return jinja2.Environment().from_string(SOURCE).render(numbers=range(count))


def main():
    print(len(made(20)))
    worker = threading.Thread(target=made, args=(10,), name="worker")
    worker.start()
    worker.join()


main()
"""

CALLS = "select name, count(*) as count from slice where category = 'span' group by name"


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def recorded(runner: Runner, program: str, *options: str) -> tuple[Result, Trace, TraceProcessor]:
    """Runs a program with its functions; the trace is sound, and Perfetto has nothing against it."""
    (runner.folder / "program.py").write_text(program)
    result = runner.traced("program.py", options=options or ("--functions",))
    trace = build(read(str(runner.folder / "program.ctrace")))
    assert validate.problems(trace) == []
    shown = TraceProcessor(runner.folder / "program.trace.json")
    assert shown.stats_problems() == []
    return result, trace, shown


def counted(shown: TraceProcessor) -> Counter[str]:
    return Counter({str(row["name"]): int(row["count"] or 0) for row in shown.query(CALLS)})


def lost(trace: Trace) -> list[str]:
    return [loss.sentence for loss in trace.losses if loss.slug.startswith("functions")]


def counted_by_viztracer(runner: Runner, part: str) -> Counter[str]:
    """The calls of functions in files whose path has this part, as viztracer counts them when it runs alone."""
    command = [sys.executable, "-m", "viztracer", "--ignore_c_function", "-o", "own.json", "--quiet", "program.py"]
    result = runner.command(command)
    assert result.status == 0, result.stderr
    events = json.loads((runner.folder / "own.json").read_text())["traceEvents"]
    names = [event["name"] for event in events if event["ph"] == "X" and part in event["name"]]
    return Counter(name.rpartition(" (")[0] for name in names)


def test_viztracers_own_count_of_a_packages_calls_is_ours(runner: Runner) -> None:
    result, trace, shown = recorded(runner, TEMPLATES, "--functions=jinja2")
    assert result.status == 0
    assert lost(trace) == []
    own = counted_by_viztracer(runner, "/jinja2/")
    assert own.total() > 10_000
    assert counted(shown) == own
    assert f"{own.total():,} function calls, recorded by viztracer" in result.stderr


def test_calls_lie_on_the_lane_of_their_thread_inside_their_callers(runner: Runner) -> None:
    _, _, shown = recorded(runner, TEMPLATES)
    rows = shown.query("""
        select thread.name as thread, slice.name as name, parent.name as parent
        from slice join thread_track on slice.track_id = thread_track.id join thread using (utid)
        join slice parent on slice.parent_id = parent.id
        where slice.name in ('made', 'main') and slice.category = 'span'""")
    found = Counter((row["thread"], row["name"], row["parent"]) for row in rows)
    assert found == {
        ("MainThread", "main", "<module>"): 1,
        ("MainThread", "made", "main"): 1,
        ("worker", "made", "made"): 1,  # the outer one is the thread's life
    }


def test_a_span_lies_in_the_call_around_it_and_around_the_call_in_it(runner: Runner) -> None:
    _, trace, shown = recorded(runner, """
        import conctrace, time

        def inner():
            time.sleep(0.001)

        def outer():
            with conctrace.span("marked"):
                inner()

        for _ in range(200):
            outer()
        """.replace("\n        ", "\n"))  # fmt: skip
    chain = shown.query("""
        select above.name as o, span.name as s, below.name as i, count(*) as count from slice below
        join slice span on below.parent_id = span.id join slice above on span.parent_id = above.id
        where below.name = 'inner' group by 1, 2, 3""")
    assert chain == [{"o": "outer", "s": "marked", "i": "inner", "count": 200}]
    (lane,) = trace.functions.calls.values()
    assert 0 < lane.error_ns < 50_000
    assert not shown.query("select 1 from args where key = 'args.cut_ns'")


def test_threads_keep_the_names_that_they_have_without_us(runner: Runner) -> None:
    program = """
import json, sys, threading
def work(): pass
threads = []
for _ in range(3):  # each is made when the one before has run
    threads.append(threading.Thread(target=work))
    threads[-1].start()
    threads[-1].join()
print([thread.name for thread in threads], threading.active_count(), sorted({"trio", "viztracer"} & set(sys.modules)))
"""
    result, _, shown = recorded(runner, program)
    assert result.stdout == runner.bare("program.py").stdout
    assert counted(shown)["work"] == 3


CHILDREN = """
import multiprocessing, os, subprocess, sys

def child(count):
    for _ in range(count):
        step()

def step(): pass

if __name__ == "__main__":
    child(5)
    if os.fork() == 0:
        child(7)
        os._exit(0)
    os.wait()
    for method, count in (("fork", 11), ("spawn", 13), ("forkserver", 17)):
        process = multiprocessing.get_context(method).Process(target=child, args=(count,), name=method)
        process.start()
        process.join()
    subprocess.run([sys.executable, "-c", "def step(): pass\\nfor _ in range(19): step()"], check=True)
"""


def test_each_process_has_its_own_calls(runner: Runner) -> None:
    _, trace, shown = recorded(runner, CHILDREN)
    assert lost(trace) == []
    rows = shown.query("""
        select process.pid as pid, count(*) as count from slice join thread_track on slice.track_id = thread_track.id
        join thread using (utid) join process using (upid) where slice.name = 'step' group by pid""")
    assert sorted(int(row["count"] or 0) for row in rows) == [5, 7, 11, 13, 17, 19]


def test_a_killed_process_loses_its_calls_and_nothing_else(runner: Runner) -> None:
    result, trace, shown = recorded(
        runner,
        """
import os, signal, threading
lock = threading.Lock()
def work():
    with lock:
        pass
work()
if os.fork() == 0:
    work()
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
""",
    )
    (sentence,) = lost(trace)
    child = next(process for process in trace.processes.values() if process.end.how == "killed")
    assert sentence.startswith(f"{child.name} {child.pid}: its calls of functions are lost: it was killed")
    assert "it was killed" in result.stderr
    assert counted(shown)["work"] == 1
    assert sum(row.holds for row in trace.totals if row.thread[0] == child.key) == 1


PROFILED = """
import cProfile, sys
def before(): pass
def after(): pass
before()
profile = cProfile.Profile()
profile.enable()
after()
profile.disable()
print([entry.callcount for entry in profile.getstats() if getattr(entry.code, "co_name", "") == "after"])
"""

SETS_PROFILE = """
import sys
seen = []
def before(): pass
def after(): pass
before()
# Until 3.11 a new profile function hears of its own setting's return when there was another before.
sys.setprofile(lambda frame, event, arg: event.startswith("c_") or seen.append(frame.f_code.co_name))
after()
sys.setprofile(None)
print(seen)
"""

USES_VIZTRACER = """
def before(): pass
def after(): pass
before()
import viztracer
with viztracer.VizTracer(output_file="own.json", verbose=0) as tracer:
    after()
import json
print(sum("after" in event["name"] for event in json.load(open("own.json"))["traceEvents"]))
"""


@pytest.mark.parametrize("program", [PROFILED, SETS_PROFILE, USES_VIZTRACER])
def test_the_programs_own_profiler_wins(runner: Runner, program: str) -> None:
    result, trace, shown = recorded(runner, program)
    assert result.stdout == runner.bare("program.py").stdout
    assert (result.status, result.stdout != "") == (0, True)
    assert counted(shown)["before"] == 1
    beside = program is SETS_PROFILE and sys.version_info >= (3, 12)  # there both can be
    assert counted(shown)["after"] == int(beside)
    if beside:
        assert lost(trace) == []
    else:
        (sentence,) = lost(trace)
        assert "its calls were recorded only until then" in sentence


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("--functions=step", {"step"}),
        ("--functions=program.*", {"<module>", "child", "step"}),
        ("--functions=*/program.py", {"<module>", "child", "step"}),
        ("--functions=string,ch*", {"child", "capwords"}),
    ],
)
def test_patterns_choose(runner: Runner, option: str, found: set[str]) -> None:
    program = "import string\ndef child():\n    step()\ndef step(): pass\nchild()\nstring.capwords('a')\n"
    _, _, shown = recorded(runner, program, option)
    assert {name for name in counted(shown) if name in {"<module>", "child", "step", "capwords"}} - (
        {"<module>"} if "string" in option else set()
    ) == found


@pytest.mark.parametrize("option", ["--functions=", "--functions=a,,b", "--functions=[a"])
def test_a_bad_pattern_is_one_line(runner: Runner, option: str) -> None:
    (runner.folder / "program.py").write_text("print(1)")
    result = runner.traced("program.py", options=(option,))
    assert (result.status, result.stdout) == (2, "")
    assert len(result.stderr.splitlines()) == 1
    assert "is no pattern" in result.stderr


def test_a_part_of_the_run_has_the_calls_that_lie_in_it(runner: Runner) -> None:
    program = "import conctrace\ndef step(): pass\ndef part():\n    with conctrace.trace('part.json'):\n        step(); step()\n"
    recorded(runner, program + "step()\npart()\nstep()\n", "--functions=program.*")
    part = TraceProcessor(runner.folder / "part.json")
    assert part.stats_problems() == []
    assert counted(part) == Counter({"step": 2, "part": 1, "<module>": 1, "trace program": 1})


def test_dump_has_a_line_for_each_call(runner: Runner) -> None:
    recorded(runner, "def step(): pass\nfor _ in range(23): step()\n", "--functions=step")
    lines = runner.conctrace("dump", "program.ctrace").lines
    assert sum(" call: " in line and line.endswith("program.py:1 step") for line in lines) == 23


def test_without_the_option_nothing_of_it_is_there(runner: Runner) -> None:
    (runner.folder / "program.py").write_text("import sys; print('conctrace.session.functions' in sys.modules)")
    result = runner.traced("program.py")
    assert result.stdout == "False\n"
    assert "function" not in result.stderr
