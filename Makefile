# Needs Python 3.11+, make and git; uv is used where it is on the PATH. `make` alone prints the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# uv, unlike pip, does not read pip's setting of where wheels lie.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --python $(RUN),$(RUN) -m pip install --quiet --disable-pip-version-check)

# The seed of random choices in `chaos` and `mutants`, the renders of `chaos`, and the mutants that run at the same time.
SEED ?= 1
RENDERS ?= 200
JOBS ?= 1

.PHONY: help demo dev test faults quality mouths chaos chaos-all mutants contract load siege hostile check bench request-cost bench-web bench-scale bench-gpu constraints clean

help:  ## Print this list.
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 13

demo: $(VENV)/.demo  ## Make a real video; PORTRAIT=me.jpg SPEECH=me.wav: your own. KEEP=1: leave the service running, at PORT=8000.
	$(RUN) manage.py demo $(if $(filter-out 0 no false,$(KEEP)),--keep) $(if $(PORT),--port "$(PORT)") \
		$(if $(PORTRAIT),--portrait "$(PORTRAIT)") $(if $(SPEECH),--speech "$(SPEECH)")

dev: $(VENV)/.demo  ## Run web server, queue and reaper at PORT=8000, with DEBUG and a restart whenever a source file changes.
	$(RUN) manage.py dev $(if $(PORT),--port "$(PORT)")

# Without compiled files each run rewrites the asserts of all tests anew, in both processes, and each process that a
# test starts compiles the service: seconds each.
test faults: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.dev  ## Run the tests, in two processes; T=tests/x.py::test_y: one file or one test, in this process.
	$(RUN) -m pytest $(if $(T),"$(T)",-n 2 --dist loadfile --no-loadscope-reorder)

faults: $(VENV)/.dev  ## Run the slow tests: processes that die at every point, every configuration, full disks, a long video; 25 minutes. T=: one.
	$(RUN) -m pytest -m slow $(if $(T),"$(T)")

quality: $(VENV)/.dev  ## Measure how well the lips of the draft follow a voice; a minute.
	$(RUN) -m pytest -m quality

mouths: $(VENV)/.dev  ## Draw a contact sheet of the draft's mouths, to be looked at: OUT=folder PORTRAIT=me.png; without a portrait the demo's.
	$(RUN) -m tests.mouths --out "$(or $(OUT),var/mouths)" $(if $(PORTRAIT),"$(PORTRAIT)")

chaos: $(VENV)/.dev  ## Render while processes, database and storage fail at random: SEED=1 RENDERS=200; two minutes.
	$(RUN) -m tests.chaos campaign --seed $(SEED) --renders $(RENDERS)

chaos-all: $(VENV)/.dev  ## Run five campaigns, one without each safeguard, and every single fault; an hour. Writes docs/reliability.md.
	$(RUN) -m tests.chaos all

siege: $(VENV)/.dev  ## Run every attack at once for a minute, while a tenant polls.
	$(RUN) -m tests.siege

mutants: $(VENV)/.dev  ## Make a hundred random small changes of the code: which does no test notice? SEED=1, JOBS=2: two at a time.
	$(RUN) -m tests.mutants --seed $(SEED) --jobs $(JOBS)

load: $(VENV)/.dev  ## Send requests at rising rates, compared with a view that does nothing; some minutes.
	$(RUN) -m tests.load

contract: $(VENV)/.dev  ## Send thousands of requests made from the OpenAPI document: is every response as documented? Half an hour.
	$(RUN) -m tests.contract

hostile: $(VENV)/.dev  ## Send small files that are expensive to decode, beside a tenant who must not notice; some minutes.
	$(RUN) -m tests.hostile

check: $(VENV)/.dev  ## Check style, types, the import law, migrations and settings.
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports
	$(RUN) manage.py makemigrations --check --dry-run
	$(RUN) manage.py check

bench: $(VENV)/.dev  ## Measure the draft engine and the service around an engine, as ratios within one run.
	$(RUN) -m tests.bench

request-cost: $(VENV)/.dev  ## Count hops between files and statements to Postgres: of POST /projects, a status poll, a segment.
	$(RUN) -m tests.request_cost

bench-web: $(VENV)/.dev  ## Measure the cost of a request, compared with Django's own ASGI handler under uvicorn.
	$(RUN) -m tests.bench.web

bench-scale: $(VENV)/.dev  ## Measure lists, searches and reports with 100,000 projects.
	$(RUN) -m tests.bench.scale

bench-gpu: $(VENV)/.dev  ## Measure speed and memory of the model on this machine's GPU, with all its memory and with an L40S's.
	mkdir -p var
	$(RUN) -m infinitetalk bench --random-weights full --compile-cache var/compiled --json var/bench-gpu.json
	$(RUN) -m infinitetalk bench --random-weights full --compile-cache var/compiled --memory-limit 44 --json var/bench-gpu-44.json

# Only one make at a time installs the environment: a second one waits for the first, and then finds nothing to do.
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

constraints: $(VENV)/.dev  ## Pin the newest allowed version of every package in constraints.txt.
	$(INSTALL) uv
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade pyproject.toml -o constraints.txt

clean:  ## Remove the environment and everything the service has stored.
	rm -rf $(VENV) var
