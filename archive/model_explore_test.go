package archive

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tidemarkdb/tidemark/chain"
)

// explore visits every state that can follow w; it returns the first violation.
func (m *mModel) explore(w *mWorld) error {
	if m.mutant != "overwriting store" { // a put whose number is taken never lands
		w.puts = slices.DeleteFunc(w.puts, func(p mPut) bool { return w.at(p.seq) != nil })
	}
	key := m.key(w)
	if m.seen[key] {
		return nil
	}
	m.seen[key] = true
	m.stats.states++
	if len(w.bucket) == m.max {
		m.stats.full++
	}
	if w.landed {
		m.stats.late++
	}
	if err := m.check(w); err != nil {
		return err
	}
	for who := range w.actors {
		if w.actors[who].pub != nil {
			if err := m.actorMoves(w, who); err != nil {
				return err
			}
		}
	}
	for i, p := range w.puts {
		err := m.try(w, 0, fmt.Sprintf("late put of %d lands", p.seq), func(c *mWorld) error {
			c.puts = slices.Delete(c.puts, i, i+1)
			c.landed = m.land(c, p) || c.landed
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// try explores what follows one event, which costs faults.
func (m *mModel) try(w *mWorld, faults int, name string, event func(*mWorld) error) error {
	if w.faults < faults {
		return nil
	}
	c := w.clone()
	c.faults -= faults
	m.path = append(m.path, name)
	defer func() { m.path = m.path[:len(m.path)-1] }()
	err := event(c)
	if err == nil {
		err = m.explore(c)
	} else {
		err = fmt.Errorf("%w\n%s", err, strings.Join(m.path, "\n"))
	}
	return err
}

// actorMoves explores everything that can happen to an actor's request.
func (m *mModel) actorMoves(w *mWorld, who int) error {
	q := w.actors[who].q
	if int(q.seq) > m.max {
		return nil // the bound of this world
	}
	name := func(what string) string { return fmt.Sprintf("process %d: %s %d: %s", who, opName(q.op), q.seq, what) }
	reply := func(ans answer) func(*mWorld) error {
		return func(c *mWorld) error { return m.answer(c, who, ans) }
	}
	var late *mPut
	var errs []error
	if q.op == opRead {
		ans := answer{outcome: absent}
		if n := w.at(q.seq); n != nil {
			ans = answer{outcome: found, stored: n.stored}
		}
		errs = append(errs, m.try(w, 0, name("answered"), reply(ans)),
			m.try(w, 1, name("fails"), reply(answer{outcome: failed, err: errModel})))
	} else {
		put := mPut{q.seq, m.node(q.stored)}
		late = &put
		errs = append(errs, m.try(w, 0, name("answered"), func(c *mWorld) error {
			if m.land(c, put) {
				return m.answer(c, who, answer{outcome: created})
			}
			return m.answer(c, who, answer{outcome: exists})
		}), m.try(w, 1, name("done, reply lost"), func(c *mWorld) error {
			m.land(c, put)
			return m.answer(c, who, answer{outcome: unclear, err: errModel})
		}), m.try(w, 1, name("delayed, timed out"), func(c *mWorld) error {
			c.puts = append(c.puts, put)
			return m.answer(c, who, answer{outcome: unclear, err: errModel})
		}))
	}
	errs = append(errs, m.try(w, 1, name("gives up"), func(c *mWorld) error {
		if late != nil {
			c.puts = append(c.puts, *late)
		}
		return m.after(c, who, request{}, true, c.actors[who].pub.giveUp(errModel))
	}), m.try(w, 1, name("crashes"), func(c *mWorld) error {
		if late != nil {
			c.puts = append(c.puts, *late)
		}
		return m.restart(c, who)
	}))
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func opName(o opKind) string {
	if o == opRead {
		return "read"
	}
	return "create"
}

// restart begins an actor anew with no memory. It reads the chain with a list
// as stale as can be; fresher ones are a matter of what check tries.
func (m *mModel) restart(w *mWorld, who int) error {
	a := &w.actors[who]
	*a = mActor{script: a.script, pc: a.pc, life: a.life + 1, state: m.origin}
	if a.script[0] == mOpClaim {
		a.pc = 0
	}
	s, err := m.read(w, 0)
	if err != nil {
		return err
	}
	a.state = s
	return m.start(w, who)
}

// read follows the chain as a fresh reader whose list showed the numbers up to
// listed.
func (m *mModel) read(w *mWorld, listed chain.Seq) (*chain.State, error) {
	r := &reading{state: m.origin.Clone(), listed: listed}
	q, done, err := r.first(), false, error(nil)
	for !done {
		ans := answer{outcome: absent}
		if n := w.at(q.seq); n != nil {
			ans = answer{outcome: found, stored: n.stored}
		}
		if m.mutant == "no probing" && q.seq > listed {
			ans = answer{outcome: absent}
		}
		q, done, err = r.step(ans, m.advance)
	}
	return r.state, err
}

// check holds a world to what the archive promises.
func (m *mModel) check(w *mWorld) error {
	violation := func(format string, args ...any) error {
		return fmt.Errorf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.path, "\n"))
	}
	var seen bytes.Buffer
	for _, n := range w.bucket {
		id := 0
		if n != nil {
			id = n.id
		}
		fmt.Fprintf(&seen, "%d ", id)
	}
	for _, a := range w.acks {
		seen.WriteString(a.what)
	}
	if m.checked[seen.String()] {
		return nil
	}
	m.checked[seen.String()] = true
	for listed := range len(w.bucket) + 1 {
		s, err := m.read(w, chain.Seq(listed))
		if err != nil {
			return violation("a reader whose list shows %d of %d manifests: %v", listed, len(w.bucket), err)
		}
		for _, a := range w.acks {
			if a.pin {
				if pin, ok := s.Pins["t2"]; !ok || pin.Body.LSN != a.lsn {
					return violation("a reader whose list shows %d of %d manifests misses the pin at LSN %d, which was acknowledged", listed, len(w.bucket), a.lsn)
				}
				continue
			}
			if a.label {
				if _, ok := s.Labels[a.what]; !ok {
					return violation("a reader whose list shows %d of %d manifests misses label %s, which was acknowledged", listed, len(w.bucket), a.what)
				}
				continue
			}
			if seg, err := s.SegmentAt(context.Background(), a.lsn); err != nil || seg == nil || seg.Packs[0].Key != a.what {
				return violation("a reader whose list shows %d of %d manifests misses %s, which was acknowledged", listed, len(w.bucket), a.what)
			}
		}
		if s.LogHash != sourceHash(s.Last) {
			return violation("the history of LSN 1 to %d is not the source's", s.Last)
		}
	}
	return nil
}

// key tells worlds apart.
func (m *mModel) key(w *mWorld) string {
	var b bytes.Buffer
	num := func(ns ...int) {
		for _, n := range ns {
			b.WriteByte(byte(n))
			b.WriteByte(byte(n >> 8))
		}
	}
	for _, n := range w.bucket {
		if n == nil {
			num(0)
		} else {
			num(n.id)
		}
	}
	num(-1)
	puts := make([]int, 0, 8)
	for _, p := range w.puts {
		puts = append(puts, p.node.id)
	}
	slices.Sort(puts)
	num(puts...)
	num(-1, w.faults)
	for _, a := range w.acks {
		b.WriteString(a.what)
	}
	for i := range w.actors {
		a := &w.actors[i]
		num(-1, a.pc, bit(a.stopped), bit(a.fenced))
		if a.pub == nil {
			continue // it has stopped, and what it knew does not matter
		}
		p := a.pub
		num(a.life, int(a.epoch), int(a.cursor), a.packLife)
		num(m.head(p.state), int(p.state.Seq), bit(p.atHead), int(a.q.op), int(a.q.seq))
		if p.tries+2*w.faults+2 >= maxTries { // otherwise it can't matter any more
			num(p.tries)
		}
		if p.sent != nil {
			num(m.node(p.sent).id)
		}
	}
	return b.String()
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
