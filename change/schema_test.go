package change

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// sample is a schema of version 2 with a key, a native column and a default.
func sample(t testing.TB) *Schema {
	t.Helper()
	s, err := Define(7, "people", []string{"id"}, Column{Name: "id", Type: Int64}, Column{Name: "mail", Type: Text, Nullable: true},
		Column{Name: "uid", Type: Native, NativeType: "uuid"})
	if err != nil {
		t.Fatal(err)
	}
	s, err = s.AddColumns(Column{Name: "score", Type: Float64, Default: FloatValue(0.5)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func clone(s *Schema) *Schema {
	c := *s
	c.Columns, c.Key = slices.Clone(s.Columns), slices.Clone(s.Key)
	return &c
}

func TestDefine(t *testing.T) {
	s, err := Define(1, "t", []string{"b", "a"}, Column{Name: "a", Type: Int64, ID: 9, Since: 9, Default: IntValue(9)}, Column{Name: "b", Type: Text})
	want := &Schema{Collection: 1, Name: "t", Version: 1, Key: []ColumnID{2, 1}, Columns: []Column{
		{ID: 1, Name: "a", Type: Int64, Since: 1, Default: Null()}, {ID: 2, Name: "b", Type: Text, Since: 1, Default: Null()}}}
	if err != nil || !s.Equal(want) || s.Bag() || s.Column("b") != &s.Columns[1] || s.Column("c") != nil {
		t.Errorf("got %v, %v", s, err)
	}
	if _, err := Define(1, "t", []string{"c"}, Column{Name: "a", Type: Int64}); !errors.Is(err, ErrSchema) {
		t.Errorf("a key column that is not there: %v", err)
	}
	if _, err := Define(0, "t", nil, Column{Name: "a", Type: Int64}); !errors.Is(err, ErrSchema) {
		t.Errorf("collection 0: %v", err)
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", MaxName+1)
	for name, c := range map[string]struct {
		change func(*Schema)
		says   string
	}{
		"no name":                 {func(s *Schema) { s.Name = "" }, "name has 0 bytes"},
		"long name":               {func(s *Schema) { s.Name = long }, "name has 1025 bytes"},
		"name not UTF-8":          {func(s *Schema) { s.Name = "\xff" }, "not UTF-8"},
		"collection 0":            {func(s *Schema) { s.Collection = 0 }, "collection ID 0"},
		"version 0":               {func(s *Schema) { s.Version = 0 }, "version 0"},
		"no columns":              {func(s *Schema) { s.Columns = nil }, "0 columns"},
		"too many columns":        {func(s *Schema) { s.Columns = make([]Column, MaxColumns+1) }, "4097 columns"},
		"column ID 0":             {func(s *Schema) { s.Columns[0].ID = 0 }, "ID 0 after 0"},
		"column IDs equal":        {func(s *Schema) { s.Columns[1].ID = 1 }, "ID 1 after 1"},
		"column IDs fall":         {func(s *Schema) { s.Columns[3].ID = 2 }, "ID 2 after 3"},
		"no column name":          {func(s *Schema) { s.Columns[0].Name = "" }, "column name has 0 bytes"},
		"long column name":        {func(s *Schema) { s.Columns[0].Name = long }, "column name has 1025 bytes"},
		"column name not UTF-8":   {func(s *Schema) { s.Columns[0].Name = "a\xff" }, "not UTF-8"},
		"same name twice":         {func(s *Schema) { s.Columns[1].Name = "id" }, `"id" is there twice`},
		"type 0":                  {func(s *Schema) { s.Columns[1].Type = 0 }, "unknown type 0"},
		"type 9":                  {func(s *Schema) { s.Columns[1].Type = 9 }, "unknown type 9"},
		"native without its type": {func(s *Schema) { s.Columns[2].NativeType = "" }, "native type"},
		"native type of text":     {func(s *Schema) { s.Columns[1].NativeType = "inet" }, "native type"},
		"long native type":        {func(s *Schema) { s.Columns[2].NativeType = long }, "native type"},
		"native type not UTF-8":   {func(s *Schema) { s.Columns[2].NativeType = "\xc0" }, "not UTF-8"},
		"since 0":                 {func(s *Schema) { s.Columns[0].Since = 0 }, "since version 0"},
		"since later":             {func(s *Schema) { s.Columns[3].Since = 3 }, "since version 3, want 1 to 2"},
		"since falls":             {func(s *Schema) { s.Columns[1].Since, s.Columns[1].Default = 2, Null() }, "since version 1, want 2 to 2"},
		"no default":              {func(s *Schema) { s.Columns[3].Default = Unchanged() }, "no default"},
		"default from the start":  {func(s *Schema) { s.Columns[1].Default = TextValue("x") }, "from the start"},
		"default of another type": {func(s *Schema) { s.Columns[3].Default = IntValue(1) }, "is float64, got int64"},
		"null default, not null":  {func(s *Schema) { s.Columns[3].Default = Null() }, `"score" needs a default`},
		"key column missing":      {func(s *Schema) { s.Key = []ColumnID{9} }, "key column 9"},
		"key column twice":        {func(s *Schema) { s.Key = []ColumnID{1, 1} }, "key column 1"},
		"key column nullable":     {func(s *Schema) { s.Key = []ColumnID{2} }, `"mail" is nullable`},
		"key column added later":  {func(s *Schema) { s.Key = []ColumnID{4} }, `"score" was not there`},
		"text default not UTF-8":  {func(s *Schema) { s.Columns[3].Type, s.Columns[3].Default = Text, TextValue("\xff") }, "not UTF-8"},
		"native default not UTF-8": {func(s *Schema) {
			c := &s.Columns[3]
			c.Type, c.NativeType, c.Default = Native, "x", NativeValue("\xff")
		}, "not UTF-8"},
	} {
		s := clone(sample(t))
		c.change(s)
		if err := s.Validate(); !errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), c.says) || strings.Count(err.Error(), ErrSchema.Error()) != 1 {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.says)
		}
	}
	wide := &Schema{Collection: math.MaxUint32, Name: strings.Repeat("n", MaxName), Version: 1}
	for i := range MaxColumns {
		wide.Columns = append(wide.Columns, Column{ID: math.MaxUint32 - MaxColumns + ColumnID(i) + 1, Name: fmt.Sprint(i), Type: Bool, Since: 1, Default: Null()})
	}
	if err := wide.Validate(); err != nil {
		t.Errorf("a schema at every limit: %v", err)
	}
	if _, err := wide.AddColumns(Column{Name: "x", Type: Bool, Nullable: true}); !errors.Is(err, ErrSchema) {
		t.Errorf("one column more: %v", err)
	}
}

func TestFollows(t *testing.T) {
	prev := sample(t)
	for name, c := range map[string]struct {
		change func(prev, next *Schema)
		says   string // "" when it follows
	}{
		"nothing but the version": {func(_, n *Schema) {}, ""},
		"collection renamed":      {func(_, n *Schema) { n.Name = "persons" }, ""},
		"column renamed":          {func(_, n *Schema) { n.Columns[1].Name = "email" }, ""},
		"dropped":                 {func(_, n *Schema) { n.Dropped = true }, ""},
		"column added": {func(_, n *Schema) {
			n.Columns = append(n.Columns, Column{ID: 9, Name: "x", Type: Bool, Since: 3, Nullable: true, Default: Null()})
		}, ""},
		"after a drop":      {func(p, n *Schema) { p.Dropped = true }, "was dropped"},
		"other collection":  {func(_, n *Schema) { n.Collection++ }, "follows collection 7"},
		"same version":      {func(_, n *Schema) { n.Version-- }, "follows collection 7 version 2"},
		"version skipped":   {func(_, n *Schema) { n.Version++ }, "follows collection 7 version 2"},
		"key changed":       {func(_, n *Schema) { n.Key = []ColumnID{3} }, "key changed"},
		"key gone":          {func(_, n *Schema) { n.Key = nil }, "key changed"},
		"column removed":    {func(_, n *Schema) { n.Columns = n.Columns[:3] }, "removed"},
		"type changed":      {func(_, n *Schema) { n.Columns[1].Type = Bytes }, `"mail" changed`},
		"nullable changed":  {func(_, n *Schema) { n.Columns[1].Nullable = false }, `"mail" changed`},
		"default changed":   {func(_, n *Schema) { n.Columns[3].Default = FloatValue(1) }, `"score" changed`},
		"native type other": {func(_, n *Schema) { n.Columns[2].NativeType = "inet" }, `"uid" changed`},
		"ID changed":        {func(_, n *Schema) { n.Columns[3].ID = 5 }, `"score" changed`},
		"added with an old since": {func(_, n *Schema) {
			n.Columns = append(n.Columns, Column{ID: 9, Name: "x", Type: Bool, Since: 2, Nullable: true, Default: Null()})
		}, "since version 2"},
		"added without a default": {func(_, n *Schema) {
			n.Columns = append(n.Columns, Column{ID: 9, Name: "x", Type: Bool, Since: 3, Default: Null()})
		}, "needs a default"},
	} {
		p, n := clone(prev), clone(prev)
		n.Version++
		c.change(p, n)
		err := n.Follows(p)
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" && (!errors.Is(err, ErrSchema) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v, want an error with %q", name, err, c.says)
		}
	}
}

