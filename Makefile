# `make demo` and `make test` are all that a newcomer needs; each sets up what it needs first.
# The tests start signerd and the agent some hundreds of times. Where Python may not keep its bytecode, as in many
# containers, all is compiled anew each time; the tests' own modules too, by each worker of each suite.
export PYTHONDONTWRITEBYTECODE :=
.DEFAULT_GOAL := help
.PHONY: help setup demo unit test check soak packages onefile lint bench tokens fuzz proto lock format clean

help:
	@echo 'make demo    simulated boards and ESP32 chips through the whole line, into var/demo;'
	@echo '             make demo TOKEN=piv has signerd on YubiKeys in software'
	@echo 'make unit    the unit tests alone, in about a minute'
	@echo 'make test    the tests, in minutes: all but the long ones'
	@echo 'make check   what CI runs: lint, all tests but soak, the demo; each within its budget'
	@echo 'make soak    what takes longer than CI may'
	@echo 'make packages  Debian packages of the three programs, into dist: make packages RELEASE=debian13'
	@echo 'make lint    style, types, import boundaries, generated code'
	@echo 'make bench   the figures, into var/bench.json'
	@echo 'make tokens  what the laboratory of tokens does, into deploy/hsm/README.md'
	@echo 'make fuzz    fuzzes one parser: make fuzz TARGET=csr SECONDS=600'
	@echo 'make onefile the self-contained station for Linux, into dist/'
	@echo 'make proto   regenerate proto/birthmark/v1; make lock: requirements/*.txt (needs uv)'

setup:
	@deploy/setup/setup.sh

demo: setup
	PYTHONPATH=tests .venv/bin/python -m demo.run $(if $(TOKEN),--token $(TOKEN))

unit: setup
	.venv/bin/python -m pytest -q -n 2 --dist loadfile -m 'not check and not soak and not bench' tests/unit

test: setup
	.venv/bin/python -m pytest -n 2 --dist loadfile -m 'not check and not soak and not bench'

check:
	@deploy/setup/setup.sh --packages
	PYTHONPATH=tests .venv/bin/python -m suites

soak:
	@deploy/setup/setup.sh --soak
	.venv/bin/python -m pytest -n 2 --dist loadfile --timeout=3600 -m 'soak and not bench'

packages:
	@deploy/setup/setup.sh --packages
	deploy/packages/build.sh $(if $(RELEASE),--release $(RELEASE)) dist

lint: setup
	deploy/setup/lint.sh

bench:
	@deploy/setup/setup.sh --bench
	PYTHONPATH=tests .venv/bin/python -m bench.run

tokens:
	@deploy/setup/setup.sh
	PYTHONPATH=tests .venv/bin/python -m bench.token_table

fuzz:
	@deploy/setup/setup.sh --fuzz
	PYTHONPATH=proto:tests:. .venv/bin/python -m fuzz.run $(or $(TARGET),csr) --seconds $(or $(SECONDS),600)

proto: setup
	deploy/setup/generate-proto.sh

# The self-contained station, into dist/.
onefile:
	deploy/onefile/build.sh dist

lock:
	deploy/setup/lock.sh

format: setup
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

clean:
	rm -rf var build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
