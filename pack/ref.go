package pack

import "github.com/tidemarkdb/tidemark/change"

// Ref is what a manifest says of a pack. Through Hash it commits to every byte
// of it: the tail holds the hash of each block and filter, and a copy of the
// header.
type Ref struct {
	Key      string      `json:"key"`       // of the object
	Size     int64       `json:"size"`      // bytes of the whole pack
	Tail     int64       `json:"tail"`      // bytes of index and footer, at the end of the pack
	Hash     change.Hash `json:"hash"`      // SHA-256 of those bytes
	Records  int64       `json:"records"`   //
	Raw      int64       `json:"raw"`       // bytes of keys, images and positions, decoded
	MaxBlock int64       `json:"max_block"` // raw bytes of the largest block: what a reader must be ready to hold
}
