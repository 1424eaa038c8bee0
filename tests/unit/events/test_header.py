"""schema.h says to the C compiler what the tables say to Python."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from struct import Struct
from typing import TYPE_CHECKING

import pytest

from conctrace import settings
from conctrace.events import header, kinds, layout, schema
from conctrace.events.generated import Generated

if TYPE_CHECKING:
    from pathlib import Path

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler to read schema.h with")


def in_python() -> dict[str, int | str]:
    """Every fact the native recorder shares, under its name in C."""
    facts: dict[str, int | str] = {
        "CT_SCHEMA_VERSION": schema.SCHEMA_VERSION,
        "CT_RECORD_SIZE": schema.RECORD.size,
        "CT_RECORD_SHIFT": schema.RECORD_SHIFT,
        "CT_MORE_PAYLOAD": schema.MORE_PAYLOAD,
        "CT_NO_CORE": schema.NO_CORE,
        "CT_BUDGET_FIRST": settings.BUDGET_FIRST,
        "CT_BUDGET_PER_SECOND": settings.BUDGET_PER_SECOND,
        "CT_BUDGET_LEAST": settings.BUDGET_LEAST,
        "CT_SHORT_NS": settings.SHORT_NS,
        "CT_STACK_DEPTH": settings.STACK_DEPTH,
        "CT_STACKS_MAX": settings.STACKS_MAX,
        "CT_TEXTS_MAX": settings.TEXTS_MAX,
    }
    variables = {id(value): name for name, value in vars(kinds).items()}
    facts.update((f"CT_KIND_{variables[id(kind)]}", kind.number) for kind in kinds.KINDS)
    facts.update((f"CT_OUTCOME_{variables[id(outcome)]}", outcome.number) for outcome in kinds.OUTCOMES)
    facts.update((f"CT_DEFINE_{variables[id(definition)]}", definition.number) for definition in kinds.DEFINITIONS)
    facts.update((f"CT_LIVE_{name.upper()}", offset) for name, offset in layout.LIVE_COUNTER_OFFSETS.items())
    for singular, names in (("DETAIL", layout.DETAILS), ("RECORDER", layout.RECORDERS), ("ROLE", layout.ROLES)):
        facts.update((f"CT_{singular}_{name.upper().replace(' ', '_')}", names.index(name)) for name in names)
    facts.update((f"CT_TOTALS_COUNT_{name.upper()}", i) for i, name in enumerate(layout.TOTALS_COUNTS))
    for name, value in vars(layout).items():
        if isinstance(value, Struct):
            facts[f"CT_SIZEOF_{name}"] = value.size
        elif name.isupper() and isinstance(value, int | str):
            facts[f"CT_{name}"] = value
        elif name.isupper() and isinstance(value, bytes):
            facts[f"CT_{name}"] = value.decode()
        elif name in {"LIVE_OFF_REASON", "LIVE_COMMAND", "THREAD_WAIT_OFFSETS", "TOTALS_HALF_OFFSETS"}:
            facts[f"CT_{name}_0"], facts[f"CT_{name}_1"] = value
    return facts


def run_c(folder: Path, body: str, given: bytes = b"") -> str:
    """What a C program that includes the header prints."""
    (folder / "schema.h").write_text(header.header())
    (folder / "program.c").write_text(f'#include <stdio.h>\n#include "schema.h"\nint main(void)\n{{\n{body}\n}}\n')
    command = [str(COMPILER), "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", "program", "program.c"]
    compiled = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0, compiled.stderr
    return subprocess.run([folder / "program"], input=given, stdout=subprocess.PIPE, check=True).stdout.decode()


def test_the_header_in_the_checkout_is_up_to_date() -> None:
    assert header.FILE.written() == header.header(), "python -m conctrace.events.header --write"


@needs_compiler
def test_the_compiler_reads_every_constant_as_python_does(tmp_path: Path) -> None:
    expected = in_python()
    formats = {name: '\\"%s\\"' if isinstance(value, str) else "%lld" for name, value in expected.items()}
    prints = [
        f'printf("{comma}\\"{name}\\": {formats[name]}\\n", {"" if isinstance(value, str) else "(long long)"}{name});'
        for comma, (name, value) in zip(["", *[","] * len(expected)], expected.items(), strict=False)
    ]
    printed = run_c(tmp_path, "\n".join(['puts("{");', *prints, 'puts("}");', "return 0;"]))
    assert json.loads(printed) == expected


def test_the_header_defines_nothing_else() -> None:
    defined = set(re.findall(r"#define (CT_\w+) ", header.header()))
    assert defined == set(in_python())


@needs_compiler
def test_a_record_that_python_packed_is_the_same_record_in_c(tmp_path: Path) -> None:
    values = {field.name: index + 1 for index, field in enumerate(schema.FIELDS)}
    prints = [f'printf("%lld\\n", (long long)record.{field.name});' for field in schema.FIELDS]
    body = ["struct ct_record record;", "if (fread(&record, sizeof record, 1, stdin) != 1) return 1;", *prints]
    printed = run_c(tmp_path, "\n".join([*body, "return 0;"]), schema.RECORD.pack(*values.values()))
    assert [int(line) for line in printed.split()] == list(values.values())


def test_two_facts_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "LIVE_MAGIC", b"CTLIVE01")
    monkeypatch.setattr(layout, "LIVE_COUNTERS", (*layout.LIVE_COUNTERS, ("magic", 328, "clashes with LIVE_MAGIC")))
    with pytest.raises(ValueError, match="LIVE_MAGIC"):
        header.header()


@pytest.fixture
def made(tmp_path: Path) -> Generated:
    """A generated file elsewhere, with the same content."""
    return Generated(str(tmp_path / "schema.h"), "conctrace.events.header", header.header)


def test_check_notices_a_stale_file_and_a_missing_one(made: Generated, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.main(["--check"]) == 1
    assert "python -m conctrace.events.header --write" in capsys.readouterr().err
    assert made.main(["--write"]) == 0
    assert made.main(["--check"]) == 0
    with open(made.path, "a", encoding="utf-8") as file:
        file.write("#define CT_PAGE 8192\n")
    assert made.main(["--check"]) == 1


def test_unknown_arguments_are_refused(made: Generated) -> None:
    assert made.main([]) == 2
    assert made.main(["--check", "--write"]) == 2
