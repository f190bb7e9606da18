# Everything runs in .venv, which the first command makes. PYTHON=python3.12 chooses the interpreter it is made with.

PYTHON ?= python3
VENV := .venv
FLOORS := $(VENV)/floors
READY := $(VENV)/.ready
RUN := $(VENV)/bin/python
DEMO := outputs/demo
DEMO_FLAGS ?=
CARD := miniature-resnet10t

# What loads a model here and on the Hub. FLOOR_TESTS=tests runs the whole suite.
FLOOR_TESTS ?= tests/model tests/publishing tests/hub/test_hub_models.py tests/hub/test_hub_trainer.py \
	tests/hub/test_hub_push.py tests/test_hub_files.py tests/test_registration.py

LAUNCH := $(VENV)/bin/accelerate launch --config_file semart_hf/recipes/accelerate/one_process.yaml
# One process that sees several GPUs would split each batch over them.
ONE_GPU := gpus="$${CUDA_VISIBLE_DEVICES-0}"; CUDA_VISIBLE_DEVICES="$${gpus%%,*}"

# Nothing below needs the network. Tokenizers' own threads and the data loader's forked workers do not go together.
OFFLINE := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false

.PHONY: help environment browser extras demo card check-readme test test-floors lint

help:  ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1|\2/p' Makefile | column -t -s '|'

environment: $(READY)  ## Make .venv with the versions of constraints.txt (the others do it when it is missing)

browser:  ## Install Debian's Chromium, with which the tests look at pages (they are skipped where there is none)
	@command -v chromium || command -v google-chrome || { apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends chromium > /dev/null && command -v chromium; } || \
		echo "No Chromium could be installed here (it takes apt-get, and to be root): the tests of pages are skipped."

extras: $(READY)  ## Resolve every extra with constraints.txt, and install nothing
	@for extra in train onnx app search audit excel peft tune heif dev; do echo "semart-hf[$$extra]"; \
		$(RUN) -m pip install --disable-pip-version-check --dry-run --quiet -c constraints.txt ".[$$extra]" || exit 1; done

demo: $(READY)  ## Paint a small data set, train, evaluate, classify three paintings (about 6 minutes, all under outputs/demo)
	@rm -rf $(DEMO)/release $(DEMO)/model $(DEMO)/evaluation
	@echo "1/4 Painting the miniature: $(DEMO)/release"
	@$(OFFLINE) $(RUN) -m semart_hf.cli miniature $(DEMO)/release
	@echo "2/4 Training on it: $(DEMO)/model"
	@$(ONE_GPU) $(OFFLINE) $(LAUNCH) scripts/train.py semart_hf/recipes/miniature.yaml
	@echo "3/4 Evaluating on the test split: $(DEMO)/evaluation"
	@$(OFFLINE) $(RUN) scripts/evaluate_model.py --model $(DEMO)/model --data $(DEMO)/release --split test \
		--output_dir $(DEMO)/evaluation
	@echo "4/4 Classifying three test paintings"
	@$(OFFLINE) $(RUN) scripts/demo.py --model $(DEMO)/model --data $(DEMO)/release \
		--results $(DEMO)/evaluation/results.json $(DEMO_FLAGS)

card: $(READY)  ## Write the card of the demo's model, from its last run, into model_cards
	@row="$$(sed -n 2p $(DEMO)/release/semart_test.csv)"; $(OFFLINE) $(RUN) scripts/push_to_hub.py \
		--model $(DEMO)/model --repo_id semart-hf/$(CARD) --output_dir $(DEMO)/hub --card model_cards/$(CARD).md \
		--results $(DEMO)/evaluation/results.json --example "$(DEMO)/release/Images/$$(echo "$$row" | cut -f1)" \
		--example_text "$$(echo "$$row" | cut -f2)"

check-readme: $(READY)  ## Compare the accuracies that README.md shows with those of the last demo
	@$(RUN) scripts/render_docs.py --check $(DEMO)/evaluation/results.json

test: $(READY)  ## Run the whole test suite (no network, no GPU)
	$(OFFLINE) OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

test-floors: $(FLOORS)/.ready  ## Run the tests of loading and publishing with the lowest versions that pyproject.toml allows
	$(OFFLINE) OMP_NUM_THREADS=1 $(FLOORS)/bin/python -m pytest --numprocesses auto --dist loadfile -p no:cacheprovider \
		$(FLOOR_TESTS)

lint: $(READY)  ## Check style, format and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy  # strict, on the package: see pyproject.toml

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python: got no command '$(PYTHON)', semart-hf needs Python 3.10 or newer;" \
		"install it or name another one: make PYTHON=python3.12"; exit 1; } >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python: got $$($(PYTHON) --version 2>&1)," \
		"semart-hf needs 3.10 or newer; name a newer one: make PYTHON=python3.12"; exit 1; } >&2
	@echo "Making $(VENV) with $$($(PYTHON) --version): some minutes and 6 GB, most of it torch"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

$(FLOORS)/.ready: $(READY) .ci/floor_versions.py
	@echo "Making $(FLOORS): two minutes and 2 GB, most of it torch"
	@$(RUN) .ci/floor_versions.py $(FLOORS)
	@touch $@
