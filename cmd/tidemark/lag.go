package main

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/tidemarkdb/tidemark/config"
	"github.com/tidemarkdb/tidemark/embedded"
)

// lagFlags say what a database does while its archive is behind.
type lagFlags struct {
	action string
	bytes  byteFlag
	age    time.Duration
}

func (f *lagFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.action, "on-archive-lag", "keep", "when the archive is too far behind: `what` to do: keep the log, block commits, or detach: give the log up, which leaves a gap")
	fl.Var(&f.bytes, "lag-bytes", "too far behind is when more log than this is not archived; default: any amount will do")
	fl.DurationVar(&f.age, "lag-age", 0, "or when a change has waited this long while the database was open; 0: any time will do")
}

// policy returns what the flags say, and the configuration where they say
// nothing. db may be nil.
func (f *lagFlags) policy(c *console, set *pflag.FlagSet, db *config.Database) (embedded.LagPolicy, error) {
	p, err := c.lagPolicy(db)
	if err != nil {
		return p, err
	}
	if db == nil || set.Changed("on-archive-lag") {
		if p.Action, err = embedded.ParseLagAction(f.action); err != nil {
			return p, usageError{err}
		}
	}
	if db == nil || set.Changed("lag-bytes") {
		p.Bytes = int64(f.bytes)
	}
	if db == nil || set.Changed("lag-age") {
		p.Age = f.age
	}
	switch limits := p.Bytes > 0 || p.Age > 0; {
	case p.Age < 0:
		return p, usageError{errors.New("--lag-age is less than nothing")}
	case p.Action != embedded.LagKeep && !limits:
		return p, usageError{errors.New("--on-archive-lag " + p.Action.String() + " needs to know when the archive is too far behind: add --lag-bytes or --lag-age")}
	case p.Action == embedded.LagKeep && (set.Changed("lag-bytes") || set.Changed("lag-age")):
		return p, usageError{errors.New("--lag-bytes and --lag-age say when the archive is too far behind; add --on-archive-lag block or detach to say what happens then")}
	}
	return p, nil
}

// lagPolicy returns what the configuration of a database says, which may be nil.
func (c *console) lagPolicy(db *config.Database) (p embedded.LagPolicy, err error) {
	p.Event = c.lagEvent
	p.Wait = -1 // nobody can capture a database that this process has open
	if db == nil {
		return p, nil
	}
	p.Bytes, p.Age = db.Capture.LagBytes, db.Capture.LagAge
	p.Action, err = embedded.ParseLagAction(string(db.Capture.OnArchiveLag))
	return p, err
}

func (c *console) lagEvent(e embedded.LagEvent) {
	switch e.Kind {
	case embedded.LagBlocked, embedded.LagReleased: // whoever commits is told
	case embedded.LagDetached:
		c.warned.Store(true)
		c.log.Error("the archive was too far behind: the database gave up its log; the next capture will declare a gap and take a new base",
			"bytes", e.Lag.Bytes, "age", e.Lag.Age, "lsn", e.LSN)
	}
}
