package archive

import (
	"errors"
	"io"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/pack"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/storage/storagetest"
)

// A writer that can't start over ends the upload; why it would have had to is
// told beside its own error.
func TestPutPackTellsWhyItStartedOver(t *testing.T) {
	faulty := storagetest.NewFaulty(storage.NewMem())
	a := newArchive(t, faulty)
	faulty.SetRules(storagetest.Rule{Fault: storagetest.Before, Op: storagetest.OpCreate, Times: -1, Err: storage.ErrUnavailable})
	errOnce := errors.New("can't be written twice")
	tries := 0
	_, err := a.PutPack(t.Context(), chain.LogPack, 1, 1, func(w io.Writer) (pack.Ref, error) {
		if tries++; tries > 1 {
			return pack.Ref{}, errOnce
		}
		return madeUpPack(1)(w)
	})
	if !errors.Is(err, errOnce) || !errors.Is(err, storage.ErrUnavailable) || tries != 2 {
		t.Errorf("after %d tries: %v", tries, err)
	}
}

// A store that leaves half a pack has not damaged the archive: the pack goes
// up under another name.
func TestPutPackHalf(t *testing.T) {
	faulty := storagetest.NewFaulty(storage.NewMem())
	a := newArchive(t, faulty)
	faulty.SetRules(storagetest.Rule{Fault: storagetest.Partial, Op: storagetest.OpCreate, Times: -1})
	_, err := a.PutPack(t.Context(), chain.LogPack, 1, 1, madeUpPack(1))
	if !errors.Is(err, storagetest.ErrInjected) || errors.Is(err, chain.ErrDamaged) {
		t.Errorf("error is %v", err)
	}
	faulty.SetRules(storagetest.Rule{Fault: storagetest.Partial, Op: storagetest.OpCreate})
	if ref, err := a.PutPack(t.Context(), chain.LogPack, 1, 1, madeUpPack(1)); err != nil || ref.Size == 0 {
		t.Errorf("%+v, %v", ref, err)
	}
}
