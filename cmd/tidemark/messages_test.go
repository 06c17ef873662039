package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/bench"
	"github.com/tidemarkdb/tidemark/capture"
	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/drill"
	"github.com/tidemarkdb/tidemark/follow"
	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/internal/demo"
	"github.com/tidemarkdb/tidemark/restore"
)

// message is a kind of line that --json prints.
type message struct {
	kind string
	v    any    // of the type that it has
	by   string // the commands that print it
	what string
}

// messages are all of them, in the order of the reference.
var messages = []message{
	{"init", archive.Identity{}, "init", "The archive that was made."},
	{"capture_event", capture.Event{}, "capture, snapshot", "Something that happened to a capture: the database goes on in a new timeline (forked), part of its log is lost (gap), or the archive had lost its tail (put-back)."},
	{"capture", captured{}, "capture", "What the archive holds when a capture ends."},
	{"snapshot", baseReport{}, "snapshot", "The snapshot that was taken."},
	{"label", chain.Label{}, "label", "The label as the archive has it."},
	{"status", status{}, "status", "One archive: what can be restored, how fresh it is, what was proved."},
	{"check", checkReport{}, "check", "One finding."},
	{"checked", checkedReport{}, "check", "The end of an archive's findings."},
	{"timeline", timelineReport{}, "timeline", "One timeline; parents come before their children."},
	{"window", stretchReport{}, "windows", "A part of the history that can be restored, or that can't; oldest first."},
	{"gap", gapReport{}, "gaps, gaps ack", "A gap that a capturer has declared."},
	{"lost", lostReport{}, "gaps", "A part of the log that a verification found to be lost."},
	{"transaction", found{}, "find", "One transaction; newest first."},
	{"plan", planReport{}, "plan, restore", "What a restore reads and reaches."},
	{"stored_plan", storedPlan{}, "plan --list", "A stored plan."},
	{"removed_plan", storedPlan{}, "plan --remove, plan --remove-older", "The stored plan that was removed."},
	{"restored", restored{}, "restore", "What a restore has reached."},
	{"salvage", salvaged{}, "restore --salvage", "What was taken from a damaged archive, and exactly what is lost; the file beside the result holds the same."},
	{"follow", follow.Status{}, "follow", "How far a standby is when the following ends."},
	{"following", follow.Status{}, "follow, on standard error, once a second while it moves", "How far a standby is."},
	{"promoted", promoted{}, "follow promote", "Where a promoted standby has left the timeline that it followed."},
	{"verify", restore.Report{}, "verify", "What a verification looked at and found."},
	{"drill", drill.Result{}, "drill, capture", "How a drill went."},
	{"job", jobReport{}, "jobs", "One job of this machine."},
	{"event", hook.Event{}, "run", "Something that happened to a database; hooks get the same object."},
	{"recovery_kit", kitReport{}, "init, status --recovery-kit", "The recovery kit."},
	{"config", configReport{}, "config validate, config init", "The configuration that is good."},
	{"config_values", configShown{}, "config show", "Every value that is in force."},
	{"collection", collection{}, "db create, db add-column, db collections", "A collection of an embedded database."},
	{"row", rowReport{}, "db get, db scan", "A row."},
	{"changed", changed{}, "db put, db delete, db truncate, db drop", "What was changed."},
	{"import", importReport{}, "db import", "What was imported."},
	{"export", exportReport{}, "db export", "What was exported."},
	{"demo", demo.Result{}, "demo", "What the demonstration has shown."},
	{"bench_restore", bench.RestoreResult{}, "bench restore", "The figures of a restore."},
	{"bench_commit", bench.CommitResult{}, "bench commit", "The figures of commits."},
	{"bench_read", bench.ReadResult{}, "bench read", "The figures of reads."},
	{"bench_memory", bench.MemoryResult{}, "bench memory", "The most memory that captures and restores take."},
	{"bench_open", bench.OpenResult{}, "bench open", "How long opening, planning and status take, and how much memory."},
	{"bench_follow", bench.FollowResult{}, "bench follow", "The figures of a standby."},
	{"bench_capture_cost", bench.CaptureCostResult{}, "bench capture-cost", "The figures of commits with and without a capture."},
	{"version", versionReport{}, "version", "This program."},
	{"exit_code", exitMeaning{}, "exit-codes", "An exit code."},
	{"man", manReport{}, "man", "The pages that were written."},
	{"progress", report{}, "every command that takes long, on standard error every ten seconds", "How far the work is."},
	{"error", failure{}, "every command, on standard error", "Why it ended otherwise than with exit code 0."},
}

// mustBeDocumented panics about a message that is not as [messages] has it.
// Every script of this package runs through it.
func mustBeDocumented(kind string, v any, object string) {
	i := slices.IndexFunc(messages, func(m message) bool { return m.kind == kind })
	if i < 0 {
		panic("message_type " + kind + " is not documented: enter it in messages_test.go and run make docs")
	}
	want, got := reflect.TypeOf(messages[i].v), reflect.Indirect(reflect.ValueOf(v)).Type()
	if got != want {
		panic(fmt.Sprintf("message_type %s is %s here, and %s in messages_test.go", kind, got, want))
	}
	var decoded any
	if err := json.Unmarshal([]byte(object), &decoded); err != nil {
		panic(err)
	}
	if err := sameFields(want, decoded, kind); err != nil {
		panic(err)
	}
}

