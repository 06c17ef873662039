package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// scalar is a value as it stands in the file.
type scalar struct {
	text string
	tk   *token.Token
}

// section is what the file says of one database, or of all in defaults.
type section struct {
	name      string
	key       *token.Token // the name
	scalars   map[string]scalar
	schedules map[string][]rawSchedule // by kind; a kind that is not given is absent
	given     map[string]*token.Token  // where each kind of schedule is given
	hooks     []rawHook
	hooksAt   *token.Token // nil when hooks is not given
}

// document is the whole file before values are looked at.
type document struct {
	scalars   map[string]scalar
	defaults  section
	databases []section
}

// field is a key that a mapping may have.
type field struct {
	key  string
	read func(key *token.Token, value ast.Node)
}

// decoder walks over the syntax tree of a file.
type decoder struct{ *report }

// decode reads the file's form: which keys stand where, and what kind of value
// each has.
func (d decoder) decode(raw []byte) *document {
	doc := &document{scalars: make(map[string]scalar)}
	if !d.moderate(raw) {
		return doc
	}
	file, err := parser.ParseBytes(raw, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var y yaml.Error
		if errors.As(err, &y) {
			d.at(y.GetToken(), "%s", y.GetMessage())
		} else {
			d.at(nil, "%v", err)
		}
		return doc
	}
	var bodies []ast.Node
	for _, b := range file.Docs {
		if b.Body != nil && b.Body.Type() != ast.CommentType {
			bodies = append(bodies, b.Body)
		}
	}
	switch len(bodies) {
	case 0:
		d.at(nil, "the file holds nothing; 'tidemark config init' writes one to start from")
	case 1:
		d.top(doc, bodies[0])
	default:
		d.at(tokenOf(bodies[1]), "a second document; the file holds one")
	}
	return doc
}

// What a file may have at most. The time that reading takes grows faster than
// how deep and wide its parts are.
const (
	maxFile  = 1 << 20 // bytes
	maxLine  = 4000    // bytes
	maxDepth = 100     // brackets within brackets
)

// moderate refuses what no person wrote.
func (d decoder) moderate(raw []byte) bool {
	depth := 0
	here := func(line, column int) *token.Token {
		return &token.Token{Position: &token.Position{Line: line, Column: column}}
	}
	if len(raw) > maxFile {
		d.at(nil, "the file has %d bytes, %d are the most", len(raw), maxFile)
		return false
	}
	for i, line := range d.lines {
		if len(line) > maxLine {
			d.lines[i] = line[:40] + " …"
			d.at(here(i+1, 1), "the line has %d bytes, %d are the most", len(line), maxLine)
			return false
		}
		for column, c := range []rune(line) {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth = max(0, depth-1)
			}
			if depth > maxDepth {
				d.at(here(i+1, column+1), "more than %d brackets are open here", maxDepth)
				return false
			}
		}
	}
	return true
}

func (d decoder) top(doc *document, n ast.Node) {
	versioned := false
	fields := []field{
		{"version", func(_ *token.Token, v ast.Node) {
			versioned = true
			if i, ok := v.(*ast.IntegerNode); !ok || i.GetToken().Value != fmt.Sprint(Version) {
				d.at(tokenOf(v), "version is %s, this tidemark reads version %d", describe(v), Version)
			}
		}},
		{"defaults", func(_ *token.Token, v ast.Node) {
			doc.defaults = d.section(v, "defaults", true)
		}},
		{"databases", func(_ *token.Token, v ast.Node) {
			d.mapping(v, "databases", nil, func(key *token.Token, v ast.Node) {
				if err := checkName(key.Value); err != nil {
					d.at(key, "%v", err)
				}
				s := d.section(v, "databases."+key.Value, false)
				s.name, s.key = key.Value, key
				doc.databases = append(doc.databases, s)
			})
		}},
	}
	fields = append(fields, scalars(d, topSettings, doc.scalars, "", false)...)
	d.mapping(n, "the file", fields, nil)
	if !versioned && len(d.found) == 0 {
		d.at(tokenOf(n), "version is missing: start the file with 'version: %d'", Version)
	}
}

// section reads a database, or the defaults.
func (d decoder) section(n ast.Node, where string, defaults bool) section {
	s := section{scalars: make(map[string]scalar), schedules: make(map[string][]rawSchedule), given: make(map[string]*token.Token)}
	fields := scalars(d, databaseSettings, s.scalars, where, defaults)
	fields = append(fields,
		field{"schedules", func(_ *token.Token, v ast.Node) {
			var kinds []field
			for _, kind := range scheduleKinds {
				kinds = append(kinds, field{kind, func(key *token.Token, v ast.Node) {
					s.given[kind] = key
					s.schedules[kind] = d.schedules(v, where+".schedules."+kind, kind, key)
				}})
			}
			d.mapping(v, where+".schedules", kinds, nil)
		}},
		field{"hooks", func(key *token.Token, v ast.Node) {
			s.hooks, s.hooksAt = d.hooks(v, where+".hooks"), key
		}})
	d.mapping(n, where, fields, nil)
	return s
}

