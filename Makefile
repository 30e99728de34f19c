# The commands that people and continuous integration run. PYTHON is only used to make .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := bash
.DELETE_ON_ERROR:
.PHONY: demo test test-backends test-lab test-pages sweep lint bench clean

export TF_CPP_MIN_LOG_LEVEL ?= 2
# Test processes that each start a thread for every core wait for one another: 27 s in place of 3 for an attention test.
test test-backends test-lab test-pages sweep: export OPENBLAS_NUM_THREADS ?= 1
# TensorFlow prints these before it reads TF_CPP_MIN_LOG_LEVEL, whatever is set.
NOISE := ^WARNING: All log messages before absl::|^[IWE]0000 .*(port|cudart_stub|cuda_platform)\.cc
QUIETLY = 2> >(grep --line-buffered -Ev '$(NOISE)' >&2)

demo: $(VENV)/demo.done
	@$(BIN)/python examples/demo.py $(QUIETLY)

test: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m "not sweep and not lab and not page"

# The initializers and the drawing of whole models on each backend, on the processor. Keras fails by itself where the one asked for does not load.
test-backends: $(VENV)/backends.done
	@set -e; for backend in tensorflow jax torch; do \
		echo "KERAS_BACKEND=$$backend"; \
		KERAS_BACKEND=$$backend $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not sweep" \
			tests/initializers tests/model_init/test_reinitialize_places.py; \
	done

# Every experiment with its defaults; sweeps whose processes are killed.
test-lab: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m lab

test-pages: $(VENV)/pages.done
	@command -v chromium >/dev/null || { \
		echo "Installing Chromium."; sudo=$$(test $$(id -u) = 0 || echo sudo); \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium; }
	$(BIN)/python -m pytest -m page

sweep: $(VENV)/test.done
	$(BIN)/python -m pytest -n 2 -m sweep

lint: $(VENV)/lint.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/backends.done
	@set -e; for script in benchmarks/*.py; do $(BIN)/python $$script $(QUIETLY); done

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis logs demo.png

# A stamp is newer than what decides its installation, so that the second run installs nothing.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "keras_initlab needs Python 3.10 or later: make PYTHON=python3.x ...")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/demo.done: EXTRAS := .[plot] scikit-learn
$(VENV)/test.done: EXTRAS := .[test]
$(VENV)/lint.done: EXTRAS := .[dev]
$(VENV)/backends.done: EXTRAS := .[test,backends]
$(VENV)/pages.done: EXTRAS := .[pages]
$(VENV)/%.done: $(VENV)/made setup.cfg pyproject.toml
	@echo "Installing into $(VENV); the first time this fetches TensorFlow, some minutes."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e $(EXTRAS)
	@touch $@
