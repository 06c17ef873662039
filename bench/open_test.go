package bench

import (
	"testing"

	"github.com/tidemarkdb/tidemark/archive"
	"github.com/tidemarkdb/tidemark/recovery"
	"github.com/tidemarkdb/tidemark/storage"
	"github.com/tidemarkdb/tidemark/when"
)

// TestOpenArchive opens the made-up archive as the benchmark's commands do.
func TestOpenArchive(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	bucket, err := storage.OpenDir(dir, storage.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	if _, err := archive.Init(ctx, bucket, archive.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	const segments = 3500
	b, err := newOpenBuilder(ctx, dir, bucket, segments)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.build(); err != nil {
		t.Fatal(err)
	}
	a, err := archive.Open(ctx, bucket, archive.OpenOptions{Warn: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.Load(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s.Segments.Len() != segments || len(s.Segments.Chunks()) != 2 || s.Head != b.state.Head || len(s.Checkpoints) != 6 || s.Seq-s.Bundled() < archive.DefaultCheckpointEvery {
		t.Errorf("%d segments, %d chunks, %d checkpoints, %d of %d manifests in them", s.Segments.Len(), len(s.Segments.Chunks()), len(s.Checkpoints), s.Bundled(), s.Seq)
	}
	for _, to := range b.targets {
		target, err := recovery.ParseTarget(to.To, when.Reader{})
		if err != nil {
			t.Fatal(err)
		}
		point, err := recovery.Resolve(ctx, bucket, s, target)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := recovery.MakePlan(ctx, s, point)
		if err != nil || len(plan.Segments) != to.Span {
			t.Errorf("%s: %v, want a plan over %d segments", to.Name, err, to.Span)
		}
	}
}
