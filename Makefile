# Everything starts from here: `make demo` and `make test` make the environment first where it is missing.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LOCK := locks/cpu.txt
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
# Where Python writes no bytecode, each worker would compile all that it imports as it starts.
export UV_COMPILE_BYTECODE ?= 1

.PHONY: demo test test-unit test-long chaos environment lint lock lock-gpu benchmarks clean

demo: $(VENV)/.ready ## the whole job on this machine's Python documentation
	$(VENV)/bin/relabel demo --out $(or $(OUT),runs/demo)

test: $(VENV)/.ready ## all tests, in two processes (tests/conftest.py says in which order)
	$(RUN) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-unit: $(VENV)/.ready ## tests without Ray, vLLM, training or S3
	$(RUN) -m pytest -m "not integration and not end_to_end"

test-long: $(VENV)/.ready ## tests that `make test` has no minutes for: others show the same in parts
	$(RUN) -m pytest --long

chaos: $(VENV)/.ready ## every fault, TIMES times in a row; the table of docs/reliability.md is made from what came out
	$(RUN) -m tests.chaos.run --times $(or $(TIMES),1); code=$$?; $(RUN) -m tests.chaos.table && exit $$code

environment: $(VENV)/.ready ## the environment alone

$(VENV)/.ready: $(LOCK) locks/overrides-cpu.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet uv==$(shell sed -n 's/^uv==//p' $(LOCK))
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --requirement $(LOCK) --override locks/overrides-cpu.txt
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --no-deps --editable .
	touch $@

lint: $(VENV)/.ready
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check .

lock: $(VENV)/.ready ## resolve the CPU environment anew; the lock holds versions and no addresses
	locks/make cpu

lock-gpu: $(VENV)/.ready ## resolve the GPU extra without installing it
	locks/make gpu

benchmarks: $(VENV)/.ready ## all comparisons, about four hours; makes the table of docs/benchmarks.md
	$(VENV)/bin/uv pip install --quiet --python $(RUN) --no-deps --requirement locks/benchmarks.txt
	$(RUN) -m benchmarks.suite

clean:
	rm -rf $(VENV) runs build *.egg-info
