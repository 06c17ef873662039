package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// MaxManifest is the size limit of a stored manifest in bytes.
const MaxManifest = 64 << 20

// HashManifest is the hash that the next manifest's prev_hash holds: SHA-256
// over the stored bytes.
func HashManifest(raw []byte) change.Hash { return sha256.Sum256(raw) }

// Encode validates the manifest and returns the bytes to store: one line of
// JSON in the order of the fields.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	raw, err := m.encode()
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("manifest %d (%s) has %d bytes, the limit is %d: %w", m.Seq, m.Kind, len(raw), MaxManifest, ErrManifest)
	}
	return raw, nil
}

func (m *Manifest) encode() ([]byte, error) { return encodeJSON(m.listed()) }

// encodeJSON writes v as one line without HTML escapes.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	return b.Bytes(), nil
}

// listed returns the manifest with empty lists where nil would become null.
func (m *Manifest) listed() *Manifest {
	out := *m
	if m.Segment != nil {
		s := *m.Segment
		s.Packs, s.Counts = list(s.Packs), list(s.Counts)
		out.Segment = &s
	}
	if m.Snapshot != nil {
		s := *m.Snapshot
		s.Schemas, s.Runs, s.Digests = list(s.Schemas), list(s.Runs), list(s.Digests)
		out.Snapshot = &s
	}
	if m.Digest != nil {
		d := *m.Digest
		d.Digests = list(d.Digests)
		out.Digest = &d
	}
	return &out
}

func list[T pack.Ref | Count | *change.Schema | CollectionDigest](l []T) []T {
	if l == nil {
		return []T{}
	}
	return l
}

// DecodeManifest reads a stored manifest and validates it. It refuses what
// [Manifest.Encode] would have written otherwise: unknown, repeated or
// misspelt fields, nulls, trailing data. Only white space and the way strings
// are escaped are free.
func DecodeManifest(raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("%d bytes, the limit is %d: %w", len(raw), MaxManifest, ErrManifest)
	}
	m := new(Manifest)
	if err := decodeStrict(raw, m, "manifest", ErrManifest); err != nil {
		return nil, err
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	again, err := m.encode()
	if err != nil {
		return nil, err
	}
	if err := sameJSON(raw, again); err != nil {
		return nil, fmt.Errorf("manifest %d: %w: %w", m.Seq, err, ErrManifest)
	}
	return m, nil
}

// decodeStrict reads one JSON object into v; what it refuses wraps malformed.
// When the object was written by a newer tidemark, it says so.
func decodeStrict(raw []byte, v any, what string, malformed error) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err != nil {
		var probe struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(raw, &probe) == nil && probe.Format > FormatVersion {
			return versionError(what, probe.Format)
		}
		return fmt.Errorf("%s: %w: %w", what, err, malformed)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s is followed by other data: %w", what, malformed)
	}
	return nil
}

func versionError(what string, format int) error {
	return fmt.Errorf("%s has format %d, this tidemark reads up to %d: %w", what, format, FormatVersion, ErrVersion)
}

// sameJSON reports how got, which may be spaced and escaped in its own way,
// differs from the canonical JSON want.
func sameJSON(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	g, w := json.NewDecoder(bytes.NewReader(got)), json.NewDecoder(bytes.NewReader(want))
	g.UseNumber()
	w.UseNumber()
	for {
		at := g.InputOffset()
		a, errA := g.Token()
		b, errB := w.Token()
		switch {
		case errors.Is(errA, io.EOF) && errors.Is(errB, io.EOF):
			return nil
		case errA != nil || errB != nil || a != b:
			return fmt.Errorf("at byte %d: got %v, want %v (fields in order, each once, no nulls, no defaults written out)", at, a, b)
		}
	}
}
