package change

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// LSN is a position in one timeline: 1, 2, 3 …, one per record, no holes.
// LSN 0 stands before the first record.
//
// For people and in JSON an LSN is a decimal number; in object keys it is
// [LSN.Hex], whose text sorts as the number does.
type LSN uint64

// MaxLSN is after every record.
const MaxLSN = LSN(1<<64 - 1)

func (l LSN) String() string { return strconv.FormatUint(uint64(l), 10) }

// Hex returns the LSN as 16 hexadecimal digits, the form used in object keys.
func (l LSN) Hex() string { return fmt.Sprintf("%016x", uint64(l)) }

// ParseLSN reads the decimal form.
func ParseLSN(s string) (LSN, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("LSN %q is not a decimal number of at most 20 digits", s)
	}
	return LSN(n), nil
}

// ParseHexLSN reads the form that [LSN.Hex] writes.
func ParseHexLSN(s string) (LSN, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || LSN(n).Hex() != s {
		return 0, fmt.Errorf("LSN %q is not 16 hexadecimal digits in lower case", s)
	}
	return LSN(n), nil
}

// Time is an instant in microseconds since 1970-01-01T00:00:00Z, without leap
// seconds; the resolution of every time in an archive.
type Time int64

// TimeOf returns the microsecond that holds t.
func TimeOf(t time.Time) Time { return Time(t.UnixMicro()) }

// Std returns the instant as a [time.Time] in UTC.
func (t Time) Std() time.Time { return time.UnixMicro(int64(t)).UTC() }

// timeLayout always shows six digits, so that times of one year range sort as text.
const timeLayout = "2006-01-02T15:04:05.000000Z"

// String returns the instant as RFC 3339 in UTC with microseconds. An instant
// outside the years 0 to 9999, which RFC 3339 can't say, is "@" and its number.
func (t Time) String() string {
	if p := t.Std(); p.Year() >= 0 && p.Year() <= 9999 {
		return p.Format(timeLayout)
	}
	return "@" + strconv.FormatInt(int64(t), 10)
}

// MarshalText writes the form of [Time.String].
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads RFC 3339 with any zone, or "@" and a number of
// microseconds; digits below the microsecond are refused.
func (t *Time) UnmarshalText(b []byte) error {
	if len(b) > 0 && b[0] == '@' {
		n, err := strconv.ParseInt(string(b[1:]), 10, 64)
		if err != nil {
			return fmt.Errorf("time %q is not @ and a number of microseconds since 1970", b)
		}
		*t = Time(n)
		return nil
	}
	p, err := time.Parse(time.RFC3339Nano, string(b))
	if err != nil {
		return fmt.Errorf("time %q is not RFC 3339, such as 2026-11-22T17:41:58.123456Z", b)
	}
	if p.Nanosecond()%1000 != 0 {
		return fmt.Errorf("time %q is finer than a microsecond", b)
	}
	*t = TimeOf(p)
	return nil
}

// TxID names a transaction as its database does (a sequence number, an xid).
// It is unique within a timeline's database, not ordered.
type TxID uint64

// Position is a database's own place in its log (PostgreSQL LSN, GTID set, etcd
// revision). Only its driver reads it.
type Position string

// Hash is a SHA-256, or another 256-bit quantity such as a [Digest].
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short returns the first 12 digits, by which people tell hashes apart.
func (h Hash) Short() string { return h.String()[:12] }

// IsZero reports whether no hash was set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText writes 64 hexadecimal digits.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads 64 hexadecimal digits, in lower case as they are written.
func (h *Hash) UnmarshalText(b []byte) error {
	var out Hash
	if len(b) != 2*len(out) {
		return fmt.Errorf("hash %.80q is not %d hexadecimal digits", b, 2*len(out))
	}
	if _, err := hex.Decode(out[:], b); err != nil {
		return fmt.Errorf("hash %q: %w", b, err)
	}
	if out.String() != string(b) {
		return fmt.Errorf("hash %q is not in lower case", b)
	}
	*h = out
	return nil
}
