package chain

import "github.com/tidemarkdb/tidemark/change"

// EffectiveFloor is the least effective time that the next transaction may
// have: not before that of the previous one, and after what is covered.
func EffectiveFloor(prev, covered change.Time) change.Time { return max(prev, covered+1) }

// Effective returns the effective time of a transaction: its commit time, not
// later than now by the source's clock and not before [EffectiveFloor]. Clocks
// that step back or run ahead therefore never turn the archive's time back, nor
// break a promise of coverage. All times but commit are the archive's own.
func Effective(prev, covered, commit, now change.Time) change.Time {
	return max(EffectiveFloor(prev, covered), min(commit, now))
}
