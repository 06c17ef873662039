# The two commands a newcomer needs are `make demo` and `make test`.

GO      ?= go
export CGO_ENABLED = 0
FUZZTIME ?= 30s
BENCHTIME ?= 2s

.PHONY: build demo test check docs race cross bench fuzz clean

build: bin/tidemark

bin/tidemark: FORCE
	@mkdir -p bin
	$(GO) build -trimpath -o bin/tidemark ./cmd/tidemark
FORCE:

# demo runs the main job on the embedded database with real data: load, wreck, find, plan, restore, compare.
demo: build
	@./bin/tidemark demo

# test needs nothing but Go: no database server is part of it yet.
test:
	$(GO) test -timeout 15m ./...

# check is what a change must pass beside the tests.
check:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt'ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# docs writes docs/reference again, from the commands, the settings and the types that --json prints, and in the other
# pages what commands print where that has changed.
docs:
	$(GO) test -count=1 -run 'TestReference|TestDocsTranscripts' ./cmd/tidemark ./config -args -reference

# race runs the packages in which goroutines meet under the race detector, which needs cgo.
race:
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m ./storage/... ./merge ./archive ./recovery ./embedded/... ./capture ./restore ./daemon ./hook ./job ./internal/spine

cross:
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/tidemark
	GOOS=windows GOARCH=amd64 $(GO) build -o /dev/null ./cmd/tidemark
	GOOS=darwin GOARCH=arm64 $(GO) vet ./...
	GOOS=windows GOARCH=amd64 $(GO) vet ./...

# bench prints the figures that bench/RESULTS.md quotes.
bench: build
	$(GO) test -run '^$$' -bench . -benchtime $(BENCHTIME) ./pack ./merge ./embedded ./bench

# fuzz runs every fuzz target for FUZZTIME.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x $$pkg || exit 1; \
	  done; done

clean:
	rm -rf bin
