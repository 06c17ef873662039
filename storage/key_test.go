package storage

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckKey(t *testing.T) {
	segment := strings.Repeat("s", MaxSegmentLen)
	for _, key := range []string{"a", "A/b.c/d_e-f", "-", "_", "0", "a..b", segment, segment + "/" + segment} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%.40q: %v", key, err)
		}
	}
	bad := map[string]string{
		"":                                      "is empty",
		"/":                                     `segment "" is empty`,
		"a//b":                                  `segment "" is empty`,
		"a/":                                    `segment "" is empty`,
		"a/../b":                                `segment ".." starts with a dot`,
		"a/.b":                                  `segment ".b" starts with a dot`,
		"a./b":                                  `segment "a." ends with a dot`,
		"a/b c":                                 `segment "b c" holds ' '`,
		"a\\b":                                  `holds '\\'`,
		segment + "s":                           "has 201 bytes, at most 200",
		strings.Repeat("s/", MaxKeyLen/2) + "s": "has 801 bytes, at most 800",
	}
	for key, want := range bad {
		if err := CheckKey(key); !errors.Is(err, ErrBadKey) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want ErrBadKey with %q", key, err, want)
		}
	}
}
