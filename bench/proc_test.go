package bench

import (
	"runtime"
	"testing"
	"time"
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

func TestCPUSeconds(t *testing.T) {
	before := cpuSeconds()
	if runtime.GOOS != "linux" {
		if before != 0 {
			t.Errorf("%v seconds from a system that does not say", before)
		}
		t.Skip("only Linux says")
	}
	for start := time.Now(); cpuSeconds() < before+0.03; {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%v seconds, then %v after being busy for 10", before, cpuSeconds())
		}
	}
}
