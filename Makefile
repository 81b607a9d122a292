# autopod: the commands of the house. `make` lists them.
# Written for GNU make 3.81 (macOS) and later; a recipe longer than a line lives in scripts/.

PREFIX  ?= /usr/local
DESTDIR ?=

# What make setup brought and this machine doesn't have of its own.
export PATH := $(PATH):$(CURDIR)/.tools/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo run test lint format completions dist check-dist bench install uninstall clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## find and install what is missing, make .venv (silent when nothing is)
	@bash scripts/setup.sh

demo: setup ## run jobs/demo.json end to end on this machine
	@AUTOPOD_LOCAL_RATE=$${AUTOPOD_LOCAL_RATE:-0.44} bin/comfy-run --provider local --job jobs/demo.json --overwrite

run: ## run jobs: make run JOBS='jobs/*.json' [ARGS=--dry-run]
	@$(if $(JOBS),,$(error which jobs? make run JOBS='jobs/*.json'))bin/comfy-run --jobs '$(JOBS)' $(ARGS)

test: setup ## run the tests: make test [TESTS='tests/os.bats']
	@bash scripts/test.sh $(ARGS) $(TESTS)

lint: setup ## shellcheck, shfmt, ruff, mypy
	@bash scripts/lint.sh

format: setup ## let shfmt and ruff rewrite the sources
	@bash scripts/lint.sh --fix

completions: ## write completions/ anew, from the --help of each command
	@bash scripts/completions.sh

dist: ## build dist/: each command as one self-contained file
	@bash scripts/dist.sh dist

check-dist: setup ## build twice, compare, and test the builds in an empty directory
	@bash scripts/check-dist.sh

bench: setup ## measure against scp and a bare client
	@bash bench/run.sh $(ARGS)

install: ## install commands, man pages, completions, templates: make install [PREFIX=/usr/local] [DESTDIR=]
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' bash scripts/install.sh install

uninstall: ## remove what install put there
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' bash scripts/install.sh uninstall

clean: ## remove what make made, but for .venv and .tools
	@rm -rf dist .mypy_cache .ruff_cache
