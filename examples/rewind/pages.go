package main

import (
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/history"
)

//go:embed pages.html
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{"before": before}).Parse(source))

// view is what a page shows.
type view struct {
	Items []item
	Past  []history.Transaction // on the history page
	Shown string                // "list" or "history"
}

// before is the LSN just before a transaction.
func before(t history.Transaction) change.LSN { return t.JustBefore() }

// pages serves the list.
func pages(l *list) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		lines, err := l.all()
		show(w, view{Items: lines, Shown: "list"}, err)
	})
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, r *http.Request) {
		past, err := l.past(r.Context(), 50)
		show(w, view{Past: past, Shown: "history"}, err)
	})
	mux.HandleFunc("POST /add", func(w http.ResponseWriter, r *http.Request) {
		lines := strings.FieldsFunc(r.FormValue("text"), func(c rune) bool { return c == '\n' || c == '\r' || c == ',' })
		back(w, r, l.add(lines...))
	})
	mux.HandleFunc("POST /clear", func(w http.ResponseWriter, r *http.Request) { back(w, r, l.clear()) })
	mux.HandleFunc("POST /rewind", func(w http.ResponseWriter, r *http.Request) {
		to, err := change.ParseLSN(r.FormValue("to"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		back(w, r, l.rewind(r.Context(), to))
	})
	return http.NewCrossOriginProtection().Handler(mux)
}

func show(w http.ResponseWriter, v view, err error) {
	if err == nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		err = page.Execute(w, v)
	}
	if err != nil {
		http.Error(w, fmt.Sprint("sorry: ", err), http.StatusInternalServerError)
	}
}

// back returns to the list after something was done.
func back(w http.ResponseWriter, r *http.Request, err error) {
	if err != nil {
		http.Error(w, fmt.Sprint("sorry: ", err), http.StatusInternalServerError)
		return
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
