# make run    set up the base program and start it on the folders of this checkout
# make stack  set up and start all four: JupyterLab, runner, gateway, MCP server
# make peers  the tests beside real Samba, JupyterLab, mounts and n8n, which it installs (2 GB, once)
# make test   set up everything and run all tests, some at a time; TEST_PROCESSES=1 for one
# make quick  the tests that start no kernel: unit, integration, the fault harness; two minutes
# make check  lint, types and tests of the architecture
# make setup-stack  .venv with the program and every extra: JupyterLab, MCP server, Dask
# make setup  .venv with the program, every extra and the development tools
# make bench  measure how long notebooks take and what they cost, into docs/benchmarks.md; OPTIONS="--runs 3"
# make profile  where the CPU of a burst goes, by part, as flames in profile/; OPTIONS="--part drivers"
# make bench-growth  how cost grows with cells, outputs, slots, jobs and files, into docs/performance.md; QUICK=1
# make bench-cluster  measure a Dask cluster on this machine, into docs/scale.md; QUICK=1 for a look
# make bench-memory  memory of daemon and gateway over 2,000 jobs
# make bench-rules  1,000 data files at once on a rule, and 20,000 that stay; OPTIONS="--files 10000" for more
# make bench-mcp  what the tools for agents cost a model, in tokens
# make screenshots  pictures of the page, into docs/page
# make load   100,000 drops with a fake execution, 1,000 with real kernels
# make soak   20 minutes of random drops, cancels and kills; MINUTES=5 for fewer
# make conform DIR=…  notebooks below DIR by papermill and by the inbox, and what differs
# make conform-kernel DIR=…  the tests of an ipykernel or nbclient checkout on a forked kernel
# make lock   write the lock files anew
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two more than cores, since tests wait half of their time; each starts programs that use them all.
TEST_PROCESSES ?= $(shell n=$$(getconf _NPROCESSORS_ONLN); echo $$((n < 4 ? n + 2 : 6)))
# Each of some hundred programs would compile its modules anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n $(TEST_PROCESSES) --dist loadscope --no-loadscope-reorder
INSTALL := $(BIN)/python scripts/install.py
LOCKS := requirements.lock requirements-dev.lock
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header pyproject.toml
STACK_EXTRAS := --extra lab --extra mcp --extra notify --extra science --extra dask

# A venv has its own path in all its scripts, and pip in all that it installs.
MADE_AT = $(shell sed -nE "s/^( *export )?VIRTUAL_ENV=//p" $(BIN)/activate 2>/dev/null | head -1 | tr -d "\\\"'")
ifneq ($(filter-out clean,$(or $(MAKECMDGOALS),run)),)
ifneq ($(MADE_AT),)
ifneq ($(MADE_AT),$(CURDIR)/$(VENV))
$(error $(CURDIR)/$(VENV) was made as $(MADE_AT) and works there only: if this folder was moved or copied, make clean, and then this again)
endif
endif
endif

.PHONY: run stack setup setup-stack test quick unit peers check format bench bench-growth profile bench-cluster bench-mcp \
    bench-memory bench-rules \
    screenshots load soak \
    conform conform-kernel lock clean

# `exec`, since a shell between would die of Ctrl-C, and make call that an error.
run: $(VENV)/.base
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; exec $(BIN)/python scripts/start.py run

stack: $(VENV)/.stack
	@PATH="$(CURDIR)/$(BIN):$$PATH"; export PATH; exec $(BIN)/python scripts/start.py stack

setup: $(VENV)/.dev

setup-stack: $(VENV)/.stack

test: $(VENV)/.dev
	$(PYTEST)

quick: $(VENV)/.dev
	$(PYTEST) -m "not kernels" tests/unit tests/integration tests/faults

unit: $(VENV)/.dev
	$(BIN)/pytest tests/unit

peers: $(VENV)/.dev
	INSTALL_PEERS=1 $(BIN)/pytest tests/peers

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_architecture.py

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev
	PYTHONPATH=bench $(BIN)/python -m speed --write docs/benchmarks.md $(OPTIONS)

bench-growth: $(VENV)/.dev
	PYTHONPATH=bench $(BIN)/python -m growth $(if $(QUICK),--quick,--write docs/performance.md) $(OPTIONS)

profile: $(VENV)/.dev
	PYTHONPATH=bench $(BIN)/python -m profiling $(OPTIONS)

bench-cluster: $(VENV)/.dev
	$(BIN)/python bench/cluster.py $(if $(QUICK),--quick,--write docs/scale.md)

bench-mcp: $(VENV)/.dev
	$(BIN)/python bench/mcp_tokens.py $(if $(URL),--url $(URL))

screenshots: $(VENV)/.dev
	$(BIN)/python bench/screenshots.py

load: $(VENV)/.dev
	$(BIN)/python bench/load.py

bench-memory: $(VENV)/.dev
	$(BIN)/python bench/memory.py

bench-rules: $(VENV)/.dev
	$(BIN)/python bench/rules.py $(OPTIONS)

soak: $(VENV)/.dev
	$(BIN)/python bench/soak.py --minutes $(or $(MINUTES),20)

conform: $(VENV)/.dev
	$(BIN)/python bench/conform.py $(DIR) $(OPTIONS)

conform-kernel: $(VENV)/.dev
	$(BIN)/python bench/conform_kernel.py $(DIR) $(OPTIONS)

lock: $(VENV)/.dev
	$(COMPILE) -o requirements.lock
	$(COMPILE) --all-extras -c requirements.lock -o requirements-dev.lock
	$(COMPILE) $(STACK_EXTRAS) -c requirements-dev.lock -o requirements-stack.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 run")'
	@echo 'Making $(CURDIR)/$(VENV)' >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: requirements.lock pyproject.toml | $(BIN)/python
	@$(INSTALL) base
	@touch $@

$(VENV)/.stack: requirements-stack.lock pyproject.toml | $(BIN)/python
	@$(INSTALL) stack
	@touch $@ $(VENV)/.base

$(VENV)/.dev: $(LOCKS) pyproject.toml | $(BIN)/python
	@$(INSTALL) dev
	@touch $@ $(VENV)/.base $(VENV)/.stack
