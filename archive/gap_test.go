package archive

import (
	"errors"
	"strings"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

func TestAckGap(t *testing.T) {
	b := storage.NewMem()
	a := newArchive(t, b)
	c := claim(t, a, claimOptions("host/1"))
	publishSegment(t, c, 3)
	s := c.State()
	err := c.Gap(t.Context(), chain.Gap{First: 4, Last: 9, Reason: "log lost", From: s.Effective, To: s.CoveredUntil + 1000, LogHash: change.Hash{9}})
	if err != nil {
		t.Fatal(err)
	}
	other := openArchive(t, b) // whoever acknowledges is not the capturer
	ack := chain.GapAck{First: 4, Reason: "the disk was replaced", By: "ops"}
	for range 2 {
		if err := other.AckGap(t.Context(), ack); err != nil {
			t.Fatal(err)
		}
	}
	if got := other.State().GapAcks[4].Body; got != ack {
		t.Errorf("got %+v, want %+v", got, ack)
	}
	for rule, wrong := range map[string]chain.GapAck{
		"gap-ack.once": {First: 4, Reason: "another word"},
		"gap-ack.lsn":  {First: 5, Reason: "no gap starts there"},
	} {
		if err := other.AckGap(t.Context(), wrong); !errors.Is(err, chain.ErrBroken) || !strings.Contains(err.Error(), rule) {
			t.Errorf("%+v: %v, want %s", wrong, err, rule)
		}
	}
	publishSegment(t, c, 1) // the epoch goes on
	if s, err := openArchive(t, b).Load(t.Context()); err != nil || s.GapAcks[4].Body != ack || s.Last != 10 {
		t.Errorf("read back: %+v, %v", s, err)
	}
}
