# Needs git, make, Python 3.11 or newer and pip; everything else goes into .venv and _build.
# `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

PYTHON ?= $(shell for python in python3.11 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
# Test processes at a time, one thread each. `make -j2 book` executes two notebooks at a time.
WORKERS ?= 2
# Seconds that `make fuzz` spends on each reader.
FUZZ ?= 60
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

VENV := .venv
PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
BUILD := _build
STAGE := $(BUILD)/source
EXECUTED := $(BUILD)/executed
RENDERED := $(BUILD)/rendered
KERNEL := $(BUILD)/ipython/profile_default/ipython_kernel_config.py

NOTEBOOKS ?= $(sort $(wildcard book/notebooks/*.ipynb))
EXECUTED_NOTEBOOKS := $(NOTEBOOKS:%=$(EXECUTED)/%)
CODE := $(shell find duokit -name '*.py' 2>/dev/null)
ARTIFACTS := $(shell find book/artifacts -type f 2>/dev/null)

# Kernels of this environment only, and no notes on stderr that would end up in an output.
export IPYTHONDIR := $(CURDIR)/$(BUILD)/ipython
export JUPYTER_PREFER_ENV_PATH := 1
export JUPYTER_PLATFORM_DIRS := 1
export PYDEVD_DISABLE_FILE_VALIDATION := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## list the targets (this text)
	@echo "make TARGET, where TARGET is one of"
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1|\2/' | \
		while IFS='|' read -r name text; do printf '  %-10s %s\n' "$$name" "$$text"; done

.PHONY: setup
setup: $(INSTALLED) ## create .venv from constraints.txt and install duokit into it

$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found: install it, or name it: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v < (3, 11) and sys.exit(f"Python >= 3.11 is needed, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=/path/to/python3.11 ..."); v[:2] != (3, 11) and print(f"Note: the pinned versions are tested with Python 3.11, this is {v[0]}.{v[1]}.")'
	@echo "==> creating $(VENV)"
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { \
		$(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(PY) install pip; }
	@echo "==> installing duokit and the pinned packages (a few minutes the first time)"
	$(PY) -m pip install --no-compile -c constraints.txt -e ".[models,book,dev]"
	@echo "==> checking that the packages agree and load"
	@$(PY) -m pip check
	@$(PY) -c 'import matplotlib.font_manager, torch, duokit; print("duokit", duokit.__version__, "torch", torch.__version__)'
	@touch $@

$(KERNEL):
	@mkdir -p $(@D)
	@echo 'c.IPKernelApp.log_level = 40  # the note on TCP at each start is no news' > $@

.PHONY: book
book: $(EXECUTED_NOTEBOOKS) $(INSTALLED) ## execute every notebook, then render the book from these outputs
	@$(PY) tools/stage.py $(STAGE) --executed $(EXECUTED)
	@$(MAKE) --no-print-directory render

$(EXECUTED)/%.ipynb: %.ipynb $(INSTALLED) $(CODE) $(ARTIFACTS) | $(KERNEL)
	@echo "==> executing $<"
	@mkdir -p $(@D)
	@$(PY) -m duokit.notebooks execute --out $(@D) $<

.PHONY: html
html: $(INSTALLED) ## render the book from the committed outputs, executing nothing
	@$(PY) tools/stage.py $(STAGE)
	@$(MAKE) --no-print-directory render

.PHONY: render
render: $(RENDERED)
	@echo "==> the book is ready: $(CURDIR)/$(BUILD)/html/index.html"

# All pages or none: a page that shows another page's numbers is not read again when those change,
# and the renderer forgets the warnings of pages it does not read again.
$(RENDERED): $(STAGE).stamp $(INSTALLED) $(CODE)
	@echo "==> rendering (a warning is an error)"
	@rm -rf $@ $(BUILD)/html
	@$(VENV)/bin/jupyter-book build $(STAGE) --path-output . --all -W -n --keep-going
	@$(PY) tools/offline.py $(BUILD)/html
	@touch $@

.PHONY: test
test: $(INSTALLED) $(KERNEL) ## run the unit tests, then every committed notebook against its outputs
	@echo "==> unit tests"
	$(PY) -m pytest -n $(WORKERS) -m "not long" tests
	@echo "==> notebooks: executed again, text and tables compared with the committed outputs"
	$(PY) -m pytest -n $(WORKERS) --dist loadscope --nbval --nbval-current-env \
		--nbval-sanitize-with tests/nbval_sanitize.cfg $(NOTEBOOKS)

.PHONY: coverage
coverage: $(INSTALLED) ## all unit tests, the long ones too, with the lines of duokit that none of them runs
	$(PY) -m pytest -n $(WORKERS) --cov=duokit --cov-report=term tests

.PHONY: notebooks
notebooks: $(INSTALLED) $(KERNEL) ## execute the notebooks and replace their committed outputs (some: NOTEBOOKS="...")
	$(PY) -m duokit.notebooks update $(NOTEBOOKS)

.PHONY: check
check: $(INSTALLED) ## ruff (rules and format) and mypy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

.PHONY: fuzz
fuzz: $(INSTALLED) ## fuzz every reader of files, FUZZ=60 seconds each; counts in benchmarks/fuzz.csv
	@test -d $(BUILD)/fuzz/packages || $(PY) -m pip install -q --no-deps --target $(BUILD)/fuzz/packages atheris==3.0.0
	PYTHONPATH=$(BUILD)/fuzz/packages $(PY) tools/fuzz.py --seconds $(FUZZ) --out benchmarks/fuzz.csv

.PHONY: mutants
mutants: $(INSTALLED) ## break fusion, metrics, cascade and logits line by line: which tests notice? (hours)
	$(PY) tools/mutate.py fusion metrics cascade logits --workers $(WORKERS) --out benchmarks

.PHONY: promises
promises: $(INSTALLED) ## run the tests that hold the kit to its promises and write that page of the book
	$(PY) tools/promises.py --workers $(WORKERS)

.PHONY: set-repo
set-repo: ## carry the public address of the repository to every file: URL=https://github.com/me/fork
	@$(PYTHON) tools/address.py "$(URL)"

.PHONY: pins
pins: ## write environment.yml and binder/environment.yml from constraints.txt
	@$(PYTHON) tools/pins.py write

.PHONY: lock
lock: $(INSTALLED) ## write constraints.txt from what .venv holds, then the files of `make pins`
	@$(PY) tools/pins.py lock

.PHONY: clean
clean: ## remove what was built; the environment stays
	rm -rf $(BUILD) .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*

.PHONY: distclean
distclean: clean ## remove the environment too
	rm -rf $(VENV)
