package archive

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/chain/chaintest"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// This file explores every order of events of a small world: up to three
// processes that publish through the machines of protocol.go and the rules of
// State.Next, over a bucket with delayed puts, lost replies, failed reads,
// stale lists, crashes, and processes that pause for as long as they like. In
// every state reached it checks what the archive promises.

// mNode is a manifest's bytes, once for the whole exploration.
type mNode struct {
	id int
	*stored
}

// mPut is a create that its sender no longer waits for: it may land at any
// time, or never.
type mPut struct {
	seq  chain.Seq
	node *mNode
}

// mOp is one step of a process's script.
type mOp string

const (
	mOpClaim   mOp = "claim"
	mOpSegment mOp = "segment"
	mOpClose   mOp = "close"
	mOpLabel   mOp = "label"
	mOpPin     mOp = "pin"     // of t2 at LSN 0
	mOpPinLast mOp = "pinlast" // of t2 at the end of the log
	mOpFork    mOp = "fork"    // the first manifest of a child
)

// mActor is one process.
type mActor struct {
	script   []mOp
	pc       int
	life     int // grows with each crash and each repeated attempt: part of every nonce
	state    *chain.State
	epoch    chain.Epoch
	cursor   change.LSN // what the capturer archives next
	packLife int        // the life in which the waiting segment's pack was uploaded
	pub      *publication
	q        request
	stopped  bool
	fenced   bool
}

// mAck is something that a process was told is archived.
type mAck struct {
	lsn   change.LSN
	what  string // a segment's pack, or a label
	label bool
	pin   bool
}

// mWorld is one state of everything.
type mWorld struct {
	bucket []*mNode // manifest seq at seq−1; nil where a number was passed over
	puts   []mPut
	actors []mActor
	acks   []mAck
	faults int // how many more may happen
	landed bool
}

// mModel is an exploration.
type mModel struct {
	max     int // manifests in the bucket
	origin  *chain.State
	mutant  string // how the protocol is spoilt, if at all
	nodes   map[string]*mNode
	byPtr   map[*stored]*mNode
	heads   map[change.Hash]int // states by their head
	states  map[*chain.State]int
	checked map[string]bool
	next    map[[2]int]*chain.State
	nextErr map[[2]int]error
	built   map[string]*stored
	seen    map[string]bool
	path    []string
	stats   struct{ states, fenced, full, late int }
}

func newModel(max int, mutant string) *mModel {
	return &mModel{max: max, mutant: mutant, origin: chain.NewState(chaintest.Repo, chain.MainTimeline), nodes: make(map[string]*mNode),
		byPtr: make(map[*stored]*mNode), states: make(map[*chain.State]int), checked: make(map[string]bool), heads: make(map[change.Hash]int),
		next: make(map[[2]int]*chain.State), nextErr: make(map[[2]int]error), built: make(map[string]*stored), seen: make(map[string]bool)}
}

func (m *mModel) node(s *stored) *mNode {
	n := m.byPtr[s]
	if n == nil {
		if n = m.nodes[string(s.raw)]; n == nil {
			n = &mNode{id: len(m.nodes) + 1, stored: s}
			m.nodes[string(s.raw)] = n
		}
		m.byPtr[s] = n
	}
	return n
}

func (m *mModel) head(s *chain.State) int {
	id, ok := m.states[s]
	if !ok {
		if id, ok = m.heads[s.Head]; !ok {
			id = len(m.heads) + 1
			m.heads[s.Head] = id
		}
		m.states[s] = id
	}
	return id
}

// advance is the real advanceClone, remembered.
func (m *mModel) advance(s *chain.State, n *stored) (*chain.State, error) {
	key := [2]int{m.head(s), m.node(n).id}
	if out, ok := m.next[key]; ok {
		return out, m.nextErr[key]
	}
	out, err := advanceClone(s, n)
	m.next[key], m.nextErr[key] = out, err
	return out, err
}

// sourceHash is the log hash of the one source at an LSN.
func sourceHash(lsn change.LSN) change.Hash {
	if lsn == 0 {
		return change.Hash{}
	}
	return change.LogHash(sourceHash(lsn-1), []byte{byte(lsn)})
}

