//go:build !unix

package pack

import "time"

// cpuTime is not known here.
func cpuTime() time.Duration { return 0 }
