//go:build unix && !linux && !darwin

package storage

import (
	"errors"
	"os"
)

// renameExclusively says that there is no exclusive rename here.
func renameExclusively(*os.File, string, *os.File, string) error { return errors.ErrUnsupported }
