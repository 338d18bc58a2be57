package pebble

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/beldi/beldi/backends"
)

// A row on disk:
//
//	byte     rowVersion
//	uvarint  number of fields
//	uvarint  length of all names
//	         the names, one behind the other
//	and for each field, in the order of the names:
//	uvarint  length of its name
//	uvarint  0 for an integer, else 1 + the length of the bytes
//	         the integer as a zigzag varint, or the bytes
//
// Names stand together so that reading a row takes three allocations, whatever its length: one string that all names
// are cut from, one copy of the rest that all bytes values are cut from, and the row.
const rowVersion = 1

var errRow = errors.New("not a row that this version wrote")

func appendRow(b []byte, r backends.Row) []byte {
	names := 0
	for i := range r {
		names += len(r[i].Name)
	}
	b = append(b, rowVersion)
	b = binary.AppendUvarint(b, uint64(len(r)))
	b = binary.AppendUvarint(b, uint64(names))
	for i := range r {
		b = append(b, r[i].Name...)
	}
	for i := range r {
		b = binary.AppendUvarint(b, uint64(len(r[i].Name)))
		if v := r[i].Value; v.IsInt() {
			b = append(b, 0)
			b = binary.AppendVarint(b, v.Int)
		} else {
			b = binary.AppendUvarint(b, uint64(len(v.Bytes))+1)
			b = append(b, v.Bytes...)
		}
	}
	return b
}

// rowSize is about how many bytes appendRow takes.
func rowSize(r backends.Row) int {
	n := 8
	for i := range r {
		n += len(r[i].Name) + len(r[i].Value.Bytes) + 8
	}
	return n
}

// decodeRow copies what it keeps of b.
func decodeRow(b []byte) (backends.Row, error) {
	if len(b) == 0 || b[0] != rowVersion {
		return nil, fmt.Errorf("%w: it begins with %x", errRow, b[:min(len(b), 4)])
	}
	in := reader{rest: b[1:]}
	fields, namesLen := in.uvarint(), in.uvarint()
	names := string(in.take(namesLen))
	if fields > uint64(len(in.rest))/2 { // a field has two bytes at least: no allocation by a damaged number
		in.bad = true
	}
	if in.bad {
		return nil, errRow
	}
	in.rest = bytes.Clone(in.rest)
	r := make(backends.Row, fields)
	for i := range r {
		nameLen := in.uvarint()
		if nameLen > uint64(len(names)) {
			return nil, errRow
		}
		r[i].Name, names = names[:nameLen], names[nameLen:]
		if n := in.uvarint(); n == 0 {
			r[i].Value = backends.Int(in.varint())
		} else {
			r[i].Value = backends.Bytes(in.take(n - 1))
		}
		if in.bad || i > 0 && r[i-1].Name >= r[i].Name {
			return nil, errRow
		}
	}
	if len(names) > 0 || len(in.rest) > 0 {
		return nil, errRow
	}
	return r, nil
}

// reader cuts pieces off its rest; it is bad once a piece was missing.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad = true
		return
	}
	r.rest = r.rest[n:]
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	piece := r.rest[:n:n]
	r.rest = r.rest[n:]
	return piece
}
