# make demo       trains, evaluates and predicts in a few minutes on any CPU
# make test       the tests to run before every commit
# make test-long  tests of real runs, several processes and large reference networks
# make test-all   all tests, including slow ones
# make lint       linter, formatter and type checker
# make docs       the guides and the API reference, in site/
# make dist       sdist and wheel, in dist/
# make lock       newest allowed versions in the lock files of .ci/run
# make audit      known vulnerabilities of the locked versions; needs the Internet
# make pre-commit installs the hooks of .pre-commit-config.yaml in this clone

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo
# Two processes, each with whole files: compilers, which take most of the time, have one
# thread. conftest.py decides the order of the files, and which are long.
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder --durations=15

.PHONY: demo test test-long test-all lint docs dist lock audit architecture pre-commit clean

demo: $(VENV)/installed
	$(BIN)/python train.py --config configs/quickstart.py --workdir $(RUN)
	$(BIN)/python -m encnet_jax.data.export_images --config configs/quickstart.py --output $(RUN)
	$(BIN)/python eval.py --workdir $(RUN)
	$(BIN)/python predict.py --workdir $(RUN) --input $(RUN)/images --output $(RUN)/pictures --overwrite
	$(BIN)/python -m encnet_jax.report compare $(RUN) --titles prediction --output $(RUN)/compare.png
	@echo
	@echo "score:    $(RUN)/report.json (the table above)"
	@echo "pictures: $(RUN)/compare.png (image, truth, prediction), $(RUN)/pictures (*_overlay.png)"
	@echo "curves:   $(BIN)/tensorboard --logdir runs"

test: $(VENV)/installed
	$(BIN)/python -m pytest -q -m "not long and not slow and not gpu" $(PARALLEL)

test-long: $(VENV)/installed
	$(BIN)/python -m pytest -q -m "long and not slow and not gpu" $(PARALLEL)

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -q -m "not gpu"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# --strict: a broken link or a public name without a docstring is an error.
docs: $(VENV)/installed-docs architecture
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

# The table of tests/test_structure.py, drawn in docs/architecture.md.
architecture: $(VENV)/installed
	$(BIN)/python tests/architecture.py

dist: $(VENV)/installed
	rm -rf dist build
	$(BIN)/python -m build

# One lock file for each environment of .ci/run; Python 3.14 has no TensorFlow.
LOCK = $(BIN)/uv pip compile --quiet --upgrade --no-annotate --python-platform linux \
  --custom-compile-command "make lock" requirements.txt requirements/export.txt \
  requirements/docs.txt

lock: $(VENV)/installed
	$(BIN)/python -m pip install -q "uv>=0.9"
	$(LOCK) --python-version 3.11 --resolution lowest-direct -o requirements/lock-lowest.txt
	$(LOCK) --python-version 3.13 -o requirements/lock-highest.txt
	$(LOCK) --python-version 3.14 --only-binary :all: -o requirements/lock-preview.txt

# --strict: a package of which nothing could be looked up is an error.
audit: $(VENV)/installed
	$(BIN)/python -m pip install -q "pip-audit>=2.9,<3"
	for end in lowest highest preview; do \
	  $(BIN)/pip-audit --strict --disable-pip --no-deps \
	    -r requirements/lock-$$end.txt || exit; done

pre-commit: $(VENV)/installed
	$(BIN)/python -m pip install -q "pre-commit>=4,<5"
	$(BIN)/pre-commit install

$(VENV)/installed-docs: $(VENV)/installed requirements/docs.txt
	$(BIN)/python -m pip install -q -r requirements/docs.txt
	touch $@

REQUIREMENTS := $(filter-out requirements/lock-%, $(wildcard requirements/*.txt))

$(VENV)/installed: requirements.txt $(REQUIREMENTS)
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || \
	  { echo "error: $$($(PYTHON) --version) found, expected Python 3.11 to 3.14:" \
	         "make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) runs/demo site dist build
