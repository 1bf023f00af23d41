# The same commands as .ci/run, one line each.
.PHONY: check format lint types imports test

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
	python -m pytest
