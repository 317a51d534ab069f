# make demo   read two photographs with the light half (no torch): the first thing to try
# make test   lint, types and every test that this machine can run, with all extras
# make clean  remove what the two made
#
# PYTHON=python3.12 picks the interpreter, VENV=path the environment. CONSTRAINTS= (empty) takes the newest
# release of every dependency instead of the pinned ones.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test clean

demo: $(VENV)/light.stamp
	$(BIN)/python tools/demo_photos.py demo
	rm -rf demo/annotated
	$(BIN)/mien read demo/astronaut.png demo/grace_hopper.jpg --annotate demo/annotated

test: $(VENV)/dev.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -m ""

# The stamps are newer than what they were made from: an environment is refreshed when a dependency changes.
$(VENV)/light.stamp: pyproject.toml | $(VENV)/made.stamp
	$(PIP) --editable .
	touch $@

$(VENV)/dev.stamp: pyproject.toml $(CONSTRAINTS) | $(VENV)/made.stamp
	$(PIP) $(addprefix --constraint ,$(CONSTRAINTS)) --editable ".[dev]"
	touch $@

# Not $(BIN)/python: that is there before pip is, when making the environment was interrupted.
$(VENV)/made.stamp:
	$(PYTHON) -m venv $(VENV)
	touch $@

clean:
	rm -rf $(VENV) demo build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
