# vethlab needs only Go, make and git to begin with. What else a target needs,
# it installs (Debian packages, with sudo when you are not root), and says why.
# `make` alone lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := help
export CGO_ENABLED := 0

# Checkers of one version for everybody.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TYPESCRIPT  := 5.9.3
AXE         := 4.14.1

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Where the npm packages that only tests use are kept.
NODE := .cache/node-$(TYPESCRIPT)-$(AXE)
export VETHLAB_AXE := $(CURDIR)/$(NODE)/node_modules/axe-core/axe.min.js
export VETHLAB_ARTEFACTS := $(CURDIR)/.artefacts

NEEDS_RUN := \
	"ip iproute2 makes and lists namespaces, links, addresses and routes" \
	"iptables iptables makes and lists the rules" \
	"brctl bridge-utils is how many write about bridges" \
	"conntrack conntrack lists the connections the kernel remembers" \
	"ping iputils-ping sends the packets of many steps" \
	"curl curl fetches the pages of the web server steps"

NEEDS_TEST := \
	"chromium chromium shows the page to the browser tests" \
	"/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc fonts-noto-cjk draws the Chinese page" \
	"node nodejs runs the page's unit tests and type check" \
	"npm npm fetches the TypeScript compiler and axe-core" \
	"gcc gcc links the race detector" \
	"/usr/include/stdlib.h libc6-dev links the race detector"

NEEDS_AGREE := \
	"nc netcat-openbsd sends the UDP packets of many cases" \
	"traceroute traceroute is one of the programs the simulator is held against"

NEEDS_DOCKER := \
	"/usr/sbin/dockerd docker.io is the daemon that docker here is held against" \
	"/usr/share/doc/busybox-static busybox-static is all that its containers hold"

STEP := @.ci/step
# -v, so that a skipped test shows its reason; .ci/step keeps the rest quiet.
# No vet: "go vet" is a step of its own, and checks more.
TEST := go test -v -count=1 -timeout 20m -vet=off
# Most tests of labs wait most of the time.
WAITS := -parallel 6
# Tests that drive a browser, and only those, begin with TestBrowser.
BROWSER := ^TestBrowser
# The test beside a real Docker daemon, which is a step of its own.
DOCKER := ^TestDocker$$

.PHONY: run
run: needs build ## build, start the lessons, print the address to open (ARGS="--listen :8642")
	@./vethlab serve $(ARGS)

.PHONY: build
build: go ## build ./vethlab, one static binary
	@go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o vethlab ./cmd/vethlab

.PHONY: test
test: needs needs-agree needs-test needs-docker $(NODE) format vet waiting-and-computing agreement go-docker go-race browser ## everything that must hold before a change goes in

# One target after the other, also beside another row.
ROW := env -u MAKEFLAGS $(MAKE) --no-print-directory

# Tests of labs wait most of the time: beside them, what only computes takes the
# time that they leave.
.PHONY: waiting-and-computing waiting computing
waiting-and-computing:
	@STEP_WHOLE=1 $(MAKE) --no-print-directory -j2 waiting computing
waiting:
	@$(ROW) go-root go-user
computing:
	@nice -n 19 $(ROW) staticcheck portable types unit go-race-build

.PHONY: lint
lint: format vet portable staticcheck ## gofmt, go vet, staticcheck, builds for other systems

.PHONY: vet
vet:
	$(STEP) "go vet" go vet ./...

.PHONY: staticcheck
staticcheck:
	$(STEP) "go vet, not on Linux" env GOOS=darwin go vet ./...
	$(STEP) staticcheck go run $(STATICCHECK) ./...

# The simulator and the lessons need no Linux; later they are to run in a browser.
.PHONY: portable
portable:
	$(STEP) "go build, macOS" env GOOS=darwin go build ./sim/... ./lessons/...
	$(STEP) "go build, WebAssembly" env GOOS=js GOARCH=wasm go build ./sim/... ./lessons/...

.PHONY: format
format:
	$(STEP) gofmt bash -c 'files=$$(gofmt -l $$(git ls-files "*.go")); [[ -z $$files ]] || { echo "not formatted (make fmt):"; echo "$$files"; exit 1; }'

.PHONY: types
types: $(NODE)
	$(STEP) "page, types" $(NODE)/node_modules/.bin/tsc -p assets/jsconfig.json

.PHONY: unit
unit:
	$(STEP) "page, unit tests" bash -c 'files=$$(find assets -name "*.test.js" -o -name "*.test.mjs"); [[ -n $$files ]] || { echo "no unit tests found"; exit 1; }; node --test $$files'

# What is tested side by side; ./sim/agree has a step of its own.
BESIDE = $$(go list ./... | grep -v /sim/agree)

