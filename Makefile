# Run `make` for the list of targets.

GO       ?= go
FUZZTIME ?= 60s
# The race detector needs cgo and a C compiler; `make test RACE=` runs without it.
RACE     ?= -race
# -again: a test that fails runs once more, alone, and is called flaky when it passes.
AGAIN    ?=
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   = -s -w -X main.version=$(VERSION)
LINT      = $(GO) tool -modfile=tools/go.mod golangci-lint
PYTHON   ?= python3

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: need-go
need-go:
	@command -v $(GO) >/dev/null || { echo "make: there is no Go on this machine: get it from https://go.dev/dl/" >&2; exit 1; }

.PHONY: build
build: need-go ## build bin/cortex with bin/cortex-install, and the servers of the examples beside their files
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/cortex ./cmd/cortex-install
	@for dir in $(EXAMPLE_SERVERS); do $(GO) build -o examples/$$dir/bin/ ./examples/$$dir/... || exit 1; done

# The examples that have programs of their own to build.
EXAMPLE_SERVERS = iris streaming websocket grpc pod jobs

.PHONY: demo
demo: need-go ## deploy a model here, call it, scale it, update it under load, clean up (a minute)
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo

.PHONY: demo-jobs
demo-jobs: need-go ## items, a batch of 10,000, a task and a schedule here, with the daemon killed in the middle (a minute)
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo jobs

.PHONY: demo-access
demo-access: need-go ## who may call an API, and how much: a stranger, keys, limits, usage, a certificate, tokens, an IAM role (a minute; no cloud)
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo access

.PHONY: demo-iam
demo-iam: need-go need-python ## the machine for a team: AWS identities, a policy, an audit; no AWS account, no network
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo iam

.PHONY: kube-up
kube-up: need-go ## start a real Kubernetes of one node on this machine, with Cortex in it (root; builds it once)
	@$(GO) build -o bin/kube-node ./scripts/kube
	@bin/kube-node up && bin/kube-node images && bin/kube-node install

.PHONY: demo-kube
demo-kube: need-go ## the demo on that Kubernetes, by people who prove AWS identities
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo kube

.PHONY: demo-aws
demo-aws: need-go ## make a cluster in a simulated AWS account, with a real Kubernetes behind it, use it, take it away (root; no network)
	@$(GO) build -o bin/demo ./examples/demo
	@bin/demo aws

# Apart from kube-test: it starts a node of its own, so that none may run.
.PHONY: e2e-aws
e2e-aws: need-go ## prove identities of AWS to that Kubernetes, whose API server asks aws-iam-authenticator (root)
	@$(GO) build -o bin/kube-node ./scripts/kube && bin/kube-node eks
	@CORTEX_TEST_AWS="$(CURDIR)/bin/kube-node" $(GO) run ./scripts/testsum $(AGAIN) -count=1 -timeout 5m ./e2e/aws

.PHONY: kube-test
kube-test: need-go ## run the tests that need that Kubernetes
	@CORTEX_TEST_KUBECONFIG="$(CURDIR)/bin/kube/kubeconfig" $(GO) run ./scripts/testsum $(AGAIN) -count=1 -timeout 30m -p 1 -parallel 6 ./internal/crd/... ./internal/store/kube ./internal/engine/kube ./internal/kube/... ./internal/install ./deploy

.PHONY: test-aws
test-aws: need-go ## stop the making, the upgrading and the taking away of a cluster on AWS after every change, on the simulator
	@CORTEX_TEST_EXHAUSTIVE=1 $(GO) test -count=1 -timeout 30m ./internal/cluster/eks

# How often crash-matrix tries each edge.
COUNT ?= 50

.PHONY: crash-matrix
crash-matrix: need-go ## kill every role at every edge of every change of an item and a job, COUNT times (50), on every ledger (COUNT=1: half an hour)
	@CORTEX_TEST_TIMES=$(COUNT) $(GO) test -count=1 -timeout 24h -p 1 -run 'TestEdges' -v ./internal/async ./internal/jobs

# How often disturb-items scales an API in, and updates it.
SCALE_INS ?= 300
UPDATES   ?= 50

.PHONY: disturb-items
disturb-items: need-go ## scale an API in 300 times and update it 50 times while its items are executed: none is interrupted or begins again (a quarter of an hour)
	@CORTEX_E2E_SCALE_INS=$(SCALE_INS) CORTEX_E2E_UPDATES=$(UPDATES) $(GO) test -count=1 -timeout 3h -run TestScripts/disturbed -v ./e2e

.PHONY: cron-matrix
cron-matrix: need-go ## hold schedules to a second implementation, in every time zone, 2015 to 2035 (a quarter of an hour)
	@CORTEX_TEST_EXHAUSTIVE=1 $(GO) test -count=1 -timeout 4h -run TestMatrix -v ./internal/cron

.PHONY: e2e
e2e: need-go ## run the scripts of e2e/ on this machine, and then on that Kubernetes
	@[ -e bin/kube/cluster.json ] || { echo "make: there is no Kubernetes to run the scripts on: make kube-up starts one" >&2; exit 1; }
	@$(GO) run ./scripts/testsum $(AGAIN) -count=1 -timeout 20m ./e2e
	@$(MAKE) --no-print-directory e2e-kube