// work returns what an actor wants to publish, as a function of the state.
func (m *mModel) work(a *mActor, who int) (build func(*chain.State) (*chain.Manifest, error), label string) {
	switch a.script[a.pc] {
	case mOpClaim:
		return func(s *chain.State) (*chain.Manifest, error) {
			over := chain.OverNothing
			if s.EpochOpen {
				over = chain.OverTakeover
			}
			return &chain.Manifest{Kind: chain.KindClaim, Epoch: s.Epoch + 1, Claim: &chain.Claim{Source: chaintest.Source, LSN: s.Last,
				LogHash: sourceHash(s.Last), Over: over, Holder: strconv.Itoa(who)}}, nil
		}, "claim"
	case mOpPin, mOpPinLast:
		last := a.script[a.pc] == mOpPinLast
		return func(s *chain.State) (*chain.Manifest, error) {
			pin := chain.Pin{Child: "t2"}
			if last {
				pin.LSN, pin.LogHash, pin.Effective = s.Last, sourceHash(s.Last), s.Effective
			}
			return pinAfter(s, &pin)
		}, string(a.script[a.pc])
	case mOpFork:
		return forkAfter, "fork"
	case mOpSegment:
		seg := m.segment(a.cursor, who, a.packLife)
		epoch := a.epoch
		return func(s *chain.State) (*chain.Manifest, error) {
			return underEpoch(s, epoch, func(s *chain.State) (*chain.Manifest, error) { return segmentAfter(s, seg) })
		}, fmt.Sprintf("segment %d e%d p%d", a.cursor, a.epoch, a.packLife)
	case mOpClose:
		epoch := a.epoch
		return func(s *chain.State) (*chain.Manifest, error) {
			return underEpoch(s, epoch, func(s *chain.State) (*chain.Manifest, error) {
				return &chain.Manifest{Kind: chain.KindClose, Close: &chain.Close{LSN: s.Last}}, nil
			})
		}, fmt.Sprintf("close e%d", a.epoch)
	}
	l := &chain.Label{Name: fmt.Sprintf("l%d", a.pc), LSN: 0}
	return func(s *chain.State) (*chain.Manifest, error) { return labelAfter(s, l) }, l.Name
}

var modelSchema = must(change.Define(1, "c", []string{"id"}, change.Column{Name: "id", Type: change.Int64}))

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// modelSegment holds the one record of the source's log at lsn.
func (m *mModel) segment(lsn change.LSN, who, life int) *chain.Segment {
	at := change.Time(lsn) * 1000
	seg := &chain.Segment{First: lsn, Last: lsn, Effective: chain.Span{From: at, To: at}, Commit: chain.Span{From: at, To: at}, CoveredUntil: at,
		LogHash: sourceHash(lsn), Txs: 1, Smaller: 1, Counts: []chain.Count{{Collection: 1, Inserts: 1}}}
	if lsn == 1 {
		seg.Counts = []chain.Count{{Collection: 1, Schemas: 1}}
		seg.Schemas = []chain.SchemaChange{{LSN: 1, Schema: modelSchema}}
	}
	key := chain.PackKey{Timeline: m.origin.Timeline, Kind: chain.LogPack, First: lsn, Last: lsn, Nonce: fmt.Sprintf("%08x%08x", who, life)}
	seg.Packs = []pack.Ref{chaintest.Ref(key, 1)}
	return seg
}

// start begins the actor's next step.
func (m *mModel) start(w *mWorld, who int) error {
	a := &w.actors[who]
	if a.pc == len(a.script) {
		a.stopped = true
		return nil
	}
	body, name := m.work(a, who)
	life, mutant := a.life, m.mutant
	var sent *chain.Manifest
	build := func(s *chain.State) (*stored, error) {
		key := fmt.Sprint(who, name, life, m.head(s), sent != nil)
		if b := m.built[key]; b != nil {
			return b, nil
		}
		var err error
		if mutant != "renumber" || sent == nil {
			if sent, err = body(s); err != nil {
				sent = nil
				return nil, err
			}
		}
		out, err := sealAs(s, sent, 1, fmt.Sprintf("%016x%016x", who, life))
		if err != nil {
			return nil, err
		}
		if mutant != "renumber" {
			if _, err = m.advance(s, out); err != nil {
				return nil, err
			}
		}
		m.built[key] = out
		return out, nil
	}
	a.pub = &publication{state: a.state, build: build, next: m.advance}
	q, done, err := a.pub.first()
	return m.after(w, who, q, done, err)
}

