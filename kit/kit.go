// Package kit makes the recovery kit: the one page that a person must still
// have when the host is gone, and from which alone a database comes back.
//
// A [Kit] says where the archive is and how to tell it from any other: its
// repository's ID and, for each timeline, the head of the chain when the page
// was printed. An archive whose chain does not hold that head was cut or
// rewritten since: see [Prove].
package kit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
)

// Version is the version of the page that this tidemark writes and reads.
const Version = 1

// ErrKit is wrapped by every error of a page that can't be read.
var ErrKit = errors.New("not a good recovery kit")

// Kit is what the page says.
type Kit struct {
	Kit       int              `yaml:"kit" json:"kit"`                 // Version
	Printed   string           `yaml:"printed" json:"printed"`         // RFC 3339, to the second
	Tidemark  string           `yaml:"tidemark" json:"tidemark"`       // the version that printed it
	Format    int              `yaml:"format" json:"format"`           // of the archive
	Database  string           `yaml:"database" json:"database"`       // its name, for people
	Source    string           `yaml:"source" json:"source"`           // kind and ID of the database, for people; may be ""
	Repo      chain.RepoID     `yaml:"repo" json:"repo"`               //
	Archives  []string         `yaml:"archives" json:"archives"`       // places of it, the first that can be reached is used
	Timeline  chain.TimelineID `yaml:"timeline" json:"timeline"`       // the one to restore unless another is asked for
	Timelines []Timeline       `yaml:"timelines" json:"timelines"`     // what each held; none: nothing was archived yet
	Needs     []string         `yaml:"credentials" json:"credentials"` // names of those that the store wants; never their values
	Checksum  string           `yaml:"checksum" json:"checksum"`       // of all the above
}

// Timeline is what a timeline held when the page was printed.
type Timeline struct {
	ID      chain.TimelineID `yaml:"id" json:"id"`
	Seq     chain.Seq        `yaml:"seq" json:"seq"`                     // of the last manifest
	Head    string           `yaml:"head" json:"head"`                   // its hash
	LSN     change.LSN       `yaml:"lsn" json:"lsn"`                     // the end of the log
	Covered string           `yaml:"covered_until" json:"covered_until"` // RFC 3339; "" for never
}

// New returns the kit of an archive. states are its timelines as they are now;
// those without a manifest are left out. archives are absolute places, and
// needs are the names of credentials.
func New(database, version string, repo chain.RepoID, timeline chain.TimelineID, archives, needs []string, states []*chain.State, now time.Time) *Kit {
	k := &Kit{Kit: Version, Printed: now.UTC().Truncate(time.Second).Format(time.RFC3339), Tidemark: version, Format: chain.FormatVersion,
		Database: database, Repo: repo, Archives: archives, Timeline: timeline, Needs: needs}
	for _, s := range states {
		if s.Seq == 0 {
			continue
		}
		t := Timeline{ID: s.Timeline, Seq: s.Seq, Head: s.Head.String(), LSN: s.Last}
		if c := max(s.CoveredUntil, s.Effective); c != 0 {
			t.Covered = c.String()
		}
		k.Timelines = append(k.Timelines, t)
		if s.Timeline == timeline && s.Source.Kind != "" {
			k.Source = s.Source.Kind + " " + s.Source.System
		}
	}
	k.Checksum = k.sum()
	return k
}

// sum returns the checksum of everything else, which blanks and remarks of the
// page do not change.
func (k *Kit) sum() string {
	c := *k
	c.Checksum = ""
	if len(c.Timelines) == 0 {
		c.Timelines = nil
	}
	if len(c.Needs) == 0 {
		c.Needs = nil
	}
	raw, err := json.Marshal(&c)
	if err != nil {
		return ""
	}
	h := sha256.Sum256(raw)
	x := hex.EncodeToString(h[:8])
	return x[:4] + "-" + x[4:8] + "-" + x[8:12] + "-" + x[12:]
}

// What a page may have at most. The time that reading takes grows faster than
// how deep its brackets go, of which a page has next to none.
const (
	maxKit      = 256 << 10 // bytes
	maxBrackets = 1000
	maxLine     = 8 << 10 // bytes
)

