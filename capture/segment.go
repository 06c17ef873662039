package capture

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
	"github.com/tidemarkdb/tidemark/pack"
)

// segment is the one being filled: a log pack in memory, those of a large
// transaction that were cut before it, and what its manifest will say.
type segment struct {
	builder *chain.SegmentBuilder
	pack    *pack.LogWriter // nil when nothing was added since the last cut
	buf     *bytes.Buffer
	first   change.LSN // of the pack
	last    change.LSN
	parts   []*part
	since   time.Time // when its first transaction was read
}

func newSegment(prev change.Hash) *segment {
	return &segment{builder: chain.NewSegmentBuilder(prev)}
}

// size returns about how many bytes the pack being filled has.
func (s *segment) size() int64 {
	if s.pack == nil {
		return 0
	}
	return s.pack.Size()
}

// inside reports whether a transaction was begun of which pieces are still to
// come. It is then the only one in the segment.
func (s *segment) inside() bool { return s != nil && s.builder.Inside() }

// add appends a transaction, or a piece of one. One that is refused leaves the
// segment as it was.
func (s *segment) add(tx *change.Tx) error {
	if s.pack == nil {
		s.buf = new(bytes.Buffer)
		s.pack = pack.NewLogWriter(s.buf, pack.WriterOptions{})
		s.first = tx.First()
	}
	if err := s.pack.AppendTx(tx); err != nil {
		return err
	}
	if s.builder.Empty() {
		s.since = time.Now()
	}
	s.last = tx.Last()
	return s.builder.Add(tx)
}

// part is a finished pack of a segment, to be stored as often as it takes.
type part struct {
	first, last change.LSN
	bytes       []byte // nil once it is stored
	ref         pack.Ref
}

// cut ends the pack, so that it can be stored while the segment goes on in
// another.
func (s *segment) cut() (*part, error) {
	ref, _, err := s.pack.Close()
	if err != nil {
		return nil, err
	}
	p := &part{s.first, s.last, s.buf.Bytes(), ref}
	s.parts = append(s.parts, p)
	s.pack, s.buf = nil, nil
	return p, nil
}

// store uploads the pack, unless an earlier attempt has.
func (p *part) store(ctx context.Context, a *archive.Archive) error {
	if p.bytes == nil {
		return nil
	}
	ref, err := a.PutPack(ctx, chain.LogPack, p.first, p.last, func(w io.Writer) (pack.Ref, error) {
		_, err := w.Write(p.bytes)
		return p.ref, err
	})
	if err == nil {
		p.ref, p.bytes = ref, nil
	}
	return err
}

// sealed is a segment that is ready to be published, as often as it takes.
type sealed struct {
	section chain.Segment
	parts   []*part
	mark    driver.Mark // its end
}

func (s *segment) seal(covered change.Time) (*sealed, error) {
	if s.pack != nil {
		if _, err := s.cut(); err != nil {
			return nil, err
		}
	}
	out := &sealed{section: s.builder.Segment(), parts: s.parts}
	out.section.CoveredUntil = max(out.section.CoveredUntil, covered)
	out.mark = driver.Mark{LSN: out.section.Last, LogHash: out.section.LogHash, Position: out.section.Position}
	return out, nil
}

// publish uploads the packs that are not stored yet, and announces all of them.
func (s *sealed) publish(ctx context.Context, a *archive.Archive, session *archive.Session) error {
	packs := make([]pack.Ref, len(s.parts))
	for i, p := range s.parts {
		if err := p.store(ctx, a); err != nil {
			return err
		}
		packs[i] = p.ref
	}
	s.section.Packs = packs
	return session.Segment(ctx, s.section)
}
