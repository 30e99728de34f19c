"""rows.jsonl and what shows it: cut lines, other files, two sweeps at once, a disk that is full."""

import json
import os
import re
import resource

import pytest

from keras_initlab.lab.sweeps import Sweep, configurations
from keras_initlab.lab.sweeps.rows import RowFile
from keras_initlab.lab.sweeps.table import COLUMNS, write_parquet
from keras_initlab.lab.sweeps.trial import MEASURED, failed

from ...processes import python


def made(number, **grid):
    """Rows that no training has made."""
    rows = [failed(c, ValueError("[bold]of[/bold]\nkind")) for c in configurations({**grid, "seed": range(number)})]
    for i, row in enumerate(rows[1:], 1):
        row.update(dict.fromkeys(MEASURED, i / 3), error=None, diverged=False, seconds=float(i))
    return rows


@pytest.mark.parametrize("cut", [1, 2, 40, 10_000])
def test_a_line_that_was_cut_off_is_done_again(tmp_path, cut):
    first, second, third = made(3)
    with RowFile(tmp_path) as file:
        file.append(first)
        file.append(second)
    path = tmp_path / "rows.jsonl"
    cut = min(cut, len(path.read_bytes().splitlines()[1]))
    path.write_bytes(path.read_bytes()[:-cut])
    with RowFile(tmp_path) as file:
        assert list(file.rows.values()) == [first]
        file.append(third)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [first, third]


@pytest.mark.parametrize("line", [b"{", b"[]", b'"key"', b"3", b'{"seed": 3}', b"\xff"])
def test_a_file_of_something_else(tmp_path, line):
    (row,) = made(1)
    with RowFile(tmp_path) as file:
        file.append(row)
    path = tmp_path / "rows.jsonl"
    content = path.read_bytes() + line + b"\n"
    path.write_bytes(content)
    with (
        pytest.raises(ValueError, match=r"Line 2 of '.*rows\.jsonl' is no row of a sweep\. Remove the line"),
        RowFile(tmp_path),
    ):
        pass
    assert path.read_bytes() == content


def test_one_sweep_at_a_time(tmp_path):
    text = rf"is in use by another sweep, process {os.getpid()}\. Wait for it,"
    with RowFile(tmp_path), pytest.raises(BlockingIOError, match=text), RowFile(tmp_path):
        pass
    with RowFile(tmp_path) as file:
        assert file.rows == {}


FULL = """
    import resource, signal, sys, warnings
    sys.path.insert(0, {root!r})
    from keras_initlab.lab.sweeps.rows import RowFile
    from tests.lab.sweeps.test_rows import made

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    rows = made(4)
    with warnings.catch_warnings(record=True) as said, RowFile({out!r}) as file:
        warnings.simplefilter("always")
        file.append(rows[0])
        size = (file.folder / "rows.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
        file.append(rows[1])
        file.append(rows[2])
        assert (file.folder / "rows.jsonl").stat().st_size == size, "half a line"
        assert len(file.waiting) == 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.append(rows[3])
        assert not file.waiting
    print(*[w.message for w in said])
"""


@pytest.mark.lab
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limit on the size of files here")
def test_rows_wait_until_the_disk_has_room(tmp_path):
    from ...processes import ROOT

    text = re.sub("^    ", "", FULL.format(root=str(ROOT), out=str(tmp_path)), flags=re.MULTILINE)
    done = python("-c", text)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("cannot be written: No space left on device. The sweep goes on") == 1
    with RowFile(tmp_path) as file:
        assert list(file.rows.values()) == made(4)


def test_a_sweep_shows_what_differs():
    runs = Sweep(made(3, initializer=["HeNormal", "Zeros"], depth=7), "some/[folder]")
    text = str(runs)
    assert "6 runs in some/[folder]" in text
    header = text.splitlines()[2]
    assert all(name in header for name in ("initializer", "seed", "accuracy", "loss_last", "error"))
    assert "depth" not in header
    assert "depth 7" in text
    assert "[bold]of[/bold]" in text
    assert repr(runs) == "<Sweep of 6 runs, 1 with an error, in 'some/[folder]'>"
    assert "&lt;" not in runs._repr_html_()
    assert "Zeros" in runs._repr_html_()
    assert runs[0]["seed"] == 0
    assert len(runs[1:3]) == 2
    assert "and 40 rows more" in str(Sweep(made(100), "x"))
    assert "0 runs" in str(Sweep([], "x"))


def test_a_frame_has_numbers(tmp_path):
    pytest.importorskip("pandas")
    frame = Sweep(made(3), tmp_path).to_dataframe()
    assert frame["accuracy"].tolist()[1:] == [1 / 3, 2 / 3]
    assert frame["accuracy"].isna().tolist() == [True, False, False]
    assert frame["accuracy"].dtype == "float64"
    assert frame["version_keras"].nunique() == 1
    assert list(frame["seed"]) == [0, 1, 2]


def test_parquet_holds_the_rows(tmp_path):
    import pyarrow.parquet as pq

    rows = made(3)
    write_parquet(tmp_path / "rows.parquet", made(1))
    write_parquet(tmp_path / "rows.parquet", rows)
    table = pq.read_table(tmp_path / "rows.parquet")
    assert table.column_names == list(COLUMNS) == list(rows[0])
    assert table.to_pylist() == rows
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
