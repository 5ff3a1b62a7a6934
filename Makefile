# Each target does all the set-up it needs; a second run finds it done and installs nothing.
#   make campaign                        the default campaign, on all cores
#   make campaign ARGS="--dry-run"       any further arguments of snakemake
#   make status                          where it stands, also while it runs
#   make test                            lint and tests
#   make PYTHON=/path/to/python3.11 ...  another Python for .venv

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup campaign status test

ARGS ?=
export PYTHON
# Rules run `python` and command-line tools: they must be those of the environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# An activated environment elsewhere, or packages in the home folder, must not mix with the lock.
unexport PYTHONPATH
unexport PYTHONHOME
export PYTHONNOUSERSITE := 1
# Unset, DGL asks the user and writes a file into the home folder.
export DGLBACKEND := pytorch

help:
	@sed -n 's/^#   //p' Makefile

# Quantum ESPRESSO comes last: where it cannot be installed, everything else is in place already.
setup:
	@bash workflow/setup/install_python_environment.sh
	@.venv/bin/python workflow/setup/install_pseudopotentials.py
	@.venv/bin/python workflow/setup/install_page_libraries.py
	@bash workflow/setup/install_quantum_espresso.sh

# A campaign that was killed leaves Snakemake's own lock and half-made files behind: both are
# cleared, under a lock that ends with its process, so that two campaigns never share the folder.
campaign: setup
	@mkdir -p results
	@flock --no-fork --nonblock --conflict-exit-code 75 results/.campaign.lock bash -c ' \
		snakemake --unlock --quiet all >/dev/null 2>&1; \
		exec snakemake --cores all --rerun-incomplete $(ARGS)' \
	|| { code=$$?; [ $$code -ne 75 ] || echo "another campaign is running in this folder" >&2; exit $$code; }

status:
	@[ -x .venv/bin/snakemake ] || { echo "nothing is set up here yet: make setup" >&2; exit 1; }
	@snakemake --cores 1 --quiet all --nolock status $(ARGS)

# Two processes, of one thread each, share the files of tests; ARGS="-n 8" makes more of them.
test: setup
	@bash workflow/setup/install_browser.sh
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)
