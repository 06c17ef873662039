package chain

import (
	"fmt"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
)

// NonceDigits is the length of the random part of a pack's key.
const NonceDigits = 16

// PackKind says in which order a pack holds its records.
type PackKind string

// The kinds of pack, which are also the directories that hold them.
const (
	LogPack PackKind = "log" // in LSN order: part of a segment
	RunPack PackKind = "run" // in order of (collection, key): part of a base
)

// PackKey names a pack:
//
//	<timeline>/<kind>/<first>-<last>-<nonce>
//
// with LSNs as 16 and the nonce as 16 hexadecimal digits. A log pack's LSNs are
// those of its first and last record; a run's say which part of the log it
// composes, 0 to the base's LSN for a base.
type PackKey struct {
	Timeline    TimelineID
	Kind        PackKind
	First, Last change.LSN
	Nonce       string
}

func (k PackKey) String() string {
	return fmt.Sprintf("%s/%s/%s-%s-%s", k.Timeline, k.Kind, k.First.Hex(), k.Last.Hex(), k.Nonce)
}

// ParsePackKey reads what [PackKey.String] writes, and nothing else.
func ParsePackKey(key string) (PackKey, error) {
	bad := fmt.Errorf("key %q does not name a pack (<timeline>/log|run/<lsn>-<lsn>-<nonce>)", key)
	tl, kind, name, ok := cutKey(key)
	k := PackKey{Timeline: tl, Kind: PackKind(kind)}
	if !ok || (k.Kind != LogPack && k.Kind != RunPack) {
		return k, bad
	}
	parts := strings.Split(name, "-")
	if len(parts) != 3 || !isHex(parts[2], NonceDigits) {
		return k, bad
	}
	first, ok1 := parseHex16(parts[0])
	last, ok2 := parseHex16(parts[1])
	if !ok1 || !ok2 || first > last {
		return k, bad
	}
	k.First, k.Last, k.Nonce = change.LSN(first), change.LSN(last), parts[2]
	return k, nil
}

// ManifestKey is the key of manifest seq: <timeline>/manifest/<13 hex>/<16 hex>.json,
// where the 13 digits are the first of the 16: a file system that lists the
// newest manifests then need not go through all of them.
func ManifestKey(t TimelineID, seq Seq) string {
	return fmt.Sprintf("%s%013x/%016x.json", ManifestPrefix(t), uint64(seq)>>12, uint64(seq))
}

// ManifestPrefix starts the keys of a timeline's manifests.
func ManifestPrefix(t TimelineID) string { return string(t) + "/manifest/" }

// ParseManifestKey reads what [ManifestKey] writes, and nothing else.
func ParseManifestKey(key string) (TimelineID, Seq, error) {
	t, rest, _ := strings.Cut(key, "/")
	if parts := strings.Split(rest, "/"); len(parts) == 3 && CheckTimeline(TimelineID(t)) == nil {
		digits := strings.TrimSuffix(parts[2], ".json")
		if n, ok := parseHex16(digits); ok && n > 0 && key == ManifestKey(TimelineID(t), Seq(n)) {
			return TimelineID(t), Seq(n), nil
		}
	}
	return "", 0, fmt.Errorf("key %q does not name a manifest (<timeline>/manifest/<13 hexadecimal digits>/<16 hexadecimal digits>.json)", key)
}

// CheckpointKey is the key of the bundle of manifests first … last:
// <timeline>/checkpoint/<16 hex>-<16 hex>.
func CheckpointKey(t TimelineID, first, last Seq) string {
	return fmt.Sprintf("%s%016x-%016x", CheckpointPrefix(t), uint64(first), uint64(last))
}

// CheckpointPrefix starts the keys of a timeline's checkpoints.
func CheckpointPrefix(t TimelineID) string { return string(t) + "/checkpoint/" }

// ParseCheckpointKey reads what [CheckpointKey] writes, and nothing else.
func ParseCheckpointKey(key string) (t TimelineID, first, last Seq, err error) {
	tl, dir, name, ok := cutKey(key)
	a, b, dash := strings.Cut(name, "-")
	f, ok1 := parseHex16(a)
	l, ok2 := parseHex16(b)
	if !ok || dir != "checkpoint" || !dash || !ok1 || !ok2 || f == 0 || l < f {
		return "", 0, 0, fmt.Errorf("key %q does not name a checkpoint (<timeline>/checkpoint/<first>-<last>)", key)
	}
	return tl, Seq(f), Seq(l), nil
}

// cutKey splits <timeline>/<directory>/<name>.
func cutKey(key string) (t TimelineID, dir, name string, ok bool) {
	parts := strings.Split(key, "/")
	if len(parts) != 3 || CheckTimeline(TimelineID(parts[0])) != nil {
		return "", "", "", false
	}
	return TimelineID(parts[0]), parts[1], parts[2], true
}

// CheckRepo reports whether r can identify an archive: 32 hexadecimal digits.
func CheckRepo(r RepoID) error {
	if !isHex(string(r), 32) {
		return fmt.Errorf("repo %.40q is not 32 hexadecimal digits", string(r))
	}
	return nil
}

// maxTimeline is the greatest length of a timeline's name in bytes.
const maxTimeline = 64

// CheckTimeline reports whether t can name a timeline: 1 to 64 of [a-z0-9-],
// starting with a letter or digit.
func CheckTimeline(t TimelineID) error {
	ok := t != "" && len(t) <= maxTimeline && t[0] != '-'
	for i := 0; ok && i < len(t); i++ {
		c := t[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("timeline %.80q is not 1 to %d of a-z, 0-9 and '-', starting with a letter or digit", string(t), maxTimeline)
	}
	return nil
}

// maxLabel is the greatest length of a label's or hold's name in bytes.
const maxLabel = 128

// CheckLabel reports whether name can name a label or a hold: 1 to 128 of
// [A-Za-z0-9._-], starting with a letter or digit.
func CheckLabel(name string) error {
	ok := name != "" && len(name) <= maxLabel && isAlnum(name[0])
	for i := 0; ok && i < len(name); i++ {
		ok = isAlnum(name[i]) || strings.IndexByte("._-", name[i]) >= 0
	}
	if !ok {
		return fmt.Errorf("name %.140q is not 1 to %d letters, digits, '.', '_' and '-', starting with a letter or digit", name, maxLabel)
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isHex reports whether s is exactly n lower-case hexadecimal digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// parseHex16 reads 16 lower-case hexadecimal digits, as LSNs and sequences have in keys.
func parseHex16(s string) (n uint64, ok bool) {
	lsn, err := change.ParseHexLSN(s)
	return uint64(lsn), err == nil
}
