# Needs Python 3.11+, make and git; uv is used where it is on the PATH.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# uv, unlike pip, does not read pip's setting of where wheels lie.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --python $(RUN),$(RUN) -m pip install --quiet --disable-pip-version-check)

# What the fault campaign is drawn from, and how large it is.
SEED ?= 1
RENDERS ?= 200
# How many changes of meaning are tried at a time.
JOBS ?= 1

.PHONY: demo test faults chaos chaos-all mutants contract load siege hostile check bench request-cost bench-web bench-scale bench-gpu constraints clean

demo: $(VENV)/.demo  ## A real video: PORTRAIT=me.jpg SPEECH=me.wav. KEEP=1 leaves the service running, at PORT=8000.
	$(RUN) manage.py demo $(if $(filter-out 0 no false,$(KEEP)),--keep) $(if $(PORT),--port "$(PORT)") \
		$(if $(PORTRAIT),--portrait "$(PORTRAIT)") $(if $(SPEECH),--speech "$(SPEECH)")

test: $(VENV)/.dev  ## Everything that CI runs.
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

faults: $(VENV)/.dev  ## Deaths of processes at every point, every configuration, a film of half an hour, compiling; 20 minutes.
	$(RUN) -m pytest -m slow

chaos: $(VENV)/.dev  ## Renders while all that can die dies: SEED=1 RENDERS=200; about two minutes.
	$(RUN) -m tests.chaos campaign --seed $(SEED) --renders $(RENDERS)

chaos-all: $(VENV)/.dev  ## Five campaigns, each safeguard taken away, every single fault: an hour. Writes docs/reliability.md.
	$(RUN) -m tests.chaos all

siege: $(VENV)/.dev  ## A minute of every attack at once, while a tenant polls.
	$(RUN) -m tests.siege

mutants: $(VENV)/.dev  ## A hundred small changes of meaning, drawn by SEED=1: which does no test notice? JOBS=2 tries two at a time.
	$(RUN) -m tests.mutants --seed $(SEED) --jobs $(JOBS)

load: $(VENV)/.dev  ## Requests at rising rates, beside a view that does nothing; some minutes.
	$(RUN) -m tests.load

contract: $(VENV)/.dev  ## Thousands of requests made from the OpenAPI document: is every answer as documented? Half an hour.
	$(RUN) -m tests.contract

hostile: $(VENV)/.dev  ## Small files that are dear to decode, beside a tenant who must not notice; some minutes.
	$(RUN) -m tests.hostile

check: $(VENV)/.dev  ## Style, types, import law, migrations.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) manage.py makemigrations --check --dry-run
	$(RUN) manage.py check

bench: $(VENV)/.dev  ## Speed of the draft and of the service around an engine, as ratios of one run.
	$(RUN) -m tests.bench

request-cost: $(VENV)/.dev  ## Hops between files and statements to Postgres: of POST /projects, a status poll, a segment.
	$(RUN) -m tests.request_cost

bench-web: $(VENV)/.dev  ## The cost of a request in the web process, beside Django's own ASGI handler under uvicorn.
	$(RUN) -m tests.bench_web

bench-scale: $(VENV)/.dev  ## Lists, searches and reports with 100,000 projects.
	$(RUN) -m tests.bench_scale

bench-gpu: $(VENV)/.dev  ## Speed and memory of the model on this machine's GPU, of the whole card and as on an L40S.
	mkdir -p var
	$(RUN) -m infinitetalk bench --random-weights full --compile-cache var/compiled --json var/bench-gpu.json
	$(RUN) -m infinitetalk bench --random-weights full --compile-cache var/compiled --memory-limit 44 --json var/bench-gpu-44.json

# The environment is made by one make at a time: another one waits, and then looks again at what is to be done.
ifndef ALONE
LOCKED = import fcntl, subprocess, sys; lock = open("Makefile"); fcntl.flock(lock, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[1:]))

$(VENV)/.demo $(VENV)/.dev: pyproject.toml constraints.txt
	@$(PYTHON) -c '$(LOCKED)' $(MAKE) --no-print-directory ALONE=yes $@
else
$(RUN):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, and $(PYTHON) is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -c constraints.txt -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(RUN)
	$(INSTALL) -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.demo
endif

constraints: $(VENV)/.dev  ## Resolve every version anew.
	$(INSTALL) uv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade pyproject.toml -o constraints.txt

clean:  ## Remove the environment and everything the service has stored.
	rm -rf $(VENV) var