// jsonField is a field of an object as the reference tells it.
type jsonField struct {
	name     string
	optional bool
	field    reflect.StructField
	owner    reflect.Type
}

var (
	textMarshaler = reflect.TypeFor[encoding.TextMarshaler]()
	jsonMarshaler = reflect.TypeFor[json.Marshaler]()
)

// fieldsOf returns the fields of a struct that encoding/json writes, embedded
// ones in their place.
func fieldsOf(t reflect.Type) (out []jsonField) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, opts, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch under := indirect(f.Type); {
		case name == "-" && opts == "", !f.IsExported() && !f.Anonymous:
			continue
		case f.Anonymous && name == "" && under.Kind() == reflect.Struct:
			out = append(out, fieldsOf(under)...)
			continue
		}
		if name == "" {
			name = f.Name
		}
		out = append(out, jsonField{name, strings.Contains(opts, "omit"), f, t})
	}
	return out
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// jsonType names the JSON that a type makes, and the struct in it, or nil.
func jsonType(t reflect.Type) (string, reflect.Type) {
	t = indirect(t)
	switch {
	case t == reflect.TypeFor[change.Time](), t == reflect.TypeFor[time.Time]():
		return "time", nil
	case t == reflect.TypeFor[change.Hash]():
		return "hash", nil
	case t == reflect.TypeFor[json.RawMessage](), t == reflect.TypeFor[any]():
		return "any", nil
	case t.Implements(jsonMarshaler), reflect.PointerTo(t).Implements(jsonMarshaler):
		return strings.ToLower(t.Name()), nil
	case t.Implements(textMarshaler), reflect.PointerTo(t).Implements(textMarshaler):
		return "string", nil
	}
	switch t.Kind() {
	case reflect.String:
		return "string", nil
	case reflect.Bool:
		return "boolean", nil
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "base64", nil
		}
		name, under := jsonType(t.Elem())
		return "list of " + name, under
	case reflect.Map:
		name, under := jsonType(t.Elem())
		return "map to " + name, under
	case reflect.Struct:
		return "object", t
	}
	return "number", nil
}

// sameFields reports a field of an object that its type doesn't have, or that
// is missing.
func sameFields(t reflect.Type, v any, path string) error {
	name, under := jsonType(t)
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			if err := sameFields(indirect(t).Elem(), e, path+"[]"); err != nil {
				return err
			}
		}
	case map[string]any:
		if under == nil {
			return nil
		}
		if strings.HasPrefix(name, "map ") {
			for k, e := range v {
				if err := sameFields(under, e, path+"."+k); err != nil {
					return err
				}
			}
			return nil
		}
		known := make(map[string]bool)
		for _, f := range fieldsOf(under) {
			known[f.name] = true
			got, there := v[f.name]
			if !there && !f.optional {
				return fmt.Errorf("%s has no %s", path, f.name)
			}
			if err := sameFields(f.field.Type, got, path+"."+f.name); err != nil {
				return err
			}
		}
		for k := range v {
			if !known[k] {
				return fmt.Errorf("%s has the field %s, which its type %s does not have", path, k, under)
			}
		}
	}
	return nil
}

// TestEveryMessageIsDocumented looks through the source: a script may not print
// every message.
func TestEveryMessageIsDocumented(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn := ""
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				fn = f.Sel.Name
			case *ast.Ident:
				fn = f.Name
			}
			at := map[string]int{"emit": 0, "measure": 0, "writeMessage": 1}
			if i, ok := at[fn]; ok && len(call.Args) > i {
				if lit, ok := call.Args[i].(*ast.BasicLit); ok {
					kind, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					said[kind] = true
				}
			}
			return true
		})
	}
	for kind := range said {
		if !slices.ContainsFunc(messages, func(m message) bool { return m.kind == kind }) {
			t.Errorf("message_type %s is not documented: enter it in messages_test.go and run make docs", kind)
		}
	}
	for _, m := range messages {
		if !said[m.kind] {
			t.Errorf("message_type %s is documented, but nothing prints it", m.kind)
		}
	}
}

// TestMessagesNotice shows that what is not as documented is noticed.
func TestMessagesNotice(t *testing.T) {
	for _, tt := range []struct {
		kind   string
		v      any
		object string
		want   string
	}{
		{"label", chain.Label{}, `{"name":"x","lsn":1}`, ""},
		{"label", &chain.Label{}, `{"name":"x","lsn":1,"note":"n"}`, ""},
		{"label", chain.Label{}, `{"name":"x"}`, "label has no lsn"},
		{"label", chain.Label{}, `{"name":"x","lsn":1,"more":2}`, "label has the field more"},
		{"label", chain.Hold{}, `{}`, "is chain.Hold here, and chain.Label"},
		{"unheard-of", chain.Label{}, `{}`, "is not documented"},
		{"status", status{}, `{"findings":[{"check":"x"}]}`, "status has no "},
	} {
		func() {
			defer func() {
				got := fmt.Sprint(recover())
				if tt.want == "" && got != "<nil>" || !strings.Contains(got, tt.want) {
					t.Errorf("%s %s: %s, want %q", tt.kind, tt.object, got, tt.want)
				}
			}()
			mustBeDocumented(tt.kind, tt.v, tt.object)
		}()
	}
}
