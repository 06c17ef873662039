package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/pack"
)

// errWrite marks an error of the caller's write function.
type errWrite struct{ err error }

func (e *errWrite) Error() string { return e.err.Error() }
func (e *errWrite) Unwrap() error { return e.err }

// PutPack uploads a pack under a fresh name while write produces it, and
// returns write's Ref with the key. When the store gives no clear answer the
// pack is read back (size and tail); where that does not prove it, write is
// called again and the pack goes to another name, so write must be able to
// start over. Until a manifest mentions it, the pack is an orphan that harms
// nobody. An error of write ends the upload and is returned.
func (a *Archive) PutPack(ctx context.Context, kind chain.PackKind, first, last change.LSN, write func(io.Writer) (pack.Ref, error)) (pack.Ref, error) {
	var cause error
	for try := range maxTries {
		if try > 0 {
			if err := a.backoff(ctx, try); err != nil {
				return pack.Ref{}, fmt.Errorf("%w; before that: %w", err, cause)
			}
		}
		nonce, err := randomHex(a.opts.Rand, chain.NonceDigits/2)
		if err != nil {
			return pack.Ref{}, err
		}
		ref, err := a.putOnce(ctx, chain.PackKey{Timeline: a.timeline, Kind: kind, First: first, Last: last, Nonce: nonce}, write)
		var own *errWrite
		switch {
		case err == nil:
			return ref, nil
		case errors.As(err, &own) && cause != nil:
			return pack.Ref{}, fmt.Errorf("%w; before that: %w", own.err, cause)
		case errors.As(err, &own):
			return pack.Ref{}, own.err
		case ctx.Err() != nil:
			return pack.Ref{}, err
		}
		cause = err
	}
	return pack.Ref{}, fmt.Errorf("upload a %s pack of LSN %d to %d: %w", kind, first, last, cause)
}

// counter counts and forwards what is written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (a *Archive) putOnce(ctx context.Context, key chain.PackKey, write func(io.Writer) (pack.Ref, error)) (pack.Ref, error) {
	name := key.String()
	body, w := io.Pipe()
	stored := make(chan error, 1)
	go func() {
		err := a.bucket.Create(ctx, name, body)
		body.CloseWithError(errStopped) // a writer that is still at it need not wait
		stored <- err
	}()
	out := counter{w: w}
	ref, failed := write(&out)
	if failed == nil && ref.Size != out.n {
		failed = fmt.Errorf("pack %s has %d bytes, %d were written", name, ref.Size, out.n)
	}
	w.CloseWithError(failed) // nil ends the body
	err := <-stored
	ref.Key = name
	switch {
	case failed != nil && errors.Is(failed, errStopped):
		return ref, fmt.Errorf("create %s: %w", name, errors.Join(err, failed))
	case failed != nil:
		return ref, &errWrite{failed}
	case err == nil:
		return ref, nil
	}
	if proof := a.provePack(ctx, &ref); proof != nil {
		// Not %w: what is wrong with an orphan is no damage of the archive.
		return ref, fmt.Errorf("create %s: %w (reading it back: %v)", name, err, proof)
	}
	return ref, nil
}

// errStopped is what the writer of a pack gets when the store stops reading.
var errStopped = errors.New("the store stopped reading the pack")

// provePack reads back whether the object is the pack: a bucket stores whole
// objects only, and the tail's hash commits to every block.
func (a *Archive) provePack(ctx context.Context, ref *pack.Ref) error {
	size, err := a.bucket.Size(ctx, ref.Key)
	if err != nil {
		return err
	}
	if size != ref.Size || ref.Tail <= 0 || ref.Tail > size {
		return fmt.Errorf("it has %d bytes, want %d: %w", size, ref.Size, chain.ErrDamaged)
	}
	r, err := a.bucket.Read(ctx, ref.Key, size-ref.Tail, ref.Tail)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if change.Hash(h.Sum(nil)) != ref.Hash {
		return fmt.Errorf("its tail has another hash: %w", chain.ErrDamaged)
	}
	return nil
}