# As root the labs get a user of their own; as anybody else they run as that user.
.PHONY: go-root
go-root:
ifeq ($(shell id -u),0)
	$(STEP) "go test, root" $(TEST) $(WAITS) -skip '$(BROWSER)|$(DOCKER)' $(BESIDE)
else
	$(STEP) "go test, root" $(TEST) $(WAITS) -skip '$(BROWSER)|$(DOCKER)' -exec 'sudo -E env PATH=$(PATH)' $(BESIDE)
endif

.PHONY: go-docker
go-docker:
ifeq ($(shell id -u),0)
	$(STEP) "docker beside Debian's" $(TEST) -parallel 4 -run '$(DOCKER)' ./cmd/vethlab
else
	$(STEP) "docker beside Debian's" $(TEST) -parallel 4 -run '$(DOCKER)' -exec 'sudo -E env PATH=$(PATH)' ./cmd/vethlab
endif

.PHONY: go-user
go-user:
	$(STEP) "go test, unprivileged" $(TEST) $(WAITS) -skip '$(BROWSER)|$(DOCKER)' -exec $(CURDIR)/.ci/as-nobody ./cmd/... ./exec/...

# Random labs by the hundred, with the machine to themselves: others' pings
# would not be answered in time beside them.
.PHONY: agreement
agreement:
ifeq ($(shell id -u),0)
	$(STEP) "agreement" $(TEST) ./sim/agree
else
	$(STEP) "agreement" $(TEST) -exec 'sudo -E env PATH=$(PATH)' ./sim/agree
endif
	$(STEP) "agreement, unprivileged" $(TEST) -run 'TestAgree|TestKept' -exec $(CURDIR)/.ci/as-nobody ./sim/agree

# Only where goroutines share something; a lab's limit on memory is too tight
# for the race detector in the programs that run inside it.
RACE := ./web/... ./lessons/... ./sim/tools ./exec ./exec/capture
.PHONY: go-race
go-race:
	$(STEP) "go test, race detector" env CGO_ENABLED=1 $(TEST) -race -skip '^TestForms' -exec $(CURDIR)/.ci/as-nobody $(RACE)

.PHONY: go-race-build
go-race-build:
	$(STEP) "go test, race detector, build" env CGO_ENABLED=1 go test -race -vet=off -c -o /dev/null $(RACE)

.PHONY: browser
browser: $(NODE)
	$(STEP) "browser" $(TEST) -run '$(BROWSER)' ./cmd/vethlab

.PHONY: bench
bench: needs needs-agree needs-docker ## measure, and print ratios (as root: Docker's daemon, and the kernel's forwarding on a core of its own)
	@.ci/bench ./sim ./sim/agree ./exec ./cmd/vethlab

# Ctrl-C ends it with a summary. What differs is kept in .artefacts/agree, shrunk.
.PHONY: agree
agree: needs needs-agree ## hold the simulator against the kernel in N=1500 fresh cases (SEED=1: the same again)
	@mkdir -p .cache && go test -c -o .cache/agree.test ./sim/agree
	@cd sim/agree && exec ../../.cache/agree.test -test.run '^TestAgree$$' -test.timeout 0 -progress -shrink 1m -n $(or $(N),1500) -seed $(or $(SEED),0) -keep $(CURDIR)/.artefacts/agree

.PHONY: fmt
fmt: ## format the Go code
	@gofmt -w $$(git ls-files '*.go')

.PHONY: clean
clean: ## remove what was built, fetched and kept from tests
	@rm -rf vethlab .cache .artefacts

# From 1.21 on, Go fetches the version that go.mod names; an older one cannot read go.mod.
.PHONY: go
go:
	@go version | awk '{ split(substr($$3, 3), v, "."); exit v[1] == 1 && v[2] < 21 }' || { echo "vethlab is built with Go 1.21 or later; this is $$(go version)"; exit 1; }

.PHONY: needs
needs:
	@.ci/need $(NEEDS_RUN)

.PHONY: needs-agree
needs-agree:
	@.ci/need $(NEEDS_AGREE)

.PHONY: needs-docker
needs-docker:
	@.ci/need $(NEEDS_DOCKER)

.PHONY: needs-test
needs-test:
	@.ci/need $(NEEDS_TEST)

$(NODE): | needs-test
	@rm -rf .cache/node-* && mkdir -p $@.part
	@npm install --prefix $@.part --silent --no-audit --no-fund --no-save --ignore-scripts typescript@$(TYPESCRIPT) axe-core@$(AXE)
	@mv $@.part $@

.PHONY: help
help:
	@echo "make run    is all it takes to begin."
	@echo
	@sed -nE 's/^([a-z]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16
