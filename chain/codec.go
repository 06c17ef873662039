package chain

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
// JSON in the order of the fields, and last the check of what stands before it.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	raw, err := EncodeChecked(m.listed())
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("manifest %d (%s) has %d bytes, the limit is %d: %w", m.Seq, m.Kind, len(raw), MaxManifest, ErrManifest)
	}
	return raw, nil
}

// EncodeChecked writes v as one line of JSON and last the check of what stands
// before it: the form in which an archive stores JSON.
func EncodeChecked(v any) ([]byte, error) {
	body, err := encodeJSON(v)
	if err != nil {
		return nil, err
	}
	return AppendCheck(body), nil
}

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

// checkField opens the last field of a stored JSON object. Its value is the
// SHA-256 of all bytes before it, so that a damaged object is known by itself:
// nothing may be chained to one.
const checkField = `,"check":"`

// AppendCheck adds the check to a JSON object on one line, ended by a line feed.
// The result may lie in body's memory.
func AppendCheck(body []byte) []byte {
	body = bytes.TrimSuffix(body, []byte("}\n"))
	sum := change.Hash(sha256.Sum256(body))
	return fmt.Appendf(body, "%s%s\"}\n", checkField, sum)
}

// cutCheck proves the check and returns the object as encodeJSON wrote it.
func cutCheck(raw []byte) ([]byte, error) {
	at := len(raw) - len(checkField) - 2*sha256.Size - len("\"}\n")
	if at < 0 || string(raw[at:at+len(checkField)]) != checkField || string(raw[len(raw)-3:]) != "\"}\n" {
		return nil, fmt.Errorf("it does not end in a check: %w", ErrDamaged)
	}
	sum := change.Hash(sha256.Sum256(raw[:at]))
	if got := raw[at+len(checkField) : len(raw)-3]; string(got) != sum.String() {
		return nil, fmt.Errorf("its check is %s, its bytes have %s: %w", got, sum, ErrDamaged)
	}
	return append(bytes.Clone(raw[:at]), "}\n"...), nil
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
// misspelt fields, nulls, trailing data. Errors wrap [ErrManifest],
// [ErrVersion] or, when the bytes are not those that were written, [ErrDamaged].
func DecodeManifest(raw []byte) (*Manifest, error) {
	m := new(Manifest)
	if err := DecodeChecked(raw, m, MaxManifest, ErrManifest, func() (any, error) { return m.listed(), m.Validate() }); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeChecked reads what [EncodeChecked] writes into v, and refuses more than
// limit bytes and what would have been written otherwise. validate is called
// once v is filled in and returns what v would be encoded from. Refusals wrap
// malformed, [ErrDamaged] or [ErrVersion].
func DecodeChecked(raw []byte, v any, limit int, malformed error, validate func() (any, error)) error {
	if len(raw) > limit {
		return fmt.Errorf("it has %d bytes, the limit is %d: %w", len(raw), limit, malformed)
	}
	body, err := cutCheck(raw)
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err = d.Decode(v); err != nil {
			err = fmt.Errorf("it is not JSON of the right form: %w: %w", err, malformed)
		}
	}
	if err != nil {
		var probe struct {
			Format int `json:"format"`
		}
		if json.Unmarshal(raw, &probe) == nil {
			if newer := CheckVersion(probe.Format); newer != nil {
				return newer
			}
		}
		return err
	}
	canonical, err := validate()
	if err != nil {
		return err
	}
	again, err := encodeJSON(canonical)
	if err != nil {
		return err
	}
	if err := sameJSON(body, again); err != nil {
		return fmt.Errorf("%w: %w", err, malformed)
	}
	return nil
}

// CheckVersion refuses a format above [FormatVersion] with [ErrVersion].
func CheckVersion(format int) error {
	if format <= FormatVersion {
		return nil
	}
	return fmt.Errorf("it has format %d, this tidemark reads up to %d: %w", format, FormatVersion, ErrVersion)
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
