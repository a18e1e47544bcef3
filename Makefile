# Everything starts here; only Python 3.11 or newer, git and make are assumed.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo doctor compare compare-quick server test test-slow check bench crf \
  try-crf onnx try-onnx croissant try-croissant tensorboard try-tensorboard ray

python := .venv/bin/python
stamp := .venv/.installed
crf := .venv/.crf
onnx := .venv/.onnx
croissant := .venv/.croissant
tensorboard := .venv/.tensorboard
ray := .venv/.ray
benchmarks := $(filter-out readme pictures, $(basename $(notdir $(shell grep -l cyclopts.run benchmarks/*.py))))

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: $(stamp) ## the whole pipeline on storybook: result table and report/index.html
	@$(python) -m flows.synthesize

doctor: $(stamp) ## is everything there for the configured run, and what will it take?
	@$(python) -m tasks.doctor

compare: try-crf ## the grids of presets/compare: tables and plots below comparisons/; hours
	@$(python) -m flows.compare --jobs 2 $(filter-out quick, $(basename $(notdir $(wildcard presets/compare/*.yaml))))

compare-quick: $(stamp) ## the smallest grid
	@$(python) -m flows.compare --jobs 2 quick

server: $(stamp) ## a Prefect server with worker, deployments and nightly run; see docs/prefect.md
	@$(python) -m flows.server

test: check try-crf try-onnx try-croissant try-tensorboard ## checks and tests
	$(python) -m pytest -m "not slow"

test-slow: check try-crf try-onnx try-croissant try-tensorboard ## checks and all tests, the long ones too
	$(python) -m pytest

check: $(stamp) ## ruff and mypy
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy

bench: try-crf ## the side-by-side measurements, into benchmarks/README.md
	@status=0; for name in $(benchmarks); do \
	  $(python) -m benchmarks.$$name || status=1; \
	done; $(python) -m benchmarks.readme && exit $$status

crf: $(crf) ## the dense CRF, for extract_masks; builds it with a C++ compiler

try-crf: $(stamp)
	@$(MAKE) --no-print-directory crf || echo "The dense CRF is missing: its tests are skipped" >&2

$(crf): $(stamp)
	$(python) -m pip install --quiet --disable-pip-version-check pydensecrf2==1.1
	@touch $(crf)

onnx: $(onnx) ## ONNX and its runtime, for tasks.export_network

try-onnx: $(stamp)
	@$(MAKE) --no-print-directory onnx || echo "ONNX is missing: its tests are skipped" >&2

$(onnx): $(stamp)
	$(python) -m pip install --quiet --disable-pip-version-check \
	  onnx==1.23.2 onnxruntime==1.32.0 onnxscript==0.7.2
	@touch $(onnx)

croissant: $(croissant) ## mlcroissant, to validate what tasks.lineage croissant writes

try-croissant: $(stamp)
	@$(MAKE) --no-print-directory croissant || echo "mlcroissant is missing: its test is skipped" >&2

$(croissant): $(stamp)
	$(python) -m pip install --quiet --disable-pip-version-check --constraint requirements.lock \
	  mlcroissant==1.1.1
	@touch $(croissant)

tensorboard: $(tensorboard) ## TensorBoard, for train_segmenter.tensorboard

try-tensorboard: $(stamp)
	@$(MAKE) --no-print-directory tensorboard || echo "TensorBoard is missing: its test is skipped" >&2

$(tensorboard): $(stamp)
	$(python) -m pip install --quiet --disable-pip-version-check tensorboard==2.21.0
	@touch $(tensorboard)

ray: $(ray) ## Ray, for a fan-out over several machines

$(ray): $(stamp)
	$(python) -m pip install --quiet --disable-pip-version-check --no-deps \
	  ray==2.60.0 prefect-ray==0.6.0 msgpack==1.2.4 protobuf==7.36.2
	@touch $(ray)

setup: $(stamp) ## only the environment, .venv; the other commands do it when it is missing

# Tested with 3.11. The stamp is written last: an installation that was cut short goes on next time.
$(stamp): requirements.lock
	@command -v git >/dev/null || { echo "git is missing: install it and run make again" >&2; exit 1; }
	@for candidate in python3.11 python3.12 python3; do \
	  if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then found=$$candidate; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "Python 3.11 or newer is missing: none of python3.11, python3.12, python3 is one." \
	    "Install Python 3.11 and run make again" >&2; exit 1; \
	fi; \
	$$found -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$$found cannot make environments: its venv module is missing." \
	    "Install it (Debian, Ubuntu: the package $$found-venv) and run make again" >&2; exit 1; }; \
	echo "Installing into .venv with $$($$found --version), some minutes ..." >&2; \
	$$found -m venv .venv && \
	$(python) -m pip install --quiet --disable-pip-version-check --constraint requirements.lock torch && \
	$(python) -m pip install --quiet --disable-pip-version-check --no-deps --requirement requirements.lock || { \
	  echo "The installation failed; pip says above why. It needs a package index: where there is" \
	    "no network, connect and run make again. Once installed, nothing here needs one" >&2; exit 1; }
	@touch $(stamp)
