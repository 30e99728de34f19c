"""What `import keras_initlab` loads, and what it costs."""

import json

import pytest

from .processes import python

ON_FIRST_USE = [
    *("safetensors", "matplotlib", "tensorboard", "sklearn", "pandas", "rich"),
    *("click", "dask", "IPython", "jinja2", "plotly"),
]
# Keras itself loads some of these where they are installed. They are forgotten before our import, to see whether it
# asks for them.
SCRIPT = """
import json, sys, time

for name in {absent!r}:
    sys.modules[name] = None
start = time.perf_counter()
import keras, tensorflow
middle = time.perf_counter()
for name in list(sys.modules):
    if name.split(".")[0] in {forgotten!r}:
        del sys.modules[name]
before = set(sys.modules)
again = time.perf_counter()
import keras_initlab
end = time.perf_counter()
added = sorted({{name.split(".")[0] for name in set(sys.modules) - before}} - set(sys.stdlib_module_names))
print(json.dumps({{"added": added, "share": (end - again) / (middle - start)}}))
"""


def imported(*, forgotten=(), absent=()):
    done = python("-c", SCRIPT.format(forgotten=list(forgotten), absent=list(absent)))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_import_loads_nothing_besides_keras_tensorflow_and_scipy():
    assert set(imported(forgotten=ON_FIRST_USE)["added"]) <= {"keras_initlab", "scipy"}


def test_import_costs_at_most_five_percent():
    # The dearest case: without these Keras has not loaded SciPy already. A machine that pauses in the one short import
    # is given two more chances.
    optional = ["matplotlib", "sklearn", "pandas"]
    assert any(imported(absent=optional)["share"] <= 0.05 for _ in range(3))


@pytest.mark.parametrize("name", ON_FIRST_USE)
def test_the_check_notices_a_module_that_is_loaded(name):
    pytest.importorskip(name)
    script = SCRIPT.replace("import keras_initlab", f"import {name}").replace("import keras, tensorflow", "import json")
    done = python("-c", script.format(forgotten=ON_FIRST_USE, absent=[]))
    assert name in json.loads(done.stdout)["added"]
