# Bare `make` lists the targets. Each of them sets up what it needs; a second run takes no time.

VENV := .venv
BIN := $(VENV)/bin
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
# The virtual environment is complete if it holds the mark of these very files.
MADE := $(VENV)/.made-$(shell cat requirements.lock pyproject.toml | cksum | tr ' ' '-')
# Two set-ups at once take turns, where the system has flock (Debian and Ubuntu do).
TAKE_TURNS := $(if $(shell command -v flock 2>/dev/null),flock .make/lock)
# pip would compile every module on one core; compileall does it on all of them.
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input --no-compile

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-all test-faults soak test-runtimes bench coverage check images clean venv

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

setup: $(MADE) ## dependencies, container engine, images
	@$(BIN)/executor setup

demo: setup ## set up, then run one script in each language and show what happened
	@$(BIN)/python -m tests.servers $(BIN)/executor demo

serve: setup ## set up, then run the service in the foreground
	@exec $(BIN)/executor serve

test: setup ## set up, then the test suite, two files at a time (ARGS="-k name" for a part, "-n 0" in turn)
	@$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile $(ARGS)

test-all: setup ## as test, and the tests that take minutes: more kills, more random flows
	@$(BIN)/python -m pytest $(ARGS)

test-faults: setup ## what is killed, filled, stopped and set back under a real service, long tests among them
	@$(BIN)/python -m pytest -m faults tests/faults $(ARGS)

soak: setup ## everything at once for ten minutes, then totals, leaks and drift (ARGS="--minutes 3 --clients 16")
	@$(BIN)/python -m tests.soak $(ARGS)

bench: setup ## set up, then what scripts and flow runs cost here, beside others (ARGS=--help; some 20 minutes)
	@$(BIN)/python -m tests.bench $(ARGS)

test-runtimes: setup ## set up, then the conformance cases in real containers (RUNTIME=deno for one language)
	@$(BIN)/python -m tests.runtimes $(RUNTIME)

coverage: $(MADE) ## how much of the parsers their tests reach; needs no engine
	@$(BIN)/python -m tests.fuzz

check: $(MADE) ## formatting, lint, types, import rules; needs no engine
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

images: $(MADE) ## build the images that are missing
	@$(BIN)/executor images build

clean: ## remove the virtual environment and caches; data, images and the engine stay
	rm -rf $(VENV) .make dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@mkdir -p .make
	@$(TAKE_TURNS) $(MAKE) --no-print-directory venv

# Whatever an interrupted run left is thrown away: the mark comes last.
venv:
	@set -e; if test -e $(MADE); then exit 0; fi; \
	python=; \
	for p in $(or $(PYTHON),$(PYTHONS)); do \
	  if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$p; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "no Python 3.11 or newer among: $(or $(PYTHON),$(PYTHONS))" >&2; \
	  echo "install one (Debian, Ubuntu: apt-get install python3) or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	$$python -c 'import ensurepip' 2>/dev/null || $(MAKE) --no-print-directory ensurepip PYTHON=$$python; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV); \
	$(PIP_INSTALL) --require-hashes -r requirements.lock; \
	$(PIP_INSTALL) --quiet --no-deps --no-build-isolation -e .; \
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || :; \
	touch $(MADE)

# Debian keeps the part of Python that puts pip into a virtual environment in a package of its own.
.PHONY: ensurepip
ensurepip:
	@package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $$package"; \
	  apt-get -q update; \
	  DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 install --no-install-recommends $$package; \
	else \
	  echo "this Python cannot make virtual environments; run: sudo apt-get install $$package" >&2; exit 1; \
	fi
