package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidemarkdb/tidemark/storage"
)

// trickyKeys sort differently as whole keys and directory by directory.
var trickyKeys = []string{
	"a-b", "a/b", "a.b", "a0", "a/b-c", "a/b.c", "a/c", "a-b.c", "a-/x", "a_/x",
	"A/b", "Z", "b/c/d/e", "b/c/d-e", "b/c-d/e", "b-c/d/e", "b/c0", "b0/c", "b/c/d0/e", "b/c/d.e/f",
	"t/log/0000000000000001-0000000000000002-x", "t/log/0000000000000003-0000000000000009-y",
	"t/manifest/0000000000000001.json", "t/manifest/0000000000000002.json", "t-2/manifest/0000000000000001.json",
	"tidemark.json", "0", "9", "_", "-", "-/-", "_a/-", "_a/0/-", "_a-",
}

// storable drops keys that are a directory of another.
func storable(keys []string) []string {
	sorted := slices.Sorted(slices.Values(keys))
	return slices.DeleteFunc(slices.Compact(sorted), func(k string) bool {
		return slices.ContainsFunc(sorted, func(other string) bool { return strings.HasPrefix(other, k+"/") })
	})
}

// expected is what List must yield of keys, which are sorted.
func expected(keys []string, prefix, after string) []string {
	want := []string{}
	for _, k := range keys {
		if strings.HasPrefix(k, prefix) && k > after {
			want = append(want, k)
		}
	}
	return want
}

func testListEmpty(t *testing.T, b storage.Bucket) {
	for _, prefix := range []string{"", "a", "a/", "a/b/c"} {
		if got := list(t, b, prefix, ""); len(got) != 0 {
			t.Errorf("list prefix %q of an empty bucket: %q", prefix, got)
		}
	}
}

// testListOrder compares List with a sorted slice for every prefix and every
// position that the tricky keys give rise to.
func testListOrder(t *testing.T, b storage.Bucket) {
	keys := storable(trickyKeys)
	sizes := map[string]int64{}
	for i, k := range keys {
		// Created in an order that is not theirs.
		k = keys[(i*7+3)%len(keys)]
		if _, ok := sizes[k]; ok {
			t.Fatalf("%d tricky keys: the order of creation needs a step without common divisor", len(keys))
		}
		put(t, b, k, make([]byte, i))
		sizes[k] = int64(i)
	}
	cuts := []string{"", "/", ".", "..", ".tmp/", "a//", "~", "b/c/", "nothing/here/", "a/b/c/"}
	for _, k := range keys {
		cuts = append(cuts, k, k+"/", k[:len(k)-1], k[:(len(k)+1)/2], k+"0")
	}
	cuts = slices.Compact(slices.Sorted(slices.Values(cuts)))
	for _, prefix := range cuts {
		want := expected(keys, prefix, "")
		if diff := cmp.Diff(want, list(t, b, prefix, "")); diff != "" {
			t.Fatalf("list prefix %q (-want +got):\n%s", prefix, diff)
		}
		if len(prefix) > 3 && len(want) == 0 {
			continue
		}
		for _, after := range cuts {
			if diff := cmp.Diff(expected(keys, prefix, after), list(t, b, prefix, after)); diff != "" {
				t.Fatalf("list prefix %q after %q (-want +got):\n%s", prefix, after, diff)
			}
		}
	}
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil || info.Size != sizes[info.Key] {
			t.Errorf("list yields %s with %d bytes, %v; want %d", info.Key, info.Size, err, sizes[info.Key])
		}
	}
}

func testListThousands(t *testing.T, b storage.Bucket) {
	const objects = 2100
	var keys []string
	for i := range objects {
		key := fmt.Sprintf("t/manifest/%016x.json", i)
		if i%3 == 0 {
			key = fmt.Sprintf("t/log/%016x-%016x-n%d", i, i+2, i)
		}
		keys = append(keys, key)
	}
	inParallel(t, 16, objects, func(i int) error {
		return b.Create(t.Context(), keys[i], strings.NewReader("x"))
	})
	slices.Sort(keys)
	for _, after := range []string{"", keys[10], keys[objects/2], keys[objects-1], "t/m", "t/log/~", "zzz"} {
		for _, prefix := range []string{"", "t/log/", "t/manifest/00000000000002"} {
			if diff := cmp.Diff(expected(keys, prefix, after), list(t, b, prefix, after)); diff != "" {
				t.Fatalf("list prefix %q after %q (-want +got):\n%s", prefix, after, diff)
			}
		}
	}
}

// testListStopped checks that a listing may be left, resumed after its last
// key, ranged over twice, and used while objects come and go.
func testListStopped(t *testing.T, b storage.Bucket) {
	keys := []string{"a/1", "a/2", "b-", "b/1", "b/2", "c"}
	for _, k := range keys {
		put(t, b, k, []byte(k))
	}
	var got []string
	after := ""
	for range keys {
		for info, err := range b.List(t.Context(), "", after) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
			after = info.Key
			break
		}
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Fatalf("one by one (-want +got):\n%s", diff)
	}
	seq := b.List(t.Context(), "", "")
	for round := range 2 {
		got = nil
		for info, err := range seq {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if diff := cmp.Diff(keys, got); diff != "" {
			t.Fatalf("round %d (-want +got):\n%s", round, diff)
		}
	}
	// Deleting what is listed must neither block nor hide what is not deleted.
	got = nil
	for info, err := range b.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, info.Key)
		if err := b.Delete(t.Context(), info.Key); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(keys, got); diff != "" {
		t.Fatalf("while deleting (-want +got):\n%s", diff)
	}
}
