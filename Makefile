# Sallyport. `make` builds, `make test` checks everything that CI checks.
# Targets say what they need; nothing here needs an API key or a network
# beyond the package registries.

GO      ?= go
LINT     = .tools/golangci-lint
LINTVER  = v2.15.0
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  = -s -w -X main.version=$(VERSION)
FUZZTIME ?= 3s

.PHONY: all build test setup lint race e2e fuzz agents clients model bench schema clean help

all: build

build: ## build ./sallyport, static, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o sallyport ./cmd/sallyport

test: setup build lint race e2e fuzz ## everything CI runs: vet, lint, race tests, script tests, a short fuzz pass

setup: $(LINT) ## what the tests need from Debian: by apt as root, named otherwise
	@./test/setup.sh

$(LINT):
	GOBIN=$(CURDIR)/.tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINTVER)

lint: $(LINT) ## go vet, golangci-lint
	$(GO) vet ./...
	$(LINT) run ./...

race: ## all tests of the rooms under the race detector, script tests included
	$(GO) test -race -timeout 12m $$($(GO) list ./... | grep -v '/test/e2e$$')

e2e: ## the whole program against faults, and streams in every fragmentation; without the race detector, which they do not allow
	$(GO) test -timeout 10m ./test/e2e ./internal/llmproxy/stream ./internal/scan/screen

fuzz: ## every fuzz target for FUZZTIME (default 3s)
	@./test/fuzz.sh $(FUZZTIME)

agents: ## real agents from the npm registry, pinned, without and under guard and through the proxy; needs node and npm
	mkdir -p .tools/agents && cp test/agents/package.json test/agents/package-lock.json .tools/agents/
	cd .tools/agents && npm ci --ignore-scripts --no-audit --no-fund && node node_modules/@anthropic-ai/claude-code/install.cjs
	SALLYPORT_AGENTS=$(CURDIR)/.tools/agents/node_modules $(GO) test -count=1 -timeout 15m ./test/agents

clients: ## real SDKs from the npm registry and the Go proxy, pinned, without and through the proxy; needs node and npm
	mkdir -p .tools/clients && cp test/clients/package.json test/clients/package-lock.json .tools/clients/
	cd .tools/clients && npm ci --ignore-scripts --no-audit --no-fund
	cd test/clients/gosdk && $(GO) vet . && $(GO) build -o $(CURDIR)/.tools/clients/gosdk .
	SALLYPORT_CLIENTS=$(CURDIR)/.tools/clients $(GO) test -count=1 -timeout 25m ./test/clients

model: ## the label rules in the code against their model, a million random steps; for every night (make race takes 50,000)
	SALLYPORT_MODEL_STEPS=1000000 $(GO) test -count=1 -timeout 60m -run '^TestModel' ./internal/policy

bench: build ## the table of docs/performance.md
	$(GO) test -run '^$$' -bench . -benchtime 1s ./bench/...

golden: ## rewrite golden files; read the diff before you commit it
	$(GO) test ./internal/... ./test/... -update

clean:
	rm -rf sallyport bin

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10
