package restore_test

import (
	"errors"
	"testing"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/restore"
)

// TestTargets restores to a target of every kind.
func TestTargets(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	end := len(w.moments) - 1
	calm := w.moment(t, w.label)
	effective := make([]change.Time, len(w.moments)) // in the archive: no two are equal here
	for i, m := range w.moments {
		_, plan, err := restore.Prepare(t.Context(), a, recovery.AtLSN(m.at))
		if err != nil {
			t.Fatal(err)
		}
		effective[i] = plan.Point.Effective
	}
	for _, c := range []struct {
		target recovery.Target
		want   moment
	}{
		{recovery.Target{}, w.last()},
		{recovery.Latest(), w.last()},
		{recovery.AtTime(w.covered), w.last()}, // after the last transaction
		{recovery.AtTime(effective[end]), w.last()},
		{recovery.AtTime(effective[end]).JustBefore(), w.moments[end-1]},
		{recovery.AtTime(effective[6] - 1), w.moments[5]},
		{recovery.AtTime(effective[6]), w.moments[6]},
		{recovery.AtTime(effective[6] + 1), w.moments[6]},
		{recovery.AtTime(effective[6]).JustBefore(), w.moments[5]},
		{recovery.AtTime(effective[0]), w.moments[0]},
		{recovery.AtLSN(w.moments[3].at), w.moments[3]},
		{recovery.AtLSN(w.moments[3].at).JustBefore(), w.moments[2]},
		{recovery.AtLSN(w.moments[3].at - 1).JustBefore(), w.moments[2]}, // inside it
		{recovery.AtLabel("calm"), calm},
		{recovery.AtTx(w.moments[7].tx), w.moments[7]},
		{recovery.AtTx(w.moments[7].tx).JustBefore(), w.moments[6]},
		{recovery.AtTx(w.moments[0].tx).JustBefore(), moment{}}, // the empty database
		{recovery.AtLSN(0), moment{}},
	} {
		p := new(place)
		res, err := restore.Run(t.Context(), a, c.target, p, restore.Options{TempDir: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		if err := p.holds(c.want); err != nil {
			t.Errorf("%s: %v", c.target, err)
		}
		if res.Asked != c.target || res.Reached.LSN != c.want.at || res.Reached.LogHash != p.finished.LogHash {
			t.Errorf("%s: result %+v", c.target, res)
		}
	}
}

// TestRefusedTargets checks what can't be restored, and what is offered instead.
func TestRefusedTargets(t *testing.T) {
	w := get(t, wholeWorld)
	a := openArchive(t, bucketOf(t, w.objects))
	s, err := a.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	big := w.moments[3]
	for _, c := range []struct {
		target        recovery.Target
		want          error
		before, after bool // a nearest moment is offered
	}{
		{recovery.AtTime(s.CoveredUntil + 1), recovery.ErrOutside, true, false},
		{recovery.AtTime(1), recovery.ErrOutside, false, true},
		{recovery.AtLSN(w.last().at + 1), recovery.ErrOutside, true, false},
		{recovery.AtLSN(0).JustBefore(), recovery.ErrOutside, false, true},
		{recovery.AtLSN(big.at - 1), recovery.ErrInsideTx, false, false},
		{recovery.AtLabel("storm"), recovery.ErrNoLabel, false, false},
		{recovery.AtTx(1 << 40), recovery.ErrNoTx, false, false},
	} {
		p := new(place)
		_, err := restore.Run(t.Context(), a, c.target, p, restore.Options{})
		if !errors.Is(err, c.want) || len(p.calls) > 0 {
			t.Errorf("%s: %v after %v, want %v before anything is called", c.target, err, p.calls, c.want)
			continue
		}
		var outside *recovery.UnrestorableError
		if errors.As(err, &outside) && ((outside.Before != nil) != c.before || (outside.After != nil) != c.after) {
			t.Errorf("%s: nearest %v and %v", c.target, outside.Before, outside.After)
		}
		var inside *recovery.InsideTxError
		if errors.As(err, &inside) && (inside.Before != w.moments[2].at || inside.Last != big.at || inside.Tx != big.tx) {
			t.Errorf("%s: %+v", c.target, inside)
		}
	}
}

// TestPlanOfAnother executes a plan on an archive that it was not made for.
func TestPlanOfAnother(t *testing.T) {
	mine := openArchive(t, bucketOf(t, get(t, wholeWorld).objects))
	theirs := openArchive(t, bucketOf(t, get(t, otherWorld).objects))
	state, plan, err := restore.Prepare(t.Context(), mine, recovery.Latest())
	if err != nil {
		t.Fatal(err)
	}
	p := new(place)
	if _, err := restore.Execute(t.Context(), theirs, state, plan, p, restore.Options{}); !errors.Is(err, chain.ErrWrongRepo) || len(p.calls) > 0 {
		t.Errorf("%v after %v, want ErrWrongRepo before anything is called", err, p.calls)
	}
}
