package bench

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"
)

// peakRSS returns the most memory this process has had resident, in bytes, or
// 0 where the system does not say (anything but Linux).
func peakRSS() int64 { return peakRSSOf("self") }

// peakRSSOf is peakRSS of the process with this ID.
func peakRSSOf(pid string) int64 {
	f, err := os.Open("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if rest, ok := strings.CutPrefix(sc.Text(), "VmHWM:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// cpuTicks is how many units of processor time Linux counts in a second,
// whatever the machine.
const cpuTicks = 100

// cpuSeconds returns the processor time that this process has taken, or 0
// where the system does not say (anything but Linux).
func cpuSeconds() float64 {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	// The second field is the program's name in parentheses, which may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	const user, system = 11, 12 // fields 14 and 15, counted from the third
	if len(fields) <= system {
		return 0
	}
	var sum uint64
	for _, f := range fields[user : system+1] {
		n, err := strconv.ParseUint(f, 10, 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return float64(sum) / cpuTicks
}
