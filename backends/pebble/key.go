package pebble

import (
	"bytes"
	"fmt"

	"github.com/beldi/beldi/backends"
)

// A key on disk is the kind, one byte, then Tuple(part), then sort as it is: their order is that of (Kind, Part, Sort),
// and the rows of a partition, and the partitions of a prefix, are neighbours.

func encodeKey(k backends.Key) []byte {
	part := backends.Tuple(k.Part)
	b := make([]byte, 0, 1+len(part)+len(k.Sort))
	b = append(b, byte(k.Kind))
	b = append(b, part...)
	return append(b, k.Sort...)
}

// endOfPart ends a tuple's part; it does not occur inside (see backends.Tuple).
var endOfPart = []byte{0, 1}

func decodeKey(b []byte) (backends.Key, error) {
	at := bytes.Index(b, endOfPart)
	if at < 1 {
		return backends.Key{}, fmt.Errorf("key %q: %w", b, backends.ErrNotTuple)
	}
	at += len(endOfPart)
	parts, err := backends.ParseTuple(string(b[1:at]))
	if err != nil {
		return backends.Key{}, fmt.Errorf("key %q: %w", b, err)
	}
	return backends.Key{Kind: backends.Kind(b[0]), Part: parts[0], Sort: string(b[at:])}, nil
}

// queryBounds and scanBounds are the keys that a Range means: from lo, and below hi.
func queryBounds(r backends.Range) (lo, hi []byte) {
	return bounds(r, encodeKey(backends.Key{Kind: r.Kind, Part: r.Part, Sort: r.Prefix}))
}

func scanBounds(r backends.Range) (lo, hi []byte) {
	return bounds(r, append([]byte{byte(r.Kind)}, backends.TuplePrefix(r.Part)...))
}

func bounds(r backends.Range, prefix []byte) (lo, hi []byte) {
	lo, hi = prefix, successor(prefix)
	if r.After == (backends.Key{}) {
		return lo, hi
	}
	after := encodeKey(r.After)
	if r.Descending {
		return lo, least(hi, after)
	}
	return greatest(lo, append(after, 0)), hi // the first key behind after
}

func least(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}

func greatest(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}

// successor is the first key behind all that begin with prefix. There is one, since no kind is 0xFF. (bytes.TrimRight
// would take 0xFE off, too: it reads both as broken UTF-8.)
func successor(prefix []byte) []byte {
	n := len(prefix)
	for prefix[n-1] == 0xFF {
		n--
	}
	end := bytes.Clone(prefix[:n])
	end[n-1]++
	return end
}
