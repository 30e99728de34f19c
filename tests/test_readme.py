"""The README's code runs, and its tables say what the package says."""

import inspect
import re

import pytest
from sklearn.datasets import load_digits

from keras_initlab.initializers import REGISTRY
from keras_initlab.lab import EXPERIMENTS

from .processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def between(name):
    return re.search(f"<!-- {name} -->\n(.*?)<!-- /{name} -->", README, re.DOTALL).group(1)


def table_of_initializers():
    """What belongs between the README's marks, from the registry."""
    lines = ["| name | what it draws | law | arguments |", "|---|---|---|---|"]
    for name in sorted(REGISTRY, key=str.lower):
        cls = REGISTRY[name].cls
        documentation = inspect.getdoc(cls)
        law = re.search("``(.+?)``", documentation).group(1)
        arguments = ", ".join(f"`{argument}`" for argument in inspect.signature(cls).parameters)
        lines.append(f"| `{name}` | {documentation.splitlines()[0].rstrip('.')} | `{law}` | {arguments} |")
    return "\n".join(lines) + "\n"


def test_the_table_of_initializers_is_that_of_the_registry():
    assert between("initializers") == table_of_initializers()


def test_the_table_of_the_lab_is_of_all_experiments_and_all_as_expected():
    rows = [[cell.strip() for cell in line.split(" | ")] for line in between("lab").splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows if row[0].strip("| ")] == list(EXPERIMENTS)
    assert {row[-1].strip("| ") for row in rows} == {"as expected"}


def test_the_code_runs_and_prints_its_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, y = load_digits(return_X_y=True)
    names = {"x": (x / 16).astype("float32"), "y": y}
    tables = 0
    for block, shown in re.findall("```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", README, re.DOTALL):
        exec(block, names)
        printed = capsys.readouterr().out
        if shown:
            tables += 1
            assert_same_table(shown, printed)
    assert tables == 2
    # 57 batches an epoch, five epochs.
    assert [profile.step for profile in names["statistics"].history] == [50, 100, 150, 200, 250]


def assert_same_table(shown, printed):
    cells = [[re.split("[│┃]", line) for line in lines.splitlines()] for lines in (shown, printed)]
    for documented, real in zip(*cells, strict=True):
        for a, b in zip(documented, real, strict=True):
            try:
                assert float(a.strip(" %")) == pytest.approx(float(b.strip(" %")), rel=0.05)
            except ValueError:
                assert a.strip(" ━─┏┓┳┡╇┩└┴┘") == b.strip(" ━─┏┓┳┡╇┩└┴┘")
