package recovery

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/when"
)

var reader = when.Reader{Now: time.Date(2026, 11, 22, 17, 41, 58, 0, time.UTC)}

func TestParseTarget(t *testing.T) {
	const second = 1_000_000
	at := func(sec, micro int64) Target { return AtTime(change.Time(sec*second + micro)) }
	for in, want := range map[string]Target{
		"latest":                             Latest(),
		" latest ":                           Latest(),
		"lsn:0":                              AtLSN(0),
		"lsn:18446744073709551615":           AtLSN(change.MaxLSN),
		"before:lsn:17":                      AtLSN(17).JustBefore(),
		"label:v2: the big one":              AtLabel("v2: the big one"),
		"before:label:x":                     AtLabel("x").JustBefore(),
		"tx:88213":                           AtTx(88213),
		"before: tx:1":                       AtTx(1).JustBefore(),
		"2026-11-22T17:41:58Z":               at(1795369318, 0),
		"2026-11-22t17:41:58z":               at(1795369318, 0),
		"2026-11-22T17:41:58.123456Z":        at(1795369318, 123456),
		"2026-11-22 17:41:58.5+01:00":        at(1795365718, 500000),
		"2026-11-22 17:41:58 +0100":          at(1795365718, 0),
		"2026-11-22 17:41-05":                at(1795387260, 0),
		"2026-11-22 17:41Z":                  at(1795369260, 0),
		"before:2026-11-22 17:41Z":           at(1795369260, 0).JustBefore(),
		"1969-12-31T23:59:59Z":               at(-1, 0),
		"2024-02-29T00:00:00.000000000Z":     at(1709164800, 0),
		"before:2026-11-22T17:41:58.000001Z": at(1795369318, 1).JustBefore(),
		"2026-11-22 17:41 Asia/Tokyo":        at(1795336860, 0),
		"before: 1m58s ago":                  at(1795369200, 0).JustBefore(),
		"yesterday 17:41Z":                   at(1795282860, 0),
	} {
		got, err := ParseTarget(in, reader)
		if err != nil || got != want {
			t.Errorf("ParseTarget(%q) = %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseTargetRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                            "want latest",
		"now":                         "the last one is the target latest",
		"yesterday":                   "no time of day",
		"before:latest":               "no before",
		"before:":                     "want latest",
		"before:before:lsn:1":         "want latest",
		"lsn:":                        "not a decimal number",
		"lsn:-1":                      "not a decimal number",
		"lsn:0x10":                    "not a decimal number",
		"lsn:18446744073709551616":    "not a decimal number",
		"label:":                      "no name",
		"tx:abc":                      "not a decimal number",
		"2026-11-22":                  "no time of day",
		"2026-11-22 17:41":            "it has no zone",
		"before:2026-02-30T00:00:00Z": "February 2026 has the days 01 to 28",
		"2026-11-22 17:41 CET":        "abbreviation",
		"17":                          "a number alone is no time",
		"LSN:17":                      "want latest",
		"lsn 17":                      "want latest",
		"after:lsn:17":                "want latest",
	} {
		if got, err := ParseTarget(in, reader); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseTarget(%q) = %+v, %v; want an error with %q", in, got, err, want)
		}
	}
}

func TestTargetText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		target := rapid.SampledFrom([]Target{Latest(), AtLSN(change.LSN(rapid.Uint64().Draw(t, "lsn"))), AtTx(change.TxID(rapid.Uint64().Draw(t, "tx"))),
			AtLabel(rapid.StringMatching("[a-z0-9 :.-]*[a-z0-9]").Draw(t, "label")),
			AtTime(change.Time(rapid.Int64Range(-62135596800e6, 253402300799e6).Draw(t, "time")))}).Draw(t, "target")
		if strings.HasPrefix(target.Label, " ") {
			return
		}
		if target.Kind != TargetLatest && rapid.Bool().Draw(t, "before") {
			target = target.JustBefore()
		}
		b, err := json.Marshal(target)
		if err != nil {
			t.Fatal(err)
		}
		var back Target
		if err := json.Unmarshal(b, &back); err != nil || back != target {
			t.Fatalf("%s came back as %+v, %v; want %+v", b, back, err, target)
		}
		if d := target.Describe(); target.Before != strings.Contains(d, "before") {
			t.Fatalf("%+v is described as %q", target, d)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, s := range []string{"latest", "lsn:1", "before:tx:2", "label:a", "2026-11-22T17:41:58.5+01:00", "2026-11-22 17:41Z", "before:1969-12-31 23:59-00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseTarget(s, reader)
		if err != nil || p.Kind == TargetTime && (p.Time < -62135596800e6 || p.Time > 253402300799e6) {
			return
		}
		if back, err := ParseTarget(p.String(), reader); err != nil || back != p {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", s, p, p.String(), back, err)
		}
	})
}
