# What a change must pass, one line each; .ci/run does it in a fresh environment, and more.
.PHONY: check format lint types imports test docs dist fuzz

check: format lint types imports test

format:
	ruff format --check .

lint:
	ruff check .

types:
	mypy

imports:
	lint-imports --config setup.cfg

test:
	python -m pytest -n 2

# The site, into site/, without a link that leads nowhere.
docs:
	mkdocs build --strict

# Wheel and sdist, into dist/, as a package index takes them.
dist:
	python -m build
	twine check --strict dist/*

# Not part of check: pip install -c constraints.txt -e '.[fuzz]' first.
FUZZ_SECONDS ?= 60
fuzz:
	python tests/fuzz/fuzz_readers.py --seconds $(FUZZ_SECONDS)
