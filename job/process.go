package job

import (
	"os"
	"sync"
)

// self returns this process.
var self = sync.OnceValue(func() Process {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	pid := os.Getpid()
	started, _ := processStart(pid)
	return Process{Host: host, PID: pid, Started: started}
})

// alive reports whether the process still runs. Of another host's nothing is
// known: it is taken to be.
func (p Process) alive() bool {
	me := self()
	if p.Host != me.Host {
		return true
	}
	if p.PID == me.PID {
		return p.Started == me.Started
	}
	started, there := processStart(p.PID)
	return there && (started == p.Started || started == "" || p.Started == "")
}
