//go:build planted

package intent

import "os"

var bug = os.Getenv("BELDI_PLANTED_BUG")

func planted(name string) bool { return bug == name }
