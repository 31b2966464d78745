# Two commands do everything: `make bench` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NODES  ?= 2,4,8
MODELS ?= tiny,synthetic:llama-160m
REPORT ?= report
BENCH_ARGS ?=
HISTORY ?= auto
NIGHTLY_ARGS ?=
TEST_ARGS  ?=
TEST_WORKERS ?= 3
FUZZ_COUNT ?= 100000
PROOF_ARGS ?=
FAULT_ARGS ?=
CHAOS_ARGS ?= --faults 200 --seed 7

.DEFAULT_GOAL := help
.PHONY: help bench nightly test test-deps lint types fuzz train clean benchmarks test-arm wheel \
        verdict-proof fault-campaign chaos

help:  ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24

bench: $(VENV)/.installed  ## Measure the shipped models on 2, 4 and 8 local nodes, write report/
	$(BIN)/pytest suites/ --nodes $(NODES) --models $(MODELS) --report $(REPORT) \
	  --thresholds suites/thresholds.toml --benchmark-columns=min,median,max $(BENCH_ARGS)

nightly: $(VENV)/.installed  ## A night's work: measure, calibrate once, watch, judge (HISTORY=DIR, NIGHTLY_ARGS=)
	$(BIN)/pytest-dllama nightly --nodes $(NODES) --models $(MODELS) --report $(REPORT) \
	  --history $(HISTORY) --thresholds suites/thresholds.toml $(NIGHTLY_ARGS)

test: lint types  ## Lint, types and all tests (TEST_ARGS="-k x"; TEST_WORKERS=0: in one process)
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

lint: $(VENV)/.installed-dev  ## ruff: rules and format; the schema of the workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

types: $(VENV)/.installed-dev  ## mypy --strict
	$(BIN)/mypy

TEST_PROGRAMS = sshd ssh-keygen ssh-copy-id ip systemd-run
TEST_PACKAGES = openssh-server openssh-client iproute2 systemd
BROWSER_PACKAGES = chromium chromium-driver
test-deps:  ## What tests need of Debian: an SSH server, ip, systemd-run, a browser (root or sudo)
	@PATH="$$PATH:/usr/sbin:/sbin"; missing=; packages=; \
	for program in $(TEST_PROGRAMS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || packages="$(TEST_PACKAGES)"; \
	[ "$$PYTEST_DLLAMA_NO_BROWSER" = 1 ] || command -v chromedriver >/dev/null || \
	  { missing="$$missing chromedriver"; packages="$$packages $(BROWSER_PACKAGES)"; }; \
	[ -z "$$missing" ] && exit 0; \
	if [ "$$(id -u)" = 0 ]; then as_root=; else as_root="sudo -n"; fi; \
	echo "Installing $$packages, for$$missing"; \
	$$as_root apt-get update -qq && $$as_root env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $$packages >/dev/null

fuzz: $(VENV)/.installed-dev  ## 100 000 damaged files, and so many conversations of nodes: typed errors only
	$(BIN)/python -W error -m tests.fuzz --mutations $(FUZZ_COUNT)
	$(BIN)/python -W error -m tests.fuzz_wire --cases $(FUZZ_COUNT)

wheel: $(VENV)/.installed-dev  ## A wheel in dist/ that carries kernels for common CPUs: who installs it compiles none
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist .
	$(BIN)/pytest-dllama kernels build --into-wheel dist/*.whl

benchmarks: $(VENV)/.installed  ## Kernels and steps beside the memory roofline and, if installed, llama.cpp
	$(BIN)/python -m benchmarks

verdict-proof: $(VENV)/.installed-dev  ## How often verdicts are right; hours, resumable (PROOF_ARGS="--quick")
	$(BIN)/python -m benchmarks.verdicts.proof $(PROOF_ARGS)

fault-campaign: $(VENV)/.installed-dev  ## Kill, stop and cut every rank at every line of a session
	$(BIN)/python -m tests.engine.faults $(FAULT_ARGS)

chaos: $(VENV)/.installed-dev  ## 200 random faults on links and nodes (CHAOS_ARGS="--faults 50 --seed 3")
	$(BIN)/python -m tests.engine.chaos $(CHAOS_ARGS)

test-arm: $(VENV)/.installed-dev  ## The AArch64 kernels under qemu (Debian's qemu-user, arm64 Python)
	$(BIN)/python -m benchmarks.kernels.arm

train: $(VENV)/.installed  ## Make the shipped model `tiny` again (PyTorch CPU, about half an hour)
	$(BIN)/pip install --quiet -e '.[train]'
	$(BIN)/python -m training.train

clean:  ## Remove the environment, caches and reports
	rm -rf $(VENV) $(REPORT) .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
	       "try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "Python's venv module is missing; on Debian: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/pip
	@echo "Installing pytest-dllama and its libraries into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml $(VENV)/.installed
	@echo "Installing the development tools into $(VENV)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
