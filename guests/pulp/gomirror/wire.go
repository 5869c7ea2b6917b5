package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
)

// Just enough MessagePack for what the host says and wants to hear.

func pack(out []byte, value any) []byte {
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
	case string:
		return append(binary.BigEndian.AppendUint32(append(out, 0xdb), uint32(len(v))), v...)
	case []byte:
		return append(binary.BigEndian.AppendUint32(append(out, 0xc6), uint32(len(v))), v...)
	case []any:
		out = binary.BigEndian.AppendUint32(append(out, 0xdd), uint32(len(v)))
		for _, item := range v {
			out = pack(out, item)
		}
		return out
	case map[string]any:
		out = binary.BigEndian.AppendUint32(append(out, 0xdf), uint32(len(v)))
		keys := make([]string, 0, len(v))
		for key := range v {
			keys = append(keys, key)
		}
		sort.Strings(keys)
		for _, key := range keys {
			out = pack(pack(out, key), v[key])
		}
		return out
	}
	panic(fmt.Sprintf("cannot pack %T", value))
}

type unpacker struct{ rest []byte }

func (u *unpacker) take(n int) []byte {
	piece := u.rest[:n] // panics beyond the end, which `step` recovers from
	u.rest = u.rest[n:]
	return piece
}

func (u *unpacker) size(width int) int {
	size := 0
	for _, b := range u.take(width) {
		size = size<<8 | int(b)
	}
	return size
}

func (u *unpacker) value() any {
	tag := u.take(1)[0]
	switch {
	case tag < 0x80:
		return int64(tag)
	case tag < 0x90:
		return u.table(int(tag & 15))
	case tag < 0xa0:
		return u.list(int(tag & 15))
	case tag < 0xc0:
		return string(u.take(int(tag & 31)))
	case tag >= 0xe0:
		return int64(int8(tag))
	}
	switch tag {
	case 0xc0:
		return nil
	case 0xc2, 0xc3:
		return tag == 0xc3
	case 0xc4, 0xc5, 0xc6:
		return append([]byte(nil), u.take(u.size(1<<(tag-0xc4)))...)
	case 0xcb:
		return math.Float64frombits(binary.BigEndian.Uint64(u.take(8)))
	case 0xcc, 0xcd, 0xce, 0xcf:
		return uint64(u.size(1 << (tag - 0xcc)))
	case 0xd0, 0xd1, 0xd2, 0xd3:
		width := 1 << (tag - 0xd0)
		return int64(u.size(width)) << (64 - 8*width) >> (64 - 8*width)
	case 0xd9, 0xda, 0xdb:
		return string(u.take(u.size(1 << (tag - 0xd9))))
	case 0xdc, 0xdd:
		return u.list(u.size(2 << (tag - 0xdc)))
	case 0xde, 0xdf:
		return u.table(u.size(2 << (tag - 0xde)))
	}
	panic(fmt.Sprintf("cannot unpack %#x", tag))
}

func (u *unpacker) list(n int) []any {
	list := []any{}
	for ; n > 0; n-- {
		list = append(list, u.value())
	}
	return list
}

func (u *unpacker) table(n int) map[string]any {
	table := map[string]any{}
	for ; n > 0; n-- {
		key, _ := u.value().(string)
		table[key] = u.value()
	}
	return table
}

func unpack(data []byte) map[string]any {
	table, _ := (&unpacker{data}).value().(map[string]any)
	return table
}