// scalars returns the fields for a table of settings, those with a dot in their
// path gathered in mappings of their own.
func scalars[T any](d decoder, table []setting[T], into map[string]scalar, where string, defaults bool) []field {
	var fields []field
	groups := make(map[string][]field)
	for _, s := range table {
		f := field{s.path, func(key *token.Token, v ast.Node) {
			if s.own && defaults {
				d.at(key, "%s belongs to one database, not to defaults", s.path)
				return
			}
			if text, ok := d.scalar(v, s.path, s.want, s.raw); ok {
				into[s.path] = scalar{text, v.GetToken()}
			}
		}}
		group, rest, nested := strings.Cut(s.path, ".")
		if !nested {
			fields = append(fields, f)
			continue
		}
		f.key = rest
		if groups[group] == nil {
			fields = append(fields, field{group, func(_ *token.Token, v ast.Node) {
				d.mapping(v, strings.TrimPrefix(where+"."+group, "."), groups[group], nil)
			}})
		}
		groups[group] = append(groups[group], f)
	}
	return fields
}

// mapping reads a mapping with the given fields, or with any keys when there is
// a function for those.
func (d decoder) mapping(n ast.Node, where string, fields []field, other func(*token.Token, ast.Node)) {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.at(tokenOf(n), "%s is %s, want keys with values below it", where, describe(n))
		return
	}
	seen := make(map[string]*token.Token)
	for _, v := range values {
		key := v.Key.GetToken()
		if v.Key.IsMergeKey() {
			d.at(key, "merge keys are not used here: write it out")
			continue
		}
		if before, twice := seen[key.Value]; twice {
			d.at(key, "key %q is there twice, first in line %d", key.Value, before.Position.Line)
			continue
		}
		seen[key.Value] = key
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == key.Value })
		switch {
		case i >= 0:
			fields[i].read(key, v.Value)
		case other != nil:
			other(key, v.Value)
		default:
			d.at(key, "%s", unknownKey(key.Value, where, fields))
		}
	}
}

// unknownKey says what is wrong with a key that has no meaning where it stands.
func unknownKey(key, where string, fields []field) string {
	msg := fmt.Sprintf("unknown key %q in %s", key, where)
	var names []string
	for _, f := range fields {
		names = append(names, f.key)
	}
	if n := nearest(key, names); n != "" {
		return fmt.Sprintf("%s; did you mean %q?", msg, n)
	}
	switch strings.ToLower(key) {
	case "password", "secret", "token", "access_key", "secret_key", "credentials", "api_key":
		return msg + "; secrets come from the environment or from files of their own (token_file)"
	}
	for _, s := range databaseSettings {
		if group, rest, nested := strings.Cut(s.path, "."); nested && rest == key && slices.Contains(names, group) {
			return fmt.Sprintf("%s; it belongs below %s", msg, group)
		}
	}
	if slices.Contains(scheduleKinds, key) && slices.Contains(names, "schedules") {
		return msg + "; it belongs below schedules"
	}
	return msg + "; want " + oneOf(names)
}

// scalar reads a single value. A number where a word is wanted is refused,
// unless it is meant as it is written.
func (d decoder) scalar(n ast.Node, what, want string, raw bool) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		if raw {
			return n.GetToken().Value, true
		}
	}
	d.at(tokenOf(n), "%s is %s, want %s", what, describe(n), want)
	return "", false
}

// list returns the items of a list, or a single one that stands without.
func list(n ast.Node) []ast.Node {
	if s, ok := n.(*ast.SequenceNode); ok {
		return s.Values
	}
	return []ast.Node{n}
}

// maxQuoted is how much of a text an error quotes, in bytes.
const maxQuoted = 60

// describe says what kind of value a node is.
func describe(n ast.Node) string {
	switch n := n.(type) {
	case *ast.NullNode:
		return "empty"
	case *ast.BoolNode:
		return "the truth value " + n.GetToken().Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	case *ast.StringNode:
		if len(n.Value) > maxQuoted {
			return fmt.Sprintf("%q…", strings.ToValidUTF8(n.Value[:maxQuoted], ""))
		}
		return fmt.Sprintf("%q", n.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.SequenceNode:
		return "a list"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias (write it out)"
	case *ast.TagNode:
		return "a tagged value (write it without)"
	}
	return "a " + strings.ToLower(n.Type().String())
}

// tokenOf returns where a value starts in the file.
func tokenOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return tokenOf(n.Values[0])
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}
