# One door: `make check` is what a change must pass, `make help` lists the rest. Tools are pinned and live in .bin,
# Python in .venv, Node packages in node_modules; nothing is installed outside this directory.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --warn-undefined-variables
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

GO      ?= go
PYTHON  ?= python3
NPM     ?= npm
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# make demo SEED=7 KILLS=2: the seed of the kills, and how many there are a second.
SEED  ?= 1
KILLS ?= 1
BREAK ?=

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

.PHONY: build
build: ## build bin/beldi
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/beldi ./cmd/beldi

.PHONY: demo
demo: build .venv/.ready examples/trip/node_modules/.ready ## book 1,000 trips while processes are killed, then audit (SEED=1 KILLS=1 BREAK=)
	$(GO) run ./examples/trip/demo -seed $(SEED) -kills $(KILLS) -break '$(BREAK)'

# --- test ---------------------------------------------------------------------------------------------------------

# Packages whose interleavings matter.
RACE := ./backends/... ./daal/... ./intent/... ./callback/... ./server/... ./internal/wiring/... ./test/sim/...

# One target for each suite, so that `make --keep-going test` runs the others when one fails.
SUITES := test-go test-race test-model test-python test-node test-demo

.PHONY: test $(SUITES)
test: $(SUITES) ## all tests, of every language

# Not from the cache: it does not know of the binaries, SDKs and seeds that tests depend on.
test-go: deps
	$(GO) vet ./...
	$(GO) test -count 1 ./...

# The detector makes goroutines take turns at random, so that a seed does not repeat a simulation.
test-race:
	$(GO) test -race -short -skip TestSeedRepeats $(RACE)

test-model:
	cd docs/model && $(GO) vet ./... && $(GO) test ./...

test-python: .venv/.ready
	$(MAKE) -C clients/python test

test-node: clients/node/node_modules/.ready
	cd clients/node && $(NPM) test

test-demo: build .venv/.ready examples/trip/node_modules/.ready
	$(GO) run ./examples/trip/demo -requests 200

.PHONY: test-full
test-full: test ## all tests, and the long ones: race detector without -short, the whole demo with three seeds
	$(GO) test -race -count 1 -skip TestSeedRepeats $(RACE)
	for seed in 1 2 3; do $(GO) run ./examples/trip/demo -seed $$seed -kills 2; done

.PHONY: check
check: lint unchanged test ## what CI runs: lint, generated files, tests

.PHONY: bench
bench: build ## measure; writes bench/results/core.json
	$(GO) run ./bench/core

.PHONY: figures
figures: ## put bench/results/core.json into the README
	$(PYTHON) docs/figures.py

# --- code -----------------------------------------------------------------------------------------------------------

biome = clients/node/node_modules/.bin/biome $(1) --config-path=clients/node examples

.PHONY: lint
lint: tools deps ## static checks of every language
	test -z "$$(gofmt -l $$(git ls-files '*.go') | tee /dev/stderr)"
	$(GO) vet ./...
	.bin/staticcheck ./...
	.bin/buf lint
	$(MAKE) -C clients/python lint
	.venv/bin/ruff check examples docs/figures.py && .venv/bin/ruff format --check examples docs/figures.py
	cd clients/node && $(NPM) run --silent lint
	$(call biome,check)

.PHONY: fmt
fmt: tools deps ## format everything
	gofmt -w $$(git ls-files '*.go')
	.bin/buf format -w
	.venv/bin/ruff format --quiet clients/python examples docs/figures.py
	cd clients/node && $(NPM) run --silent format
	$(call biome,check --write)

.PHONY: generate
generate: tools deps ## rebuild generated code from proto/
	.bin/buf generate
	$(GO) generate ./...
	$(MAKE) -C clients/python generate
	cd clients/node && $(NPM) run --silent generate

.PHONY: unchanged
unchanged: generate ## fail if `make generate` changes a committed file
	git diff --exit-code --stat -- proto server clients/python/beldi/_pb clients/node/src/gen

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf bin .bin .venv .beldi clients/node/{dist,node_modules} examples/*/node_modules
	$(GO) clean -testcache

# --- what the above needs ---------------------------------------------------------------------------------------------

.PHONY: deps
deps: .venv/.ready clients/node/node_modules/.ready examples/trip/node_modules/.ready

# The lock file pins what pyproject.toml leaves open; the SDK itself is linked, not copied.
.venv/.ready: .ci/requirements.txt clients/python/pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r .ci/requirements.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps -e clients/python
	touch $@

# Not `npm ci`: it wants the optional packages of all platforms in the lock file, and npm writes only those it can get.
# With --no-save the lock file is obeyed and left alone.
npm-install := $(NPM) install --no-save --no-audit --no-fund --ignore-scripts --loglevel=error

clients/node/node_modules/.ready: clients/node/package-lock.json
	cd clients/node && $(npm-install) && $(NPM) run --silent build
	touch $@

examples/trip/node_modules/.ready: examples/trip/package-lock.json clients/node/node_modules/.ready
	cd examples/trip && $(npm-install)
	touch $@

# A tool's stamp carries its version, so that a bump installs it anew.
tool-buf                   := github.com/bufbuild/buf/cmd/buf@v1.73.0
tool-protoc-gen-go         := google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
tool-protoc-gen-go-grpc    := google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
tool-protoc-gen-grpc-gateway := github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway@v2.31.0
tool-protoc-gen-openapiv2  := github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-openapiv2@v2.31.0
tool-staticcheck           := honnef.co/go/tools/cmd/staticcheck@v0.8.2

TOOLS  := buf protoc-gen-go protoc-gen-go-grpc protoc-gen-grpc-gateway protoc-gen-openapiv2 staticcheck
stamp   = .bin/.$(1)@$(lastword $(subst @, ,$(tool-$(1))))

.PHONY: tools
tools: $(foreach t,$(TOOLS),$(call stamp,$(t)))

define install
$(call stamp,$(1)):
	GOBIN=$$(CURDIR)/.bin $$(GO) install $(tool-$(1))
	touch $$@
endef
$(foreach t,$(TOOLS),$(eval $(call install,$(t))))