// after takes what a machine returned.
func (m *mModel) after(w *mWorld, who int, q request, done bool, err error) error {
	a := &w.actors[who]
	if !done {
		a.q = q
		return nil
	}
	a.state = a.pub.state
	op, pub := a.script[a.pc], a.pub
	a.pub = nil
	switch {
	case err == nil || errors.Is(err, errDone):
		if a.fenced {
			return errors.New("a fenced capturer was told that its work is archived")
		}
		switch op {
		case mOpClaim:
			a.epoch, a.cursor, a.packLife = pub.state.Epoch, pub.state.Last+1, a.life
		case mOpSegment:
			w.acks = append(w.acks, mAck{lsn: a.cursor, what: m.segment(a.cursor, who, a.packLife).Packs[0].Key})
			a.cursor++
			a.packLife = a.life
		case mOpPin, mOpPinLast:
			w.acks = append(w.acks, mAck{lsn: pub.state.Pins["t2"].Body.LSN, what: fmt.Sprintf("pin%d", pub.state.Pins["t2"].Body.LSN), pin: true})
		case mOpLabel:
			w.acks = append(w.acks, mAck{what: fmt.Sprintf("l%d", a.pc), label: true})
		}
		a.pc++
		a.life++
		return m.start(w, who)
	case errors.Is(err, chain.ErrFenced):
		a.fenced, a.stopped = true, true
		m.stats.fenced++
	case errors.Is(err, ErrUnresolved), errors.Is(err, errModel):
		a.life++ // the caller tries again; a segment keeps its pack
		return m.start(w, who)
	default:
		var c *chain.RuleError
		if errors.As(err, &c) && (c.Rule == "epoch.first" || c.Rule == "pin.child") {
			a.stopped = true // a label before anything was archived, a name that was taken
			return nil
		}
		return fmt.Errorf("process %d failed to publish its %s: %w", who, op, err)
	}
	return nil
}

var errModel = errors.New("no answer")

func (w *mWorld) clone() *mWorld {
	c := *w
	c.bucket, c.puts = slices.Clone(w.bucket), slices.Clone(w.puts)
	c.actors, c.acks = slices.Clone(w.actors), slices.Clone(w.acks)
	for i := range c.actors {
		if p := c.actors[i].pub; p != nil {
			p := *p
			c.actors[i].pub = &p
		}
	}
	return &c
}

func (w *mWorld) at(seq chain.Seq) *mNode {
	if int(seq) > len(w.bucket) {
		return nil
	}
	return w.bucket[seq-1]
}

// land puts a node in its place unless that is taken.
func (m *mModel) land(w *mWorld, p mPut) bool {
	for int(p.seq) > len(w.bucket) {
		w.bucket = append(w.bucket, nil)
	}
	if w.bucket[p.seq-1] != nil && m.mutant != "overwriting store" {
		return false
	}
	w.bucket[p.seq-1] = p.node
	return true
}

// answer gives the actor an answer, spoilt as the mutant wants.
func (m *mModel) answer(w *mWorld, who int, ans answer) error {
	a := &w.actors[who]
	readBack := a.q.op == opRead && a.pub.sent != nil
	switch {
	case m.mutant == "acknowledge what exists" && ans.outcome == exists,
		m.mutant == "acknowledge the unclear" && ans.outcome == unclear,
		m.mutant == "acknowledge the absent" && ans.outcome == absent && readBack:
		ans = answer{outcome: created}
	case m.mutant == "pass over the number" && ans.outcome == absent && readBack:
		s := a.pub.state.Clone()
		s.Seq++
		out, err := sealAs(s, a.pub.sent.m, 1, a.pub.sent.m.Nonce)
		if err != nil {
			return err
		}
		a.pub.next = func(*chain.State, *stored) (*chain.State, error) { return s, nil }
		a.pub.state, a.pub.sent = s, out
		a.q = a.pub.create()
		return nil
	}
	q, done, err := a.pub.step(ans)
	return m.after(w, who, q, done, err)
}

