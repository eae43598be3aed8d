# make demo     images to seeds to a segmentation network on a small drawn data set, on the CPU
# make test     ruff's rules and every test
# make lint     ruff's rules alone
# make env      what they need, by themselves: .venv and the C++ program's system packages
# make bench    the figures of README.md and docs/benchmarks.md, as one table, next to the committed ones
# make options  docs/options.md from the option table

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PROGRAM := external/superpixel/makeSuperpixel

.PHONY: all env demo test lint bench options clean
.DEFAULT_GOAL := all

all: env $(PROGRAM)

env: $(INSTALLED)

$(VENV)/bin/python:
	@sh .ci/make_venv.sh $(VENV)

$(INSTALLED): setup.py pyproject.toml $(wildcard icd/method/*.cpp icd/method/mean_field/* external/superpixel/python/* external/superpixel/src/* external/superpixel/include/*) .ci/make_venv.sh .ci/system_packages.sh | $(VENV)/bin/python
	@sh .ci/system_packages.sh
	$(PYTHON) -m pip install --quiet --disable-pip-version-check 'setuptools<81' wheel
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[cpu,dev]'
	@touch $@
	@echo "installed: type '. $(VENV)/bin/activate', then the commands of README.md"

$(PROGRAM): $(INSTALLED) $(wildcard external/superpixel/app/* external/superpixel/src/* external/superpixel/include/*) external/superpixel/Makefile
	$(MAKE) -C external/superpixel

demo: $(INSTALLED) $(PROGRAM)
	$(PYTHON) -m icd.demo

test: lint $(PROGRAM)
	$(PYTHON) -m pytest -q -n auto --maxprocesses=4 --dist worksteal --durations=15

lint: $(INSTALLED)
	$(PYTHON) -m ruff check .

bench: $(INSTALLED) $(PROGRAM)
	$(PYTHON) -m tests.benchmarks

options: $(INSTALLED)
	sed -i '/^### /,$$d' docs/options.md
	$(PYTHON) -m icd.option_page >> docs/options.md

clean:
	$(MAKE) -C external/superpixel clean
	rm -rf build icd_seeds.egg-info icd/*.so icd/method/*.so .pytest_cache .ruff_cache $(INSTALLED)
