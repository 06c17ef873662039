package bench

import (
	"runtime"
	"testing"
)

func TestPeakRSS(t *testing.T) {
	if runtime.GOOS != "linux" {
		if got := peakRSS(); got != 0 {
			t.Errorf("peak of %d bytes from a system that does not say", got)
		}
		t.Skip("only Linux says")
	}
	const size = 64 << 20
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(i)
	}
	if got := peakRSS(); got < size || got > 64*size {
		t.Errorf("peak of %d bytes after touching %d", got, size)
	}
	runtime.KeepAlive(b)
}
