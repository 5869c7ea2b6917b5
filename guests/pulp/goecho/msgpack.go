package main

import (
	"encoding/binary"
	"errors"
	"math"
)

// As much MessagePack as a cell needs: maps with string keys, arrays, text, bytes, numbers.

func encode(value any) []byte { return appendValue(nil, value) }

func appendValue(out []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(out, 0xc0)
	case bool:
		if v {
			return append(out, 0xc3)
		}
		return append(out, 0xc2)
	case int64:
		return binary.BigEndian.AppendUint64(append(out, 0xd3), uint64(v))
	case uint64:
		return binary.BigEndian.AppendUint64(append(out, 0xcf), v)
	case uint32:
		return binary.BigEndian.AppendUint32(append(out, 0xce), v)
	case float64:
		return binary.BigEndian.AppendUint64(append(out, 0xcb), math.Float64bits(v))
	case string:
		return append(binary.BigEndian.AppendUint32(append(out, 0xdb), uint32(len(v))), v...)
	case []byte:
		return append(binary.BigEndian.AppendUint32(append(out, 0xc6), uint32(len(v))), v...)
	case []any:
		out = binary.BigEndian.AppendUint32(append(out, 0xdd), uint32(len(v)))
		for _, item := range v {
			out = appendValue(out, item)
		}
		return out
	case map[string]any:
		out = binary.BigEndian.AppendUint32(append(out, 0xdf), uint32(len(v)))
		for key, item := range v {
			out = appendValue(appendValue(out, key), item)
		}
		return out
	}
	panic("msgpack: a type without encoding")
}

var errShort = errors.New("msgpack: malformed")

type reader struct{ rest []byte }

func decode(data []byte) (any, error) {
	r := &reader{data}
	return r.value()
}

func (r *reader) take(n uint64) ([]byte, error) {
	if uint64(len(r.rest)) < n {
		return nil, errShort
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken, nil
}

func (r *reader) number(size int) (uint64, error) {
	raw, err := r.take(uint64(size))
	var value uint64
	for _, b := range raw {
		value = value<<8 | uint64(b)
	}
	return value, err
}

func (r *reader) value() (any, error) {
	head, err := r.take(1)
	if err != nil {
		return nil, err
	}
	tag := head[0]
	switch {
	case tag < 0x80:
		return int8(tag), nil
	case tag >= 0xe0:
		return int8(tag), nil
	case tag < 0x90:
		return r.table(uint64(tag & 15))
	case tag < 0xa0:
		return r.list(uint64(tag & 15))
	case tag < 0xc0:
		return r.text(uint64(tag & 31))
	}
	switch tag {
	case 0xc0:
		return nil, nil
	case 0xc2, 0xc3:
		return tag == 0xc3, nil
	case 0xcb:
		bits, err := r.number(8)
		return math.Float64frombits(bits), err
	case 0xcc:
		n, err := r.number(1)
		return uint8(n), err
	case 0xcd:
		n, err := r.number(2)
		return uint16(n), err
	case 0xce:
		n, err := r.number(4)
		return uint32(n), err
	case 0xcf:
		return r.number(8)
	case 0xd3:
		n, err := r.number(8)
		return int64(n), err
	}
	if width := map[byte]int{0xc4: 1, 0xc5: 2, 0xc6: 4}[tag]; width > 0 {
		size, err := r.number(width)
		if err != nil {
			return nil, err
		}
		return r.take(size)
	}
	widths := map[byte]int{0xd9: 1, 0xda: 2, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}
	width, known := widths[tag]
	if !known {
		return nil, errShort
	}
	size, err := r.number(width)
	switch {
	case err != nil:
		return nil, err
	case tag <= 0xdb:
		return r.text(size)
	case tag <= 0xdd:
		return r.list(size)
	}
	return r.table(size)
}

func (r *reader) text(size uint64) (any, error) {
	raw, err := r.take(size)
	return string(raw), err
}

func (r *reader) list(size uint64) (any, error) {
	var items []any
	for ; size > 0; size-- {
		item, err := r.value()
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (r *reader) table(size uint64) (any, error) {
	entries := map[string]any{}
	for ; size > 0; size-- {
		key, err := r.value()
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok {
			return nil, errShort
		}
		if entries[name], err = r.value(); err != nil {
			return nil, err
		}
	}
	return entries, nil
}
