# make demo   photographs to seeds on a small drawn data set, on the CPU
# make test   every test
# make env    what the two need, by themselves: .venv and the C++ program's system packages
# make bench  the README's figures

VENV := .venv
PYTHON := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
PROGRAM := external/superpixel/makeSuperpixel

.PHONY: all env demo test bench clean
.DEFAULT_GOAL := all

all: env $(PROGRAM)

env: $(INSTALLED)

$(VENV)/bin/python:
	@sh .ci/make_venv.sh $(VENV)

$(INSTALLED): setup.py $(wildcard icd/method/mean_field/*) .ci/make_venv.sh .ci/system_packages.sh | $(VENV)/bin/python
	@sh .ci/system_packages.sh
	$(PYTHON) -m pip install --quiet --disable-pip-version-check 'setuptools<81' wheel
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[cpu,dev]'
	@touch $@
	@echo "installed: type '. $(VENV)/bin/activate', then the README's commands"

$(PROGRAM): $(INSTALLED) $(wildcard external/superpixel/*.cpp external/superpixel/src/* external/superpixel/include/*) external/superpixel/Makefile
	$(MAKE) -C external/superpixel

demo: $(INSTALLED) $(PROGRAM)
	$(PYTHON) -m icd.steps.demo

test: $(INSTALLED) $(PROGRAM)
	$(PYTHON) -m pytest -q --durations=15

bench: $(INSTALLED) $(PROGRAM)
	$(PYTHON) -m tests.benchmarks

clean:
	$(MAKE) -C external/superpixel clean
	rm -rf build icd.egg-info icd/method/_mean_field.*.so .pytest_cache $(INSTALLED)
