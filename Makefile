# make demo: train, evaluate and look, on any CPU, in minutes.
# make test: the fast suite. make test-all: the slow tests too.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/demo

.PHONY: demo test test-all lint clean

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

# Two processes, whole files each: most of the time is spent in single-threaded compilers.
test: $(VENV)/installed
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=15

test-all: $(VENV)/installed
	$(BIN)/python -m pytest -q -m "not gpu"

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/installed: requirements.txt $(wildcard requirements/*.txt)
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "error: $$($(PYTHON) --version) found, Python 3.11 to 3.13 wanted:" \
	         "make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -r requirements.txt
	touch $@

clean:
	rm -rf $(VENV) runs/demo
