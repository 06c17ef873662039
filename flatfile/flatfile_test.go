package flatfile

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/change"
)

// describe writes columns as a person declares them.
func describe(columns []change.Column) string {
	var out []string
	for i := range columns {
		out = append(out, DescribeColumn(&columns[i]))
	}
	return strings.Join(out, " ")
}

func TestInfer(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    Format
		in   string
		want string
	}{
		{"types", CSV, "i,f,b,t,s\n1,1.5,true,2026-11-22T17:41:58Z,x\n-2,3,false,2026-11-22T17:41:58.5+02:00,y\n", "i:int64 f:float64 b:bool t:time s:text"},
		{"nothing is lost", CSV, "zip,plus,big\n007,+1,9223372036854775808\n", "zip:text plus:text big:text"},
		{"empty number is nullable, empty text is not", CSV, "n,s\n1,\n,x\n", "n:int64? s:text"},
		{"byte order mark and quotes", CSV, "\ufeffid,\"a b\"\n1,\"x,\ny\"\n", "id:int64 a b:text"},
		{"large integers are no floats", CSV, "n\n9007199254740993\n0.5\n", "n:text"},
		{"objects", JSONL, `{"id":1,"tags":["a"],"x":null}` + "\n\n" + `{"id":2,"tags":{},"y":"z"}`, "id:int64 tags:json x:text? y:text?"},
		{"mixture", JSONL, `{"v":1}` + "\n" + `{"v":"one"}`, "v:json"},
		{"int and float", JSONL, `{"v":1}` + "\n" + `{"v":1e3}`, "v:float64"},
		{"times", JSONL, `{"v":"2026-11-22T17:41:58Z"}`, "v:time"},
		{"some times", JSONL, `{"v":"2026-11-22T17:41:58Z"}` + "\n" + `{"v":"soon"}`, "v:text"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			columns, err := Infer(strings.NewReader(tt.in), tt.f)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(columns); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestRoundTrip reads rows of every type, writes them and reads them again.
func TestRoundTrip(t *testing.T) {
	columns, err := ParseColumns([]string{"id:int64", "f:float64", "b:bool", "t:time?", "s:text", "x:bytes", "d:decimal", "j:json?"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := change.Define(1, "all", []string{"id"}, columns...)
	if err != nil {
		t.Fatal(err)
	}
	in := `{"id":1,"f":0.1,"b":true,"t":"2026-11-22T17:41:58.000001Z","s":"a \"b\",\nc <&>","x":"AP8=","d":"1.50","j":{"k":[1,2]}}
{"id":2,"f":"NaN","b":false,"t":null,"s":"","x":"","d":"-3","j":null}
{"id":-3,"f":"-0","b":false,"t":null,"s":"ü","x":"","d":"0","j":"text"}
`
	want := readAll(t, s, JSONL, in)
	for _, f := range []Format{JSONL, CSV} {
		var b strings.Builder
		w, err := NewWriter(&b, f, s)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range want {
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if f == JSONL && b.String() != in {
			t.Errorf("JSON Lines: got\n%s\nwant\n%s", b.String(), in)
		}
		if diff := cmp.Diff(texts(want), texts(readAll(t, s, f, b.String()))); diff != "" {
			t.Errorf("%s: rows differ after a round trip (-want +got):\n%s", f, diff)
		}
	}
}

func texts(rows []change.Row) [][]string {
	var out [][]string
	for _, r := range rows {
		var row []string
		for _, v := range r {
			row = append(row, v.String())
		}
		out = append(out, row)
	}
	return out
}

func readAll(t *testing.T, s *change.Schema, f Format, in string) []change.Row {
	t.Helper()
	r, err := NewReader(strings.NewReader(in), f, s)
	if err != nil {
		t.Fatal(err)
	}
	var rows []change.Row
	for {
		row, err := r.Next()
		if err == io.EOF {
			return rows
		}
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
}

func TestUnusableInput(t *testing.T) {
	s, err := change.Define(1, "c", []string{"id"},
		change.Column{Name: "id", Type: change.Int64}, change.Column{Name: "s", Type: change.Text, Nullable: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    Format
		in   string
		want string // part of the message
	}{
		{"no header", CSV, "", "line 1: the file is empty"},
		{"unknown column", CSV, "id,z\n", `has no column "z"; it has: id, s`},
		{"column twice", CSV, "id,id\n", "line 1: column 2"},
		{"wrong type", CSV, "id,s\n1,a\nx,b\n", `line 3: column "id": "x" is not a value of type int64`},
		{"too few fields", CSV, "id,s\n1\n", "line 2"},
		{"key left out", CSV, "s\na\n", `column "id" has no value`},
		{"not an object", JSONL, "[1]", `line 1: row of collection "c": "[1]" is not a JSON object`},
		{"something follows", JSONL, `{"id":1} {"id":2}`, "something follows"},
		{"name twice", JSONL, `{"id":1,"id":2}`, "twice"},
		{"null key", JSONL, "{\"id\":1}\n\n{\"id\":true}", "line 3"},
		{"torn", JSONL, `{"id":1`, "line 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(tt.in), tt.f, s)
			for err == nil {
				_, err = r.Next()
			}
			if !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want ErrInput with %q", err, tt.want)
			}
		})
	}
}

func TestParseColumns(t *testing.T) {
	columns, err := ParseColumns([]string{"id:int64", "n:text?=none", "j:json?"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(columns), "id:int64 n:text? j:json?"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if columns[1].Default != change.TextValue("none") {
		t.Errorf("default is %v", columns[1].Default)
	}
	for _, bad := range []string{"id", ":int64", "id:int", "id:native", "id:int64=x"} {
		if _, err := ParseColumns([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestParseKey(t *testing.T) {
	s, err := change.Define(1, "c", []string{"b", "a"},
		change.Column{Name: "a", Type: change.Int64}, change.Column{Name: "b", Type: change.Text})
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseKey(s, []string{"x", "7"})
	if err != nil || got[0] != change.TextValue("x") || got[1] != change.IntValue(7) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range [][]string{{"x"}, {"x", "y"}, {"x", "1", "2"}} {
		if _, err := ParseKey(s, bad); !errors.Is(err, change.ErrSchema) {
			t.Errorf("%v: got %v, want ErrSchema", bad, err)
		}
	}
}
