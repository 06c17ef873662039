package config

import (
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/tidemarkdb/tidemark/hook"
	"github.com/tidemarkdb/tidemark/schedule"
)

// The kinds of work that can be scheduled.
const (
	WorkSnapshot = "snapshot"
	WorkVerify   = "verify"
	WorkDrill    = "drill"
)

var scheduleKinds = []string{WorkSnapshot, WorkVerify, WorkDrill}

// levels are those of a verification.
var levels = []string{"chain", "objects", "records"}

// defaultLevel is the level of a scheduled verification that names none.
const defaultLevel = "objects"

// rawSchedule is one entry as it stands in the file.
type rawSchedule struct {
	every, at, timezone, level scalar
}

// schedules reads one entry or a list of them.
func (d decoder) schedules(n ast.Node, where, kind string, key *token.Token) []rawSchedule {
	out := []rawSchedule{} // given, though perhaps empty
	for _, item := range list(n) {
		var s rawSchedule
		into := func(name, want string, v *scalar) field {
			return field{name, func(_ *token.Token, n ast.Node) {
				if text, ok := d.scalar(n, name, want, false); ok {
					*v = scalar{text, n.GetToken()}
				}
			}}
		}
		fields := []field{into("every", wantDuration, &s.every),
			into("at", `a time of day such as "03:10" or "Sun 04:00"`, &s.at),
			into("timezone", "a time zone such as Europe/Berlin", &s.timezone)}
		if kind == WorkVerify {
			fields = append(fields, into("level", oneOf(levels), &s.level))
		}
		before := len(d.found)
		d.mapping(item, where, fields, nil)
		switch {
		case len(d.found) > before:
			continue
		case s.every.tk == nil && s.at.tk == nil:
			d.at(key, "%s says neither every nor at", where)
			continue
		case s.every.tk != nil && s.at.tk != nil:
			d.at(s.at.tk, "%s says both every and at", where)
			continue
		case s.every.tk != nil && s.timezone.tk != nil:
			d.at(s.timezone.tk, "every needs no timezone")
			continue
		}
		if l := s.level; l.tk != nil && !slices.Contains(levels, l.text) {
			d.at(l.tk, "level %q is not known%s", l.text, didYouMean(l.text, levels))
		}
		out = append(out, s)
	}
	return out
}

// rules turns entries into schedules; zone is where no other is named.
func (d decoder) rules(kind string, raw []rawSchedule, where *time.Location) []Schedule {
	var out []Schedule
	for _, r := range raw {
		s := Schedule{}
		if kind == WorkVerify {
			if s.Level = r.level.text; s.Level == "" {
				s.Level = defaultLevel
			}
		}
		var err error
		if r.every.tk != nil {
			var every time.Duration
			if err = duration(&every, r.every.text); err == nil {
				s.Rule, err = schedule.Every(every)
			}
			d.value(r.every, "every", err)
		} else {
			z := where
			if r.timezone.tk != nil {
				z, err = zone(r.timezone.text)
				d.value(r.timezone, "timezone", err)
			}
			s.Rule, err = schedule.At(r.at.text, z)
			d.value(r.at, "at", err)
		}
		out = append(out, s)
	}
	return out
}

// value notes what is wrong with a value, once for each place.
func (d decoder) value(v scalar, what string, err error) {
	if err == nil {
		return
	}
	msg := strings.TrimSuffix(err.Error(), ": "+schedule.ErrRule.Error())
	msg = strings.TrimPrefix(strings.TrimSuffix(msg, ": "+hook.ErrURL.Error()), what+" ")
	for _, p := range d.found {
		if p.Line == v.tk.Position.Line && p.Column == v.tk.Position.Column {
			return
		}
	}
	d.at(v.tk, "%s: %s", what, msg)
}

// rawHook is one entry as it stands in the file.
type rawHook struct {
	hook      hook.Hook
	tokenFile scalar
}

// hooks reads a list of hooks.
func (d decoder) hooks(n ast.Node, where string) []rawHook {
	var out []rawHook
	if _, ok := n.(*ast.SequenceNode); !ok {
		d.at(tokenOf(n), "%s is %s, want a list: start each hook with '- '", where, describe(n))
		return nil
	}
	for _, item := range list(n) {
		var h rawHook
		fields := []field{
			{"on", func(_ *token.Token, v ast.Node) { h.hook.On = d.kinds(v) }},
			{"run", func(_ *token.Token, v ast.Node) { h.hook.Run = d.command(v) }},
			{"post", func(_ *token.Token, v ast.Node) {
				if text, ok := d.scalar(v, "post", "a URL such as https://example.org/hook", false); ok {
					h.hook.Post = text
					d.value(scalar{text, v.GetToken()}, "post", hook.CheckURL(text))
				}
			}},
			{"token_file", func(_ *token.Token, v ast.Node) {
				if text, ok := d.scalar(v, "token_file", "the path of a file that holds a bearer token", false); ok {
					h.tokenFile = scalar{text, v.GetToken()}
					d.value(h.tokenFile, "token_file", notEmpty(text))
				}
			}},
			{"timeout", func(_ *token.Token, v ast.Node) {
				if text, ok := d.scalar(v, "timeout", wantDuration, false); ok {
					d.value(scalar{text, v.GetToken()}, "timeout", duration(&h.hook.Timeout, text))
				}
			}},
		}
		before := len(d.found)
		d.mapping(item, where, fields, nil)
		switch {
		case len(d.found) > before:
			continue
		case (len(h.hook.Run) > 0) == (h.hook.Post != ""):
			d.at(tokenOf(item), "a hook has either run, a command, or post, a URL")
			continue
		case h.tokenFile.tk != nil && h.hook.Post == "":
			d.at(h.tokenFile.tk, "token_file is for post")
			continue
		}
		out = append(out, h)
	}
	return out
}

// kinds reads which events a hook wants: one, a list, or all.
func (d decoder) kinds(n ast.Node) []hook.Kind {
	var names []string
	for _, k := range hook.Kinds {
		names = append(names, string(k))
	}
	var out []hook.Kind
	for _, item := range list(n) {
		text, ok := d.scalar(item, "on", "an event such as verify-failed, or all", false)
		switch {
		case !ok:
		case text == "all":
			return nil
		case !slices.Contains(names, text):
			d.at(tokenOf(item), "event %q is not known%s", text, didYouMean(text, append(names, "all")))
		default:
			out = append(out, hook.Kind(text))
		}
	}
	if len(list(n)) == 0 {
		d.at(tokenOf(n), "on names no event; leave it out, or write all")
	}
	return out
}

// command reads a command with its arguments.
func (d decoder) command(n ast.Node) []string {
	if _, ok := n.(*ast.SequenceNode); !ok {
		d.at(tokenOf(n), "run is %s, want a list such as [/usr/local/bin/page, --urgent]: no shell reads it", describe(n))
		return nil
	}
	var out []string
	for _, item := range list(n) {
		if text, ok := d.scalar(item, "run", "words; put quotes around it", false); ok {
			out = append(out, text)
		}
	}
	if len(list(n)) == 0 || len(out) > 0 && out[0] == "" {
		d.at(tokenOf(n), "run names no command")
	}
	return out
}
