# Two commands do everything on a fresh machine: `make demo` and `make test`. Each installs what is missing.
SHELL := /bin/bash
.PHONY: demo test build lint bench performance sanitize packages clean

demo: build
	@node scripts/demo.mjs
	@node scripts/demo_model.mjs

build:
	@scripts/setup.sh build
	@npm run --silent build

# The tests build the addon.
test:
	@scripts/setup.sh test
	@npm run --silent build:ts
	@node scripts/test.mjs

lint:
	@scripts/setup.sh lint
	@npm run --silent lint

bench: build
	@node dist/cli/main.js bench

# Measures this machine: docs/performance.md and docs/weight-types.md.
performance:
	@scripts/setup.sh performance
	@npm run --silent build
	@node scripts/performance.mjs $(ARGS)
	@node scripts/weight-types.mjs
	@npx biome format --write docs/performance.md docs/weight-types.md

sanitize:
	@scripts/setup.sh test
	@npm run --silent sanitize:address
	@npm run --silent sanitize:thread

packages:
	@scripts/setup.sh packages
	@npm run --silent prebuild

clean:
	rm -rf build dist prebuilds coverage
