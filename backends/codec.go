package backends

import (
	"errors"
	"strings"
)

// Tuple joins parts into one string such that the order of tuples is the order of their parts, different tuples
// never collide, and a tuple is never a proper prefix of another tuple of as many parts. Any bytes may stand in a part.
//
// Each part is written with 0x00 escaped as 0x00 0xFF, and ended by 0x00 0x01. (Length prefixes would be shorter,
// but would put "b" before "aa": List promises byte order.)
func Tuple(parts ...string) string {
	n := 0
	for _, p := range parts {
		n += len(p) + 2 + strings.Count(p, "\x00")
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = appendPart(b, p)
		b = append(b, 0, 1)
	}
	return string(b)
}

// TuplePrefix is the common prefix of all tuples that begin with the parts and go on with one that begins with last.
func TuplePrefix(last string, parts ...string) string {
	return string(appendPart([]byte(Tuple(parts...)), last))
}

func appendPart(b []byte, p string) []byte {
	for i := 0; i < len(p); i++ {
		b = append(b, p[i])
		if p[i] == 0 {
			b = append(b, 0xFF)
		}
	}
	return b
}

// ErrNotTuple is what ParseTuple says of anything that Tuple did not make.
var ErrNotTuple = errors.New("backends: not a tuple")

// ParseTuple is the inverse of Tuple.
func ParseTuple(s string) ([]string, error) {
	var parts []string
	for len(s) > 0 {
		var b []byte
		for {
			i := strings.IndexByte(s, 0)
			if i < 0 || i+1 >= len(s) {
				return nil, ErrNotTuple
			}
			b = append(b, s[:i]...)
			mark := s[i+1]
			s = s[i+2:]
			if mark == 1 {
				break
			}
			if mark != 0xFF {
				return nil, ErrNotTuple
			}
			b = append(b, 0)
		}
		parts = append(parts, string(b))
	}
	return parts, nil
}