// run explores the world of these scripts.
func (m *mModel) run(faults int, scripts ...[]mOp) error {
	w := &mWorld{faults: faults}
	for _, s := range scripts {
		w.actors = append(w.actors, mActor{script: s, state: m.origin})
	}
	for who := range w.actors {
		if err := m.start(w, who); err != nil {
			return err
		}
	}
	return m.explore(w)
}

var (
	mCapturer = []mOp{mOpClaim, mOpSegment, mOpSegment, mOpClose}
	mLabeller = []mOp{mOpLabel, mOpLabel}
)

// modelFaults is how many faults the model test lets happen in one history (one
// less where three take part). TIDEMARK_MODEL_FAULTS sets another number than
// 2 (1 with -short); with 3 the test takes minutes and gigabytes.
func modelFaults(t *testing.T) int {
	s := os.Getenv("TIDEMARK_MODEL_FAULTS")
	if s == "" && testing.Short() {
		return 1
	}
	if s == "" {
		return 2
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestProtocolModel(t *testing.T) {
	faults := modelFaults(t)
	worlds := []struct {
		name    string
		faults  int
		scripts [][]mOp
	}{
		{"two capturers and a labeller", faults - 1, [][]mOp{mCapturer, mCapturer[:3], mLabeller[:1]}},
		{"two capturers", faults, [][]mOp{mCapturer, mCapturer}},
		{"capturer and labeller", faults, [][]mOp{mCapturer, mLabeller}},
		{"two forkers and a capturer", faults - 1, [][]mOp{mCapturer[:3], {mOpPin}, {mOpPinLast}}},
		{"forker and capturer", faults, [][]mOp{mCapturer[:3], {mOpPinLast}}},
		{"two begin a timeline", faults, [][]mOp{{mOpFork, mOpClaim, mOpSegment}, {mOpFork, mOpClaim}}},
	}
	for _, world := range worlds {
		t.Run(world.name, func(t *testing.T) {
			if world.faults == 0 {
				t.Skip("only without -short")
			}
			t.Parallel()
			m := newModel(6, "")
			if world.scripts[0][0] == mOpFork {
				m.origin = m.child(t)
			}
			if err := m.run(world.faults, world.scripts...); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, %d manifests; states with a late put landed: %d, with %d manifests: %d; fenced %d times",
				m.stats.states, len(m.nodes), m.stats.late, m.max, m.stats.full, m.stats.fenced)
			if m.stats.states < 500 || m.stats.late == 0 {
				t.Error("the exploration did not get anywhere")
			}
		})
	}
}

// child returns the state before the first manifest of a timeline that goes on
// after the first segment of main.
func (m *mModel) child(t *testing.T) *chain.State {
	s := m.origin.Clone()
	for i, b := range []*chain.Manifest{
		{Kind: chain.KindClaim, Epoch: 1, Claim: &chain.Claim{Source: chaintest.Source}},
		{Kind: chain.KindSegment, Epoch: 1, Segment: m.segment(1, 0, 0)},
		{Kind: chain.KindPin, Pin: &chain.Pin{Child: "t2", LSN: 1, LogHash: sourceHash(1), Effective: 1000}},
	} {
		out, err := sealAs(s, b, 1, fmt.Sprintf("%032x", i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := advanceOwn(s, out); err != nil {
			t.Fatal(err)
		}
	}
	f, err := s.Fork("t2")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestProtocolModelHasTeeth spoils the protocol, or the store, and expects the
// exploration to notice.
func TestProtocolModelHasTeeth(t *testing.T) {
	for _, mutant := range []string{"acknowledge what exists", "acknowledge the unclear", "acknowledge the absent",
		"renumber", "no probing", "pass over the number", "overwriting store"} {
		t.Run(mutant, func(t *testing.T) {
			err := newModel(6, mutant).run(1, mCapturer, mCapturer[:3], mLabeller[:1])
			if err == nil {
				t.Fatal("nothing was noticed")
			}
			t.Log(err)
		})
	}
}
