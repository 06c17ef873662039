package storagetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"testing"

	"github.com/tidemarkdb/tidemark/storage"
)

// lieVariable names the lie that TestLyingBucket runs the suite on.
const lieVariable = "TIDEMARK_TEST_LIE"

// lies are buckets that break one promise each, and the case of the suite
// that must notice.
var lies = map[string]struct {
	bucket func() storage.Bucket
	caught string
}{
	"flips a bit":              {func() storage.Bucket { return NewFaulty(storage.NewMem(), Rule{Fault: Flip, Times: -1}) }, "create_and_read"},
	"reads short":              {func() storage.Bucket { return NewFaulty(storage.NewMem(), Rule{Fault: Cut, Times: -1}) }, "ranges"},
	"hides the newest":         {func() storage.Bucket { return NewFaulty(storage.NewMem(), Rule{Fault: Stale, Times: -1}) }, "list_order"},
	"reports success twice":    {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), twoWinners: true} }, "create_race"},
	"keeps what the body left": {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), keepBroken: true} }, "body_fails"},
	"shows half an object":     {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), showHalf: true} }, "readers_during_create"},
	"lists backwards":          {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), backwards: true} }, "list_of_thousands"},
	"lists after inclusively":  {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), inclusive: true} }, "list_order"},
	"deletes with an error":    {func() storage.Bucket { return &lying{Bucket: storage.NewMem(), strictDelete: true} }, "delete"},
}

// TestSuiteCatchesLies proves that the suite can fail, in processes of their
// own since a failed subtest can't be taken back: there it runs the suite on
// the lie that it was told of.
func TestSuiteCatchesLies(t *testing.T) {
	if lie, ok := lies[os.Getenv(lieVariable)]; ok {
		Run(t, func(*testing.T) storage.Bucket { return lie.bucket() })
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestSuiteCatchesLies$", "-test.count=1")
			cmd.Env = append(os.Environ(), lieVariable+"="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			caught := regexp.MustCompile(`--- FAIL: TestSuiteCatchesLies/` + lie.caught + ` \(`)
			if err == nil || !caught.Match(out) {
				t.Errorf("the case %s did not notice (%v):\n%s", lie.caught, err, out)
			}
		})
	}
}

// A lying bucket breaks the promises whose fields are set.
type lying struct {
	storage.Bucket
	twoWinners, keepBroken, showHalf, backwards, inclusive, strictDelete bool
}

func (l *lying) Create(ctx context.Context, key string, body io.Reader) error {
	if storage.CheckKey(key) != nil {
		return l.Bucket.Create(ctx, key, body)
	}
	if l.keepBroken {
		data, err := io.ReadAll(body)
		return errors.Join(err, l.Bucket.Create(ctx, key, bytes.NewReader(data)))
	}
	if l.showHalf {
		return l.createVisibly(ctx, key, body)
	}
	err := l.Bucket.Create(ctx, key, body)
	if l.twoWinners && errors.Is(err, storage.ErrExists) {
		return nil
	}
	return err
}

// createVisibly lets the first bytes be seen before the rest is there.
func (l *lying) createVisibly(ctx context.Context, key string, body io.Reader) error {
	if _, err := l.Size(ctx, key); err == nil {
		return l.Bucket.Create(ctx, key, body)
	}
	first := make([]byte, 100)
	n, err := body.Read(first)
	if err != nil && err != io.EOF {
		return err
	}
	if err := l.Bucket.Create(ctx, key, bytes.NewReader(first[:n])); err != nil || n == 0 {
		return err
	}
	rest, err := io.ReadAll(body)
	if err := errors.Join(err, l.Bucket.Delete(ctx, key)); err != nil {
		return err
	}
	return l.Bucket.Create(ctx, key, bytes.NewReader(append(first[:n], rest...)))
}

func (l *lying) List(ctx context.Context, prefix, after string) iter.Seq2[storage.Info, error] {
	if !l.backwards && !l.inclusive {
		return l.Bucket.List(ctx, prefix, after)
	}
	return func(yield func(storage.Info, error) bool) {
		var all []storage.Info
		for info, err := range l.Bucket.List(ctx, prefix, "") {
			if err != nil {
				yield(info, err)
				return
			}
			if info.Key > after || l.inclusive && info.Key == after {
				all = append(all, info)
			}
		}
		if l.backwards {
			slices.Reverse(all)
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (l *lying) Delete(ctx context.Context, key string) error {
	if l.strictDelete {
		if _, err := l.Size(ctx, key); err != nil {
			return err
		}
	}
	return l.Bucket.Delete(ctx, key)
}
