// Package bench measures what Tidemark costs, each figure beside a yardstick
// taken in the same run: restoring beside a bare pipeline that does the same
// work without formats, chain or checks ([Restore]), committing beside the
// rate at which the machine can append and sync ([Commit]), and reading
// segments on one core ([Read]). [Memory] has no yardstick but its limit.
//
// RESULTS.md holds figures that were seen, with the commands that gave them.
package bench
