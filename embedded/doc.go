// Package embedded is a database in a directory, for Go programs: collections
// of typed rows, serializable transactions, and a log of every change that
// Tidemark can archive and restore from.
//
//	db, err := embedded.Open("data", embedded.Options{})
//	...
//	err = db.Update(func(tx *embedded.Tx) error {
//		_, err := tx.CreateCollection("city", []string{"id"},
//			change.Column{Name: "id", Type: change.Int64},
//			change.Column{Name: "name", Type: change.Text})
//		if err != nil {
//			return err
//		}
//		return tx.Put("city", change.Row{change.IntValue(1), change.TextValue("Gent")})
//	})
//
// [Of] maps Go structs to rows instead.
//
// A commit is acknowledged when its log frame is on disk; a crash at any
// moment keeps every acknowledged commit and, of others, all or nothing. The
// state lives in Pebble without a log of its own: the logical log of package
// txlog is the only one, and Open replays what the state lacks of it. FORMAT.md
// describes the directory.
package embedded