func TestAddColumns(t *testing.T) {
	s := sample(t)
	before := clone(s)
	next, err := s.AddColumns(Column{Name: "a", Type: Bool, Nullable: true}, Column{Name: "b", Type: Text, Default: TextValue("")})
	if err != nil {
		t.Fatal(err)
	}
	if !s.Equal(before) {
		t.Errorf("AddColumns changed its schema to %v", s)
	}
	want := []Column{{ID: 5, Name: "a", Type: Bool, Nullable: true, Since: 3, Default: Null()}, {ID: 6, Name: "b", Type: Text, Since: 3, Default: TextValue("")}}
	if d := cmp.Diff(want, next.Columns[4:], diffRows); d != "" || next.Version != 3 {
		t.Errorf("version %d: %s", next.Version, d)
	}
	for name, c := range map[string]Column{
		"no default": {Name: "x", Type: Bool}, "name taken": {Name: "id", Type: Bool, Nullable: true}, "no type": {Name: "x", Nullable: true},
		"default of another type": {Name: "x", Type: Bool, Default: IntValue(1)}, "native without its type": {Name: "x", Type: Native, Nullable: true},
	} {
		if n, err := s.AddColumns(c); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: got %v, %v", name, n, err)
		}
	}
	s.Dropped = true
	if n, err := s.AddColumns(Column{Name: "x", Type: Bool, Nullable: true}); !errors.Is(err, ErrSchema) {
		t.Errorf("to a dropped collection: got %v, %v", n, err)
	}
}

func TestSchemaJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := genSchema(true).Draw(t, "schema")
		s.Name = rapid.StringN(1, 20, 60).Draw(t, "name")
		s = genNext(s).Draw(t, "next")
		s.Dropped = rapid.Bool().Draw(t, "dropped")
		j, err := s.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var got Schema
		if err := json.Unmarshal(j, &got); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if !got.Equal(s) {
			t.Fatalf("%s: got %v, want %v", j, got, s)
		}
		again, err := json.Marshal(&got)
		if err != nil || string(again) != string(j) {
			t.Fatalf("written again %s, %v, want %s", again, err, j)
		}
	})
}

func TestSchemaJSONDefaults(t *testing.T) {
	for _, v := range []Value{BoolValue(false), BoolValue(true), IntValue(math.MinInt64), IntValue(math.MaxInt64), IntValue(1<<53 + 1),
		FloatValue(math.NaN()), FloatValue(math.Inf(1)), FloatValue(math.Inf(-1)), FloatValue(math.Copysign(0, -1)), FloatValue(0), FloatValue(5e-324), FloatValue(1e300), FloatValue(0.1),
		TextValue(""), TextValue("null"), TextValue("<&>\u2028\x00\"\\\ufffd"), BytesValue(nil), BytesValue([]byte{0, 0xff}),
		TimeValue(0), TimeValue(-1), TimeValue(math.MinInt64), TimeValue(math.MaxInt64), mustDecimal("-00.50"), mustDecimal("NaN"), mustDecimal("-Infinity"), NativeValue("{\"a\":1}")} {
		c := Column{Name: "x", Type: v.Type(), Default: v}
		if c.Type == Native {
			c.NativeType = "jsonb"
		}
		s, err := sample(t).AddColumns(c)
		if err != nil {
			t.Fatal(err)
		}
		j, err := json.Marshal(s)
		if err != nil {
			t.Errorf("%v: %v", v, err)
			continue
		}
		var got Schema
		if err := json.Unmarshal(j, &got); err != nil || !got.Equal(s) {
			t.Errorf("default %v comes back as %v, %v", v, got.Columns, err)
		}
	}
}

func TestSchemaJSONRefuses(t *testing.T) {
	good := `{"collection":1,"name":"t","version":1,"columns":[{"id":1,"name":"a","type":"int64","since":1}]}`
	if err := new(Schema).UnmarshalJSON([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, j := range map[string]string{
		"nothing": "", "cut": good[:40], "two": good + good, "rubbish behind": good + "x", "unknown field": strings.Replace(good, `"name":"t"`, `"name":"t","nome":"t"`, 1),
		"unknown type": strings.Replace(good, "int64", "int32", 1), "collection 2^32": strings.Replace(good, `"collection":1`, `"collection":4294967296`, 1),
		"negative version": strings.Replace(good, `"version":1`, `"version":-1`, 1), "invalid": strings.Replace(good, `"id":1`, `"id":0`, 1),
		"default of another type": strings.Replace(good, `"since":1`, `"since":1,"default":"x"`, 1), "array": "[" + good + "]",
	} {
		s := Schema{Name: "as it was"}
		if err := s.UnmarshalJSON([]byte(j)); err == nil || s.Name != "as it was" {
			t.Errorf("%s: got %v, %v", name, s, err)
		}
	}
}

func TestSchemaEqual(t *testing.T) {
	s := sample(t)
	if !s.Equal(clone(s)) {
		t.Error("a schema differs from its copy")
	}
	for name, change := range map[string]func(*Schema){
		"name": func(s *Schema) { s.Name = "x" }, "version": func(s *Schema) { s.Version++ }, "collection": func(s *Schema) { s.Collection++ },
		"dropped": func(s *Schema) { s.Dropped = true }, "key": func(s *Schema) { s.Key = nil }, "column": func(s *Schema) { s.Columns[3].Default = FloatValue(1) },
	} {
		o := clone(s)
		change(o)
		if s.Equal(o) {
			t.Errorf("another %s is equal", name)
		}
	}
}
