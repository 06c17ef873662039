package embedded

import (
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/driver"
)

// Info describes a database.
type Info struct {
	System  string      // its unique ID
	Created change.Time // when it was made or restored

	LSN     change.LSN  // of the last commit that views show
	LogHash change.Hash // through LSN
	Tx      change.TxID // the last transaction
	Commit  change.Time // its commit time; 0 when there is none

	Restored  bool           // whether it came from a restore
	RestoreAt change.LSN     // where its own history begins then
	Origin    *driver.Origin // that place in the archive; nil when nothing may go on from there
	Salvaged  bool           // that restore took what could be saved of a damaged archive: it is not the state at RestoreAt

	Following *Following // the timeline that it is a standby of; nil when it is none

	Archived bool            // whether an archive was attached
	Acked    *driver.Receipt // the last receipt of an archive, from before the last Open too; nil for none
	Lag      Lag             // how far the archive is behind; zero when none is attached
	Detached *Detached       // the log is no longer kept for the archive; nil when it is
	LogFrom  change.LSN      // the log is kept from this LSN on
	LogBytes int64           // size of the log files
}

// Info returns what the database is and how far it has come.
func (db *DB) Info() Info {
	db.visibleMu.RLock()
	v := db.visible
	db.visibleMu.RUnlock()
	out := Info{LSN: v.LSN, LogHash: v.Hash, Tx: v.Tx, Commit: v.Commit}
	db.retain.mu.Lock()
	id := db.retain.identity
	out.Acked = db.retain.receipt()
	out.Detached = db.retain.detached
	db.retain.mu.Unlock()
	out.System, out.Created, out.Archived = id.System, id.Created, id.Archived
	if id.Restored != nil {
		out.Restored, out.RestoreAt, out.Salvaged = true, id.Restored.LSN, id.Restored.Salvaged
	}
	out.Lag, _ = db.lagging.lag()
	out.Following = db.readOnly.Load()
	e := db.log.Extent()
	out.LogFrom, out.LogBytes = e.First, e.Bytes
	return out
}
