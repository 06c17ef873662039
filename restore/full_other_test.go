//go:build !linux

package restore_test

import "errors"

const fullEnv = "TIDEMARK_TEST_RESTORE_FULL"

func fullRestore(string, string) error { return errors.ErrUnsupported }
