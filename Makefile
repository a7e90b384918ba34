# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints-cpu.txt

.PHONY: demo test test-slow lint wheel-test docs results figures page page-test clean

demo: .venv/.demo
	$(BIN)/lightmark demo --out demo --force

test: .venv/.dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# Trainings that `make test` leaves out.
test-slow: .venv/.dev
	$(BIN)/pytest -m slow

lint: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/mypy

# The wheel alone in an environment of its own: it detects, and brings neither torch nor the tests' tools.
wheel-test: .venv/.dev
	rm -rf build/wheel && $(BIN)/python -m hatchling build -t wheel -d build/wheel
	$(PYTHON) -m venv --clear build/wheel/venv
	build/wheel/venv/bin/pip install --quiet --disable-pip-version-check build/wheel/*.whl
	cd build/wheel && venv/bin/lightmark models
	cd build/wheel && venv/bin/lightmark detect ../../web/public/samples/meeting.jpg --format json | grep -q '"points"'
	! build/wheel/venv/bin/python -c 'import torch' 2> build/wheel/no-torch

# Published numbers that belong to older models, made again: make results DATA=folder of the data sets.
results: .venv/.dev
	$(BIN)/python benchmarks/results.py --data $(DATA) --force

# The documents as a site, in build/site; a link that leads nowhere fails it.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

figures: .venv/.dev
	$(BIN)/python benchmarks/plot_losses.py --force
	$(BIN)/python benchmarks/plot_landmarks.py --force

# The browser page needs node to build and to test, never to run; the built page is committed.
page: web/node_modules
	cd web && npm run build

# In Chromium (Debian's package), which playwright-core drives.
page-test: web/node_modules .venv/.dev
	cd web && npm test && npm run build && npm run e2e
	git diff --exit-code src/lightmark/page

web/node_modules: web/package-lock.json
	cd web && npm ci
	touch $@

clean:
	rm -rf .venv demo

.venv/bin/pip:
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/pip pyproject.toml constraints-cpu.txt
	$(INSTALL) -e ".[demo]"
	touch $@

.venv/.docs: .venv/.dev
	$(INSTALL) -e ".[docs]"
	touch $@

.venv/.dev: .venv/bin/pip pyproject.toml constraints-cpu.txt
	$(INSTALL) -e ".[dev]"
	touch $@ .venv/.demo
