# make run: install everything, then run the series. make test: prove it. make help: the rest.
PYTHON ?= python3
VENV ?= .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PY := $(BIN)/python
# How long idle OpenMP threads spin before they sleep, here and in run_series.py's kernels. make bench-threads compares.
export GOMP_SPINCOUNT ?= 3000

.PHONY: help install run check test hooks lab exercises grade export save bench bench-train bench-captioner bench-threads clean

help: ## show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/installed ## make the virtual environment and install the dependencies

$(VENV)/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -r requirements.txt
	$(PY) -c "import pathlib; pathlib.Path('$(VENV)/installed').touch()"

$(VENV)/peers-installed: scripts/bench/requirements.txt $(VENV)/installed
	$(PY) -m pip install -r scripts/bench/requirements.txt
	$(PY) -c "import pathlib; pathlib.Path('$(VENV)/peers-installed').touch()"

$(VENV)/classroom-installed: classroom/requirements.txt $(VENV)/installed
	$(PY) -m pip install -r classroom/requirements.txt
	$(PY) -c "import pathlib; pathlib.Path('$(VENV)/classroom-installed').touch()"

run: install ## run the series, from the first lesson to the last; the results are in build/
	$(PY) scripts/run_series.py

check: install ## lint, package and outputs in step with the lessons, links, fast tests: in a minute and a half
	$(PY) -m ruff check .
	$(PY) scripts/export.py --check
	$(PY) -m mypy
	$(PY) -m pytest -q -n 2 --dist loadfile -m "not slow" tests

test: install $(VENV)/peers-installed $(VENV)/classroom-installed ## lint, check that the package is in step, run the tests and every notebook
	$(PY) -m ruff check .
	$(PY) scripts/export.py --check
	$(PY) -m mypy
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
	$(PY) -m pytest --nbval --nbval-current-env notebooks

hooks: install ## for maintainers: let git run .github/hooks/pre-commit, and merge notebooks by cells
	git config core.hooksPath .github/hooks
	git config merge.jupyternotebook.driver "$(BIN)/nbdev-merge %O %A %B %P"

lab: install ## open JupyterLab at the first lesson
	$(PY) -m jupyter lab notebooks/00_the_pictures.ipynb

exercises: install $(VENV)/classroom-installed ## for teachers: make the students' exercises in build/exercises/, and a zip
	$(PY) classroom/make.py

grade: install $(VENV)/classroom-installed ## for teachers: make grade SUBMISSIONS=folder writes grades and feedback beside it
	$(PY) classroom/grade.py $(if $(SUBMISSIONS),"$(SUBMISSIONS)",--help)

export: install ## write the package from the lessons, and remove from them what an editor has left
	$(PY) scripts/export.py
	$(PY) scripts/run_series.py --clean

save: install ## run the series afresh and save its outputs in the notebooks; LESSON="03 07": only these lessons
	$(PY) scripts/run_series.py --fresh --save $(LESSON)

bench-train: install ## lesson 06's model over 3 seeds: time and accuracies
	$(PY) scripts/bench/train.py

bench-captioner: install ## lesson 10's model over 3 seeds, then its four bridges: time and scores
	$(PY) scripts/bench/captioner.py
	$(PY) scripts/bench/captioner.py --bridges 4.5

bench: install $(VENV)/peers-installed ## our ViT's time and memory against other people's, and against its matrix products alone
	$(PY) scripts/bench/models.py

bench-threads: install ## how long a training step takes as OpenMP's threads wait, alone and beside a busy program
	$(PY) scripts/bench/threads.py

clean: ## remove what the series made (build/); the virtual environment stays
	$(PYTHON) -c "import shutil; shutil.rmtree('build', ignore_errors=True)"
