"""Recorded tables are read as their page in the documentation says; errors say where they are."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.outcome import Outcome
from autotune.tables import Objective, Row, Table, read_table, write_table

SHARED = Path(__file__).parents[2] / "benchmarks" / "tables"

ALL = """\
batch.size,kind,on,tokens+,bytes-,metric:watts,outcome,tokens:ci_low,tokens:ci_high,phase:prepare_seconds,phase:score_seconds,setup_key,output_key,recipe_key
1,a,true,10,5.5,3,ok,9,11,4,2,s1,o1,r1
2,a,false,,,,crashed,,,4,,s1,o1,r2
1,a,true,99,1,3,ok,9,11,4,2,s1,o1,r1
4,7,true,12,,3,infeasible,,,0.5,2,s2,o2,r3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "some.csv"


def test_every_column_is_read(file: Path) -> None:
    file.write_text(ALL)
    table = read_table(file)
    assert table.name == "some"
    assert table.params == ("batch.size", "kind", "on")
    assert table.objectives == (Objective("tokens", True), Objective("bytes", False))
    assert table.rows[0] == Row(
        params=(1, "a", True),
        outcome=Outcome.OK,
        metrics={"tokens": 10.0, "bytes": 5.5, "watts": 3.0},
        intervals={"tokens": (9.0, 11.0)},
        phase_seconds={"prepare": 4.0, "score": 2.0},
        recipe_key="r1",
        setup_key="s1",
        output_key="o1",
    )
    assert (table.rows[1].outcome, table.rows[1].metrics) == (Outcome.CRASHED, {})
    assert table.rows[2].metrics == {"tokens": 12.0, "watts": 3.0}


def test_the_first_of_equal_configurations_counts_and_the_others_are_counted(file: Path) -> None:
    file.write_text(ALL)
    table = read_table(file)
    assert (len(table.rows), table.duplicates) == (3, 1)
    assert table.rows[table.index()[1, "a", True]].metrics["tokens"] == 10


def test_what_is_written_is_read_again(file: Path) -> None:
    file.write_text(ALL)
    table = read_table(file)
    write_table(table, file.with_name("other.csv"))
    again = read_table(file.with_name("other.csv"))
    assert (again.params, again.objectives, again.rows) == (
        table.params,
        table.objectives,
        table.rows,
    )
    assert sorted(p.name for p in file.parent.iterdir()) == ["other.csv", "some.csv"]


@pytest.mark.parametrize(
    ("name", "rows", "duplicates"),
    [("SS-A", 1343, 0), ("SS-L", 768, 255), ("SS-M", 864, 0)],
)
def test_tables_of_others_are_read_as_they_are(name: str, rows: int, duplicates: int) -> None:
    table = read_table(SHARED / f"{name}.csv")
    assert (len(table.rows), table.duplicates) == (rows, duplicates)
    assert all(row.valid for row in table.rows)


