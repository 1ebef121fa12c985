# Two commands: `make quickstart` does the main job on built-in data, `make test` passes the tests.
# Both create .venv and install what they need, from constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
DATA ?=

.PHONY: quickstart test slow lint page clean

quickstart: .venv/installed
	$(BIN)/spidereye quickstart $(if $(DATA),--data "$(DATA)")

test: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

slow: .venv/installed .venv/openvino
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow --durations 15

# The page that `spidereye serve` shows; it needs Node.js. Without it the server has its API only.
page:
	cd web && npm ci --no-audit --no-fund && npm run build

lint: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

# torch first and by itself, so that the CPU build of constraints.txt is what everything else finds.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test,repa,schedulefree,video,export,web]"
	touch $@

# ONNX Runtime built with OpenVINO, in a folder of its own beside the other, for the one test of it.
.venv/openvino: .venv/installed
	$(BIN)/pip install --quiet --no-deps -c constraints.txt --upgrade --target $@ onnxruntime-openvino || \
		echo "NOT INSTALLED: onnxruntime-openvino, so that its test skips" >&2

clean:
	rm -rf .venv build dist
