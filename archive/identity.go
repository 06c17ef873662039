package archive

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/tidemarkdb/tidemark/chain"
	"github.com/tidemarkdb/tidemark/change"
	"github.com/tidemarkdb/tidemark/storage"
)

// IdentityKey is the key of the object that makes a bucket an archive.
const IdentityKey = "tidemark.json"

// Identity is what the object tidemark.json says. It never changes. A reader
// who must not be fooled pins Repo in a configuration of his own: see
// [OpenOptions].
type Identity struct {
	Format  int          `json:"format"`
	Repo    chain.RepoID `json:"repo"`
	Created change.Time  `json:"created"`
}

// maxIdentity is the size limit of tidemark.json in bytes.
const maxIdentity = 64 << 10

// errIdentity is wrapped by every error of a malformed identity.
var errIdentity = fmt.Errorf("malformed identity: %w", chain.ErrDamaged)

// Encode returns the bytes to store.
func (i Identity) Encode() ([]byte, error) {
	if err := i.validate(); err != nil {
		return nil, err
	}
	return chain.EncodeChecked(i)
}

// DecodeIdentity reads tidemark.json, as strictly as [chain.DecodeManifest] reads.
func DecodeIdentity(raw []byte) (Identity, error) {
	var i Identity
	if err := chain.DecodeChecked(raw, &i, maxIdentity, errIdentity, func() (any, error) { return i, i.validate() }); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", IdentityKey, err)
	}
	return i, nil
}

func (i Identity) validate() error {
	if err := chain.CheckVersion(i.Format); err != nil {
		return err
	}
	if i.Format != chain.FormatVersion {
		return fmt.Errorf("format is %d, want %d: %w", i.Format, chain.FormatVersion, errIdentity)
	}
	if err := chain.CheckRepo(i.Repo); err != nil {
		return fmt.Errorf("%w: %w", err, errIdentity)
	}
	return nil
}

// ReadIdentity reads and checks tidemark.json. A bucket without one is
// [ErrNotArchive].
func ReadIdentity(ctx context.Context, bucket storage.Bucket) (Identity, error) {
	raw, err := readAll(ctx, bucket, IdentityKey, maxIdentity)
	if errors.Is(err, storage.ErrNotFound) {
		return Identity{}, fmt.Errorf("the bucket holds no %s: %w; if it is a mount, is it mounted? 'tidemark init' makes a new archive", IdentityKey, ErrNotArchive)
	}
	if err != nil {
		return Identity{}, err
	}
	return DecodeIdentity(raw)
}

// readAll reads a whole object of at most limit bytes.
func readAll(ctx context.Context, bucket storage.Bucket, key string, limit int64) ([]byte, error) {
	r, err := bucket.Read(ctx, key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes, the limit for its kind: %w", key, limit, chain.ErrDamaged)
	}
	return raw, nil
}

// InitOptions are the options of [Init].
type InitOptions struct {
	Now  func() time.Time // default time.Now
	Rand io.Reader        // default crypto/rand
}

// Init makes an empty bucket an archive, after it has tried that the store
// keeps one object per key whoever comes first ([ErrUnsuitable]). A bucket with
// other things in it is [ErrForeign]. A second Init
// returns the identity that is there with [ErrAlreadyInitialized]. An
// interrupted Init can be repeated; what its trial leaves behind below
// "tidemark-probe-" is harmless.
func Init(ctx context.Context, bucket storage.Bucket, opts InitOptions) (Identity, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	switch id, err := ReadIdentity(ctx, bucket); {
	case err == nil:
		return id, alreadyThere(id)
	case !errors.Is(err, ErrNotArchive):
		return id, err
	}
	for info, err := range bucket.List(ctx, chain.ManifestPrefix(chain.MainTimeline), "") {
		if err != nil {
			return Identity{}, fmt.Errorf("list %s: %w", chain.ManifestPrefix(chain.MainTimeline), err)
		}
		return Identity{}, fmt.Errorf("%s is missing but %s is there: restore %s from a copy, or use another bucket: %w",
			IdentityKey, info.Key, IdentityKey, chain.ErrDamaged)
	}
	for info, err := range bucket.List(ctx, "", "") {
		if err != nil {
			return Identity{}, fmt.Errorf("list the bucket: %w", err)
		}
		if !strings.HasPrefix(info.Key, probePrefix) {
			return Identity{}, fmt.Errorf("the bucket holds %s: %w; use an empty or a new one", info.Key, ErrForeign)
		}
	}
	if err := probe(ctx, bucket, opts.Rand); err != nil {
		return Identity{}, err
	}
	repo, err := randomHex(opts.Rand, 16)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Format: chain.FormatVersion, Repo: chain.RepoID(repo), Created: change.TimeOf(opts.Now())}
	raw, err := id.Encode()
	if err != nil {
		return Identity{}, err
	}
	created := bucket.Create(ctx, IdentityKey, bytes.NewReader(raw))
	if created == nil {
		return id, nil
	}
	// The object may be there all the same: ours or, after a race, another's.
	switch have, err := ReadIdentity(ctx, bucket); {
	case err == nil && have == id:
		return id, nil
	case err == nil:
		return have, alreadyThere(have)
	}
	return Identity{}, fmt.Errorf("create %s: %w; init can be repeated", IdentityKey, created)
}

func alreadyThere(id Identity) error {
	return fmt.Errorf("%w: repository %s, created %v", ErrAlreadyInitialized, id.Repo, id.Created)
}

func randomHex(r io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return "", fmt.Errorf("random number: %w", err)
	}
	return hex.EncodeToString(b), nil
}

// probePrefix starts the keys of the trial's objects.
const probePrefix = "tidemark-probe-"

// probeRacers is how many creates of one key the trial of a store starts at once.
const probeRacers = 8

// probe tries that of several creates of one key exactly one succeeds, that the
// object is the winner's, and that it is listed.
func probe(ctx context.Context, bucket storage.Bucket, random io.Reader) error {
	nonce, err := randomHex(random, 8)
	if err != nil {
		return err
	}
	key := probePrefix + nonce
	// Writers need no right to delete, so a store may refuse this.
	defer func() { _ = bucket.Delete(context.WithoutCancel(ctx), key) }()
	unsuitable := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrUnsuitable, fmt.Sprintf(format, args...))
	}
	errs := make([]error, probeRacers)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = bucket.Create(ctx, key, bytes.NewReader([]byte{byte(i)})) })
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			return unsuitable("two of %d creates of one key succeeded", probeRacers)
		case err == nil:
			winner = i
		case !errors.Is(err, storage.ErrExists):
			return fmt.Errorf("trial of the store: create %s: %w", key, err)
		}
	}
	if winner < 0 {
		return unsuitable("none of %d creates of one new key succeeded", probeRacers)
	}
	if err := bucket.Create(ctx, key, bytes.NewReader([]byte{probeRacers})); !errors.Is(err, storage.ErrExists) {
		return unsuitable("creating a key that exists returned %v, want %v", err, storage.ErrExists)
	}
	raw, err := readAll(ctx, bucket, key, 16)
	if err != nil {
		return fmt.Errorf("trial of the store: %w", err)
	}
	if !bytes.Equal(raw, []byte{byte(winner)}) {
		return unsuitable("an object holds %x after the create of %x succeeded", raw, winner)
	}
	return nil
}
