//go:build !planted

package intent

// planted reports whether a bug is planted (build tag `planted`, test/planted): never, in a build that anybody uses.
func planted(string) bool { return false }
