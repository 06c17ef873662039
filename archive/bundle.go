package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/tidemarkdb/tidemark/chain"
)

// The object of a checkpoint; FORMAT.md has the layout.
const (
	bundleMagic   = "TIDECKPT"
	bundleVersion = 1
	bundleHeader  = len(bundleMagic) + 4 // magic, version, number of sections
	bundleEntry   = 64
	maxSections   = 64
	maxBundle     = 256 << 20 // raw bytes of a section, and bytes of the object
)

// Sections of a bundle.
const (
	sectionManifests = 1
	sectionSummary   = 2
)

// Flags of a section.
const (
	sectionOptional = 1 << 0 // a reader that does not know it goes on without
	sectionZstd     = 1 << 1
	sectionFlags    = sectionOptional | sectionZstd
)

// errBundle is wrapped by every error of a malformed checkpoint object.
var errBundle = fmt.Errorf("malformed checkpoint: %w", chain.ErrDamaged)

// bundle is a decoded checkpoint object.
type bundle struct {
	manifests [][]byte       // stored bytes, in order
	summary   *chain.Summary // nil when the writer did not know it
}

// encode returns the object.
func (b *bundle) encode() ([]byte, error) {
	var raw []byte
	for _, m := range b.manifests {
		raw = binary.AppendUvarint(raw, uint64(len(m)))
		raw = append(raw, m...)
	}
	if len(raw) > maxBundle {
		return nil, fmt.Errorf("the manifests of a checkpoint have %d bytes, the limit is %d", len(raw), maxBundle)
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	type section struct {
		id, flags uint32
		raw       int
		stored    []byte
	}
	sections := []section{{sectionManifests, sectionZstd, len(raw), z.EncodeAll(raw, nil)}}
	if b.summary != nil {
		j, err := json.Marshal(b.summary)
		if err != nil {
			return nil, err
		}
		j = append(j, '\n')
		sections = append(sections, section{sectionSummary, sectionOptional, len(j), j})
	}
	out := append([]byte(nil), bundleMagic...)
	out = binary.LittleEndian.AppendUint16(out, bundleVersion)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(sections)))
	offset := bundleHeader + len(sections)*bundleEntry + sha256.Size
	for _, s := range sections {
		out = binary.LittleEndian.AppendUint32(out, s.id)
		out = binary.LittleEndian.AppendUint32(out, s.flags)
		out = binary.LittleEndian.AppendUint64(out, uint64(offset))
		out = binary.LittleEndian.AppendUint64(out, uint64(len(s.stored)))
		out = binary.LittleEndian.AppendUint64(out, uint64(s.raw))
		sum := sha256.Sum256(s.stored)
		out = append(out, sum[:]...)
		offset += len(s.stored)
	}
	sum := sha256.Sum256(out)
	out = append(out, sum[:]...)
	for _, s := range sections {
		out = append(out, s.stored...)
	}
	return out, nil
}

// decodeBundle reads a checkpoint object and proves its sections. Whether the
// manifests are those of the chain is for the caller to prove by their hashes.
func decodeBundle(b []byte) (*bundle, error) {
	bad := func(format string, args ...any) (*bundle, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), errBundle)
	}
	if len(b) < bundleHeader || string(b[:len(bundleMagic)]) != bundleMagic {
		return bad("it does not start with %s", bundleMagic)
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v > bundleVersion {
		return nil, fmt.Errorf("checkpoint of version %d, this tidemark reads %d: %w", v, bundleVersion, chain.ErrVersion)
	} else if v != bundleVersion {
		return bad("version %d", v)
	}
	n := int(binary.LittleEndian.Uint16(b[10:]))
	dir := bundleHeader + n*bundleEntry
	if n == 0 || n > maxSections || len(b) < dir+sha256.Size {
		return bad("%d sections in %d bytes", n, len(b))
	}
	if sum := sha256.Sum256(b[:dir]); !bytes.Equal(sum[:], b[dir:dir+sha256.Size]) {
		return bad("the directory does not match its hash")
	}
	out := new(bundle)
	next := uint64(dir + sha256.Size)
	last := uint32(0)
	for i := range n {
		e := b[bundleHeader+i*bundleEntry:]
		id, flags := binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])
		offset, stored, raw := binary.LittleEndian.Uint64(e[8:]), binary.LittleEndian.Uint64(e[16:]), binary.LittleEndian.Uint64(e[24:])
		switch {
		case id <= last:
			return bad("section %d follows %d", id, last)
		case flags&^sectionFlags != 0:
			return nil, fmt.Errorf("section %d has unknown flags %#x: %w", id, flags, chain.ErrVersion)
		case offset != next || stored > uint64(len(b))-next || raw > maxBundle:
			return bad("section %d has %d bytes (%d raw) at %d of %d", id, stored, raw, offset, len(b))
		}
		body := b[offset : offset+stored]
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:], e[32:64]) {
			return bad("section %d does not match its hash", id)
		}
		next, last = offset+stored, id
		if err := out.section(id, flags, body, int(raw)); err != nil {
			return nil, err
		}
	}
	if next != uint64(len(b)) {
		return bad("%d bytes follow the last section", uint64(len(b))-next)
	}
	if len(out.manifests) == 0 {
		return bad("it holds no manifests")
	}
	return out, nil
}

func (b *bundle) section(id, flags uint32, body []byte, raw int) error {
	if id != sectionManifests && id != sectionSummary {
		if flags&sectionOptional == 0 {
			return fmt.Errorf("section %d is unknown and not optional: %w", id, chain.ErrVersion)
		}
		return nil
	}
	if flags&sectionZstd != 0 {
		// No zstd window is smaller than the least; the length is checked below.
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(uint64(max(raw, zstd.MinWindowSize))))
		if err != nil {
			return err
		}
		defer z.Close()
		if body, err = z.DecodeAll(body, nil); err != nil {
			return fmt.Errorf("section %d: %w: %w", id, err, errBundle)
		}
	}
	if len(body) != raw {
		return fmt.Errorf("section %d has %d raw bytes, want %d: %w", id, len(body), raw, errBundle)
	}
	if id == sectionSummary {
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		b.summary = new(chain.Summary)
		if err := d.Decode(b.summary); err != nil {
			return fmt.Errorf("summary: %w: %w", err, errBundle)
		}
		return nil
	}
	for len(body) > 0 {
		n, used := binary.Uvarint(body)
		if used <= 0 || n == 0 || n > chain.MaxManifest || n > uint64(len(body)-used) {
			return fmt.Errorf("manifest %d of the bundle has length %d: %w", len(b.manifests), n, errBundle)
		}
		b.manifests = append(b.manifests, body[used:used+int(n):used+int(n)])
		body = body[used+int(n):]
	}
	return nil
}

var errNotBundled = errors.New("the bundle holds other manifests than its name says")