# They share one namespace there, so they take turns.
.PHONY: e2e-kube
e2e-kube: need-go
	@CORTEX_E2E_CLUSTER="$(CURDIR)/bin/kube/cluster.json" $(GO) run ./scripts/testsum $(AGAIN) -count=1 -timeout 20m -parallel 1 -run "TestScripts|TestUpgrade" ./e2e

# Apart from kube-test: nothing else may use the node meanwhile.
.PHONY: faults
faults: need-go ## put that Kubernetes into trouble, part by part, and look at what Cortex does (root; twenty minutes)
	@$(GO) build -o bin/kube-node ./scripts/kube
	@CORTEX_TEST_FAULTS="$(CURDIR)/bin/kube-node" $(GO) test -count=1 -timeout 45m -parallel 8 -p 1 ./e2e/faults ./scripts/kube

.PHONY: kube-down
kube-down: need-go ## end that Kubernetes; nothing of it stays on the machine
	@$(GO) build -o bin/kube-node ./scripts/kube
	@bin/kube-node down

.PHONY: test
test: need-go need-cc go-test ## run every test that needs no special machine, race detector on
	@if command -v $(PYTHON) >/dev/null; then $(MAKE) --no-print-directory python; \
	else echo "make: the tests of the Python client were not run: there is no $(PYTHON) on this machine" >&2; fi

.PHONY: go-test
go-test:
	@$(GO) run ./scripts/testsum $(AGAIN) $(RACE) -timeout 15m ./...

.PHONY: need-cc
need-cc:
	@[ -z "$(RACE)" ] || command -v $$($(GO) env CC) >/dev/null || { \
	echo "make: the race detector needs a C compiler: install gcc (apt-get install gcc, dnf install gcc, xcode-select --install), or run the tests without it: make $(MAKECMDGOALS) RACE=" >&2; exit 1; }

.PHONY: python
python: need-go need-python ## run the tests of the Python client against a real local environment
	@$(GO) build -o bin/cortex ./cmd/cortex
	@CORTEX_CLI_PATH="$(CURDIR)/bin/cortex" PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m unittest discover -s python/tests -t python

.PHONY: need-python
need-python:
	@command -v $(PYTHON) >/dev/null || { echo "make: there is no $(PYTHON) on this machine: install Python 3.9 or newer" >&2; exit 1; }

.PHONY: check
check: need-go need-cc need-python format vet lint portable test dist-test ## run exactly what CI runs: format, vet, lint, darwin, tests
	@scripts/outdated
	@echo "make check: everything passed"

.PHONY: format
format:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$unformatted" ] || { \
	echo "make: these files are not formatted; run gofmt -w on them:" >&2; echo "$$unformatted" >&2; exit 1; }

.PHONY: vet
vet:
	@$(GO) vet ./...
	@$(GO) -C bench/peers vet ./...

.PHONY: lint
lint: need-go ## run the pinned golangci-lint (its first build takes some minutes)
	@$(LINT) run

# Everything must build where users are: the command line also runs on darwin.
.PHONY: portable
portable:
	@CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) vet ./...

.PHONY: fuzz
fuzz: need-go ## run every fuzz target for FUZZTIME (60s)
	@scripts/fuzz $(FUZZTIME)

.PHONY: bench
bench: need-go ## measure, beside the competitors that are installed, and print one table
	@$(GO) run ./bench

.PHONY: bench-kube
bench-kube: need-go ## measure on the Kubernetes of kube-up, beside HAProxy, kubectl and simulated nodes (root)
	@$(GO) build -o bin/bench-kube ./bench/kube
	@bin/bench-kube

.PHONY: docs
docs: need-go ## write the generated pages of docs/ again
	@$(GO) test ./internal/cli ./internal/manifest -run Reference -update

.PHONY: dist
dist: need-go need-python ## make a release in dist/: archives, deb, rpm, wheels, SBOMs, install.sh; VERSION= DIST_URL= say which and where
	@cd tools/dist && $(GO) run . -root ../.. -version '$(VERSION)' -url '$(DIST_URL)' -python '$(PYTHON)'

.PHONY: dist-test
dist-test: need-go need-python
	@$(GO) -C tools/dist test .

.PHONY: images
images: need-go ## build the images for clusters, without Docker: into dist/, or REGISTRY=host/path PUSH=1
	@$(GO) run ./scripts/images -tag '$(VERSION)' $(if $(REGISTRY),-registry '$(REGISTRY)') $(if $(PUSH),-push)

.PHONY: release
release: need-go ## build static binaries for linux and darwin, amd64 and arm64, into dist/
	@rm -rf dist && mkdir dist
	@for program in cortex cortex-install; do for os in linux darwin; do for arch in amd64 arm64; do \
		echo "dist/$$program-$(VERSION)-$$os-$$arch"; \
		CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' \
			-o "dist/$$program-$(VERSION)-$$os-$$arch" ./cmd/$$program || exit 1; done; done; done
	@cd dist && { command -v sha256sum >/dev/null && sha256sum cortex-* || shasum -a 256 cortex-*; } > SHA256SUMS && cat SHA256SUMS

.PHONY: clean
clean: ## remove everything that was built
	@rm -rf bin dist && rm -rf examples/*/bin