// Parse reads a page, strictly: every field must be there, none that it does
// not know, and the checksum must fit.
func Parse(raw []byte) (*Kit, error) {
	bad := func(format string, args ...any) (*Kit, error) {
		return nil, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrKit)
	}
	if len(raw) > maxKit {
		return bad("it has %d bytes", len(raw))
	}
	if n := bytes.Count(raw, []byte("[")) + bytes.Count(raw, []byte("{")); n > maxBrackets {
		return bad("it has %d brackets", n)
	}
	for line := range bytes.Lines(raw) {
		if len(line) > maxLine {
			return bad("a line has %d bytes", len(line))
		}
	}
	k := new(Kit)
	if err := yaml.UnmarshalWithOptions(raw, k, yaml.Strict()); err != nil {
		var at yaml.Error
		if errors.As(err, &at) && at.GetToken() != nil {
			return bad("line %d: %s", at.GetToken().Position.Line, at.GetMessage())
		}
		return bad("%v", err)
	}
	if k.Kit != Version {
		if k.Kit > Version {
			return nil, fmt.Errorf("recovery kit of version %d, this tidemark reads %d: %w", k.Kit, Version, chain.ErrVersion)
		}
		return bad("it does not say 'kit: %d'", Version)
	}
	if err := k.check(); err != nil {
		return bad("%v", err)
	}
	if want := k.sum(); !strings.EqualFold(strings.TrimSpace(k.Checksum), want) {
		return bad("its checksum is %s, what it says has %s: something was changed or mistyped", k.Checksum, want)
	}
	return k, nil
}

// check reports a field that is missing or no good.
func (k *Kit) check() error {
	if _, err := time.Parse(time.RFC3339, k.Printed); err != nil {
		return fmt.Errorf("printed is %q, want a time such as 2026-11-22T17:41:58Z", k.Printed)
	}
	if err := chain.CheckRepo(k.Repo); err != nil {
		return err
	}
	if err := chain.CheckTimeline(k.Timeline); err != nil {
		return err
	}
	if k.Checksum == "" {
		return errors.New("its checksum is missing: is this the whole page?")
	}
	if len(k.Archives) == 0 || slices.Contains(k.Archives, "") {
		return errors.New("it names no archive")
	}
	for _, t := range k.Timelines {
		if err := chain.CheckTimeline(t.ID); err != nil {
			return err
		}
		if _, err := t.hash(); err != nil || t.Seq == 0 {
			return fmt.Errorf("the head of timeline %s is manifest %d with hash %q, want 64 hexadecimal digits", t.ID, t.Seq, t.Head)
		}
	}
	return nil
}

func (t *Timeline) hash() (h change.Hash, err error) {
	err = h.UnmarshalText([]byte(t.Head))
	return h, err
}

// Text returns the page: for people, and for [Parse].
func (k *Kit) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Recovery kit of %s", oneLine(k.Database))
	line("#")
	line("# With this page, what the archive holds can be restored on a bare machine. Keep")
	line("# it where neither the database nor the archive is: on paper, or with somebody")
	line("# else. Print a new one now and then: what the archive holds today can only be")
	line("# missed by a page that knows of it.")
	line("kit: %d", k.Kit)
	line("printed: %q", k.Printed)
	line("tidemark: %s", quote(k.Tidemark))
	line("format: %d", k.Format)
	line("database: %s", quote(k.Database))
	line("source: %s", quote(k.Source))
	line("repo: %q", k.Repo)
	k.list(line, "archives", k.Archives)
	line("timeline: %q", k.Timeline)
	if len(k.Timelines) == 0 {
		line("timelines: [] # nothing was archived yet")
	} else {
		line("timelines:")
	}
	for _, t := range k.Timelines {
		line("  - id: %q", t.ID)
		line("    seq: %d", t.Seq)
		line("    head: %q", t.Head)
		line("    lsn: %d", t.LSN)
		line("    covered_until: %q", t.Covered)
	}
	k.list(line, "credentials", k.Needs)
	line("checksum: %q # of what is said above, without the remarks", k.Checksum)
	k.steps(line)
	return b.String()
}

func (k *Kit) list(line func(string, ...any), name string, items []string) {
	if len(items) == 0 {
		line("%s: []", name)
		return
	}
	line("%s:", name)
	for _, v := range items {
		line("  - %s", quote(v))
	}
}

// steps writes what to do.
func (k *Kit) steps(line func(string, ...any)) {
	line("#")
	line("# To restore:")
	line("#   1. Install tidemark %s or newer (archive format %d).", oneLine(k.Tidemark), k.Format)
	line("#   2. Make the archive reachable: %s", oneLine(strings.Join(k.Archives, ", ")))
	if len(k.Needs) == 0 {
		line("#      It needs no credentials, only to be readable.")
	} else {
		line("#      Credentials, which are not on this page: %s", oneLine(strings.Join(k.Needs, ", ")))
	}
	line("#   3. Save this page as kit.txt and run")
	line("#        tidemark restore --kit kit.txt ./restored.db --to latest")
	line("#      or to a moment, such as --to '2026-11-22 17:41:58Z'. Where the archive")
	line("#      now is somewhere else, name the place before the destination:")
	line("#        tidemark restore --kit kit.txt ARCHIVE ./restored.db --to latest")
	line("#   4. Look at it: tidemark db collections ./restored.db")
}

// quote writes a text so that YAML reads it, in one line.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// oneLine keeps a text from ending the remark that it stands in.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}
