package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestReadLineInterrupted checks that Ctrl-C ends a question that nobody answers.
func TestReadLineInterrupted(t *testing.T) {
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if line, err := readLine(ctx, in); !errors.Is(err, context.Canceled) {
		t.Errorf("got %q, %v, want that it was interrupted", line, err)
	}
	for in, want := range map[string]string{"shop.db\nmore": "shop.db\n", "shop.db": "shop.db", "": ""} {
		if line, err := readLine(t.Context(), strings.NewReader(in)); line != want || err != nil {
			t.Errorf("%q: got %q, %v", in, line, err)
		}
	}
}
