# Needs Python 3.11 or later and nothing else. Each target sets up what it needs in .venv.
PYTHON ?= python3
BIN := .venv/bin

PACS ?= ../shared/data/pacs

.PHONY: demo photos test torture lint readme docs notebook screenshots clean

demo: .venv/runtime  ## Run the whole method on the embedded digits: four minutes
	@if [ -e runs/demo/config.json ]; then $(BIN)/acclimate run --resume runs/demo; \
	else $(BIN)/acclimate run digits digits-m --preset demo --out runs/demo; fi

photos: .venv/runtime  ## Adapt from the sketches of PACS to its photos, for those who have it: PACS=FOLDER of its tars
	@[ -e $(PACS)/sketch.tar ] || { echo "no PACS at $(PACS): name its folder with PACS=FOLDER"; exit 1; }
	@folder=$$(mktemp -d) && for name in sketch photo; do tar -xf $(PACS)/$$name.tar -C $$folder; done && \
	$(BIN)/acclimate run $$folder/sketch $$folder/photo --out $$folder/run

test: .venv/dev  ## Run the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal

torture: .venv/dev  ## Damaged and hostile files, kills, a full disk: twelve minutes; the summary is in docs/results
	$(BIN)/python -m torture --out docs/results/torture.json

lint: .venv/dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

readme: .venv/runtime  ## Write the tables of README.md and docs/results/README.md anew from the result files
	cd docs/results && ../../$(BIN)/acclimate table $(foreach preset,short fast full best,mnist-mnist-*-$(preset)-*.json mnist-[su]*-$(preset)-*.json) --layout matrix --into ../../README.md
	cd docs/results && ../../$(BIN)/acclimate table usps-mnist-*.json mnist-m-mnist-*.json svhn-8k-mnist-*.json --layout matrix --into directions.md
	$(BIN)/acclimate table docs/results --into docs/results/README.md

docs: .venv/docs  ## Build the documentation, its outputs printed meanwhile, to docs/_build/html: four minutes
	$(BIN)/python -m sphinx -W --keep-going -q -d docs/_build/doctrees -b html docs docs/_build/html
	$(BIN)/python docs/_site/links.py docs/_build/html

notebook: .venv/dev  ## Run the documentation's notebook and keep what it shows
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/python docs/_site/execute.py

screenshots: .venv/docs  ## Show the report and the serving page in a browser, for the documentation
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt playwright
	$(BIN)/python docs/_site/screenshots.py

.venv/pip:
	$(PYTHON) -c 'import sys; sys.exit("acclimate needs Python 3.11 or later, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	touch $@

.venv/runtime: .venv/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/dev: .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/docs: .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:  ## Remove the environment and caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache docs/_build docs/methods
