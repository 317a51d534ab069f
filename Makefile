# make demo   read two photographs with the light half (no torch): the first thing to try
# make test   lint, types and every test that this machine can run, with all extras; the end names what was skipped
# make test-minimums   tests of reading, serving and data sets with the lowest versions that pyproject.toml declares
# make test-minimums-train   the same of training, for which it brings several GB of torch
# make test-install   sdist and wheel, checked, installed in fresh environments of PYTHONS="python3.11 python3.13"
# make docs   build the documentation site into build/site; a dead link fails
# make clean  remove what these made
#
# PYTHON=python3.12 picks the interpreter, VENV=path the environment. CONSTRAINTS= (empty) takes the newest
# release of every dependency instead of the pinned ones. CHROMIUM= (empty) lets `make test` install no browser.
# WORKERS=8 runs so many tests of it at a time.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
CHROMIUM ?= sh tools/chromium.sh
WORKERS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

.PHONY: demo test test-minimums test-minimums-train test-install docs clean

demo: $(VENV)/light.stamp
	$(BIN)/python tools/demo_photos.py demo
	rm -rf demo/annotated
	$(BIN)/mien read demo/astronaut.png demo/grace_hopper.jpg --annotate demo/annotated

test: $(VENV)/dev.stamp
	$(CHROMIUM)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(SITE)
	MIEN_SITE=build/site $(BIN)/pytest -rs -m "not browser" --numprocesses $(WORKERS) --dist loadfile
	MIEN_SITE=build/site $(BIN)/pytest -rs -m browser

# Old releases warn of each other, so warnings are no errors here.
test-minimums:
	$(PYTHON) -m venv --clear $(VENV)-minimums
	$(VENV)-minimums/bin/python tools/minimum_versions.py web video data parquet heif > $(VENV)-minimums/lowest.txt
	$(VENV)-minimums/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(VENV)-minimums/lowest.txt \
		--editable '.[web,data,parquet,heif]' pytest psutil httpx scikit-image scikit-learn 'onnx<1.20' 'ml_dtypes<0.6'
	$(VENV)-minimums/bin/pytest -W default tests/core tests/web tests/data tests/cli/test_main.py tests/cli/test_models.py \
		tests/cli/test_read.py tests/workflows/datasets tests/workflows/quiz tests/workflows/test_html_pages.py \
		tests/workflows/test_templates.py tests/workflows/test_rows.py tests/workflows/test_evaluate.py

test-minimums-train:
	$(PYTHON) -m venv --clear $(VENV)-minimums
	$(VENV)-minimums/bin/python tools/minimum_versions.py data train explain search several > $(VENV)-minimums/lowest.txt
	$(VENV)-minimums/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(VENV)-minimums/lowest.txt \
		--editable '.[explain,search,several]' pytest psutil scikit-image
	$(VENV)-minimums/bin/pytest -W default tests/train tests/workflows/test_release.py tests/workflows/test_report.py \
		tests/workflows/test_search.py tests/workflows/test_search_report.py tests/workflows/explain

test-install:
	$(PYTHON) tools/try_install.py $(PYTHONS)

docs: $(VENV)/dev.stamp
	$(SITE)

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
	rm -rf $(VENV) $(VENV)-minimums demo build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