def test_a_column_is_whole_numbers_only_if_every_cell_is(file: Path) -> None:
    file.write_text("a,b,c,t+\n1,2.62E+05,x\u00b2,1\n2,512,3,1\n")
    assert [row.params for row in read_table(file).rows] == [(1, 262000.0, "x²"), (2, 512.0, "3")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", "", "is empty"),
        ("a,t+\n", "", "no rows"),
        ("a,b\n1,2\n", "line 1", "no column is an objective"),
        ("t+\n1\n", "line 1", "no column is a param"),
        ("a,a,t+\n1,2,3\n", "line 1", "twice: a"),
        ("a,t+,t-\n1,2,3\n", "line 1", "twice: t"),
        ("a,t+,t:mean\n1,2,3\n", "line 1", "'t:mean' is not understood"),
        ("a,t+,t:ci_low\n1,2,3\n", "line 1", "t:ci_low needs"),
        ("a,t+,u:ci_low,u:ci_high\n1,2,3,4\n", "line 1", "u:ci_low needs"),
        ("a,t+\n1,2\n1\n", "line 3", "1 cells, but 2 columns"),
        ("a,t+\n1,2\n,2\n", "line 3", "the param a is empty"),
        ("a,t+\n1,fast\n", "line 2", "t is 'fast', not a finite number"),
        ("a,t+\n1,nan\n", "line 2", "t is 'nan'"),
        ("a,t+\n1,\n", "line 2", "the objective t is empty"),
        ("a,t+,outcome\n1,2,crashed\n", "line 2", "a row that failed has empty objectives"),
        ("a,t+,outcome\n1,2,exploded\n", "line 2", "no outcome 'exploded'"),
        ("a,t+,t:ci_low,t:ci_high\n1,2,3,\n", "line 2", "one end only"),
        ("a,t+,t:ci_low,t:ci_high\n1,2,3,1\n", "line 2", "upside down"),
        ("a,t+,phase:prepare_seconds\n1,2,-3\n", "line 2", "negative"),
    ],
)
def test_errors_say_file_line_and_what(file: Path, text: str, line: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_table(file)
    assert str(file) in str(error.value)
    assert line in str(error.value)
    assert words in str(error.value)


def test_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end with \.csv"):
        read_table(tmp_path / "table.xlsx")
    with pytest.raises(InputError, match="no file"):
        read_table(tmp_path / "table.csv")


def t4(results: list[dict[str, Any]], unit: str = "miliseconds") -> bytes:
    return gzip.compress(json.dumps({"metadata": {"timeunit": unit}, "results": results}).encode())


RESULTS: list[dict[str, Any]] = [
    {
        "configuration": {"x": 16, "y": "a"},
        "times": {"compilation": 900.0, "framework": 8.0, "runtimes": [5.0, 1.0, 2.0]},
        "invalidity": "correct",
    },
    {
        "configuration": {"x": 32, "y": "a"},
        "times": {"compilation": 100.0, "framework": 2.0},
        "invalidity": "runtime",
    },
]


def test_t4_gives_median_runtime_compilation_and_repeats_in_seconds(tmp_path: Path) -> None:
    file = tmp_path / "kernel.json.gz"
    file.write_bytes(t4(RESULTS))
    good, bad = read_table(file).rows
    assert good.metrics == {"runtime_median_seconds": 0.002, "compilation_seconds": 0.9}
    assert good.repeats == {"runtime_median_seconds": (0.005, 0.001, 0.002)}
    assert good.seconds() == pytest.approx(0.916)
    assert good.seconds(warm=True) == pytest.approx(0.016)
    assert (bad.params, bad.outcome, bad.metrics) == ((32, "a"), Outcome.CRASHED, {})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not gzip", "cannot be read"),
        (gzip.compress(b"{}", mtime=0), "not in the T4 format"),
        (t4(RESULTS, "fortnights"), "no timeunit 'fortnights'"),
        (t4([RESULTS[0], {**RESULTS[1], "invalidity": "odd"}]), "result 1"),
        (t4([RESULTS[0], {**RESULTS[1], "configuration": {"z": 1}}]), "its params are z"),
    ],
)
def test_errors_of_t4_say_what_is_wrong(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "kernel.json.gz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_table(file)


def test_costs_warm_and_with_known_accuracy() -> None:
    row = Row((1,), phase_seconds={"prepare": 4.0, "score": 2.0, "measure": 1.0})
    assert row.seconds() == 7
    assert row.seconds(warm=True) == 3
    assert row.seconds(known_accuracy=True) == 5
    assert row.seconds(warm=True, known_accuracy=True) == 1
    assert Row((1,)).seconds(warm=True) == 1


def test_interrupted_writing_leaves_the_older_table(file: Path) -> None:
    file.write_text("a,t+\n1,2\n")
    broken = Table("t", ("a", "b"), (Objective("t", True),), (Row((1,)),))
    with pytest.raises(ValueError, match="zip"):
        write_table(broken, file)
    assert len(read_table(file).rows) == 1
