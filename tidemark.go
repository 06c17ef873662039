// Package tidemark keeps a provable history of a database, and brings the
// database back as it was at any transaction.
//
// A program that keeps its data in an embedded database gets a continuous
// backup with one call, and a restore with another:
//
//	db, err := embedded.Open("shop.db", embedded.Options{})
//	...
//	backup, err := tidemark.Protect(ctx, db, "/backup/shop", tidemark.Options{})
//	...
//	defer backup.Close()
//
//	res, err := tidemark.Restore(ctx, "/backup/shop", "restored.db", recovery.AtTime(t).JustBefore(), restore.Options{})
//
// What stands behind them are packages of their own: capture copies a source's
// log into an archive, recovery turns a target into a plan and the plan into
// rows, restore carries it out, history looks without restoring. The command
// tidemark does the same from a shell.
package tidemark
