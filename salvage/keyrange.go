package salvage

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// hole is a range of rows that can't be read, between two that can; nil stands
// for the first or the last of all.
type hole struct {
	after, before *pack.RowKey
}

// covers reports whether a hole may hold rows of a collection.
func (h *hole) covers(c change.CollectionID) bool {
	return (h.after == nil || h.after.Collection <= c) && (h.before == nil || h.before.Collection >= c)
}

// holds reports whether a row lies in a hole.
func (h *hole) holds(row pack.RowKey) bool {
	return (h.after == nil || row.Compare(*h.after) > 0) && (h.before == nil || row.Compare(*h.before) < 0)
}

// KeyRange is a range of lost rows of one collection, neither end included; nil
// stands for its first or last row.
type KeyRange struct {
	After  *Row `json:"after,omitempty"`  // the last row before it
	Before *Row `json:"before,omitempty"` // the first row after it
}

// Row names a row for people and programs.
type Row struct {
	Key  string `json:"key"`            // in hexadecimal digits, as it is ordered
	Text string `json:"text,omitempty"` // its values; not of bags, whose keys are hashes
}

// rangeIn returns the part of a hole that lies in a collection.
func (h *hole) rangeIn(c change.CollectionID, bag bool) KeyRange {
	row := func(r *pack.RowKey) *Row {
		if r == nil || r.Collection != c {
			return nil
		}
		out := &Row{Key: hex.EncodeToString(r.Key)}
		if values, err := change.DecodeKey(r.Key); err == nil && !bag {
			var parts []string
			for _, v := range values {
				parts = append(parts, v.String())
			}
			out.Text = strings.Join(parts, ", ")
		}
		return out
	}
	return KeyRange{row(h.after), row(h.before)}
}

func (r *Row) String() string {
	if r.Text != "" {
		return r.Text
	}
	return "key " + r.Key
}

// String says in words which rows are meant.
func (k KeyRange) String() string {
	switch {
	case k.After == nil && k.Before == nil:
		return "all rows"
	case k.After == nil:
		return fmt.Sprintf("rows before %s", k.Before)
	case k.Before == nil:
		return fmt.Sprintf("rows after %s", k.After)
	}
	return fmt.Sprintf("rows between %s and %s", k.After, k.Before)
}
