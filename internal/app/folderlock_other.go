//go:build !unix

package app

import (
	"os"

	"sallyport/internal/fault"
)

func lockFile(*os.File, bool) error {
	return fault.New("app.places", fault.Unsupported, "there are no sessions on this system")
}
