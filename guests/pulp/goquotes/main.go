// Two cells of one module: `quotes` provides, `desk` consumes.
//
// `quotes.list` answers with a tree of records that is read in place and given back by `pulp_post_return`;
// `quotes.best` answers with plain bytes, which is what siblings get. `desk.report` asks `quotes` for them.
// Written from the description of the interface alone, with the standard library only.
package main

import (
	"encoding/binary"
	"unsafe"
)

//go:wasmimport pulp pulp_call
func pulpCall(target, targetSize, name, nameSize, args, argsSize, ptrOut, sizeOut uint32) int32

var blocks = map[uint32][]byte{}

func place(data []byte) uint32 {
	if len(data) == 0 {
		return 0
	}
	ptr := uint32(uintptr(unsafe.Pointer(&data[0])))
	blocks[ptr] = data
	return ptr
}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 { return place(make([]byte, max(size, 1))) }

//go:wasmexport pulp_free
func free(ptr, _ uint32) { delete(blocks, ptr) }

//go:wasmexport probe_alloc_live
func live() int32 { return int32(len(blocks)) }

func at(ptr, size uint32) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), size) }

func main() {}

//go:wasmexport pulp_init
func initCell(_, _ uint32) int32 { return 0 }

//go:wasmexport pulp_step
func step(_, _ uint32) int32 { return 0 }

//go:wasmexport pulp_shutdown
func shutdown() int32 { return 0 }

type quote struct {
	name  string
	cents int64
}

var quotes = []quote{{"apple", 120}, {"pear", 95}, {"quince", 310}}

// tree lays the quotes out: count and pointer of the records; a record is pointer, size, price.
func tree() []byte {
	records := []byte{}
	for _, each := range quotes {
		records = binary.LittleEndian.AppendUint32(records, place([]byte(each.name)))
		records = binary.LittleEndian.AppendUint32(records, uint32(len(each.name)))
		records = binary.LittleEndian.AppendUint64(records, uint64(each.cents))
	}
	root := binary.LittleEndian.AppendUint32(nil, uint32(len(quotes)))
	return binary.LittleEndian.AppendUint32(root, place(records))
}

//go:wasmexport pulp_post_return
func postReturn(ptr, size uint32) {
	root := append([]byte(nil), at(ptr, size)...)
	count, records := binary.LittleEndian.Uint32(root), binary.LittleEndian.Uint32(root[4:])
	for number := range count {
		free(binary.LittleEndian.Uint32(at(records+16*number, 4)), 0)
	}
	free(records, 0)
	free(ptr, 0)
}

func best() []byte {
	lowest := quotes[0]
	for _, each := range quotes {
		if each.cents < lowest.cents {
			lowest = each
		}
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(lowest.cents)), lowest.name...)
}

func ask(target, name string) (int32, []byte) {
	out := new([2]uint32)
	here := uint32(uintptr(unsafe.Pointer(out)))
	who, what := []byte(target), []byte(name)
	code := pulpCall(uint32(uintptr(unsafe.Pointer(&who[0]))), uint32(len(who)),
		uint32(uintptr(unsafe.Pointer(&what[0]))), uint32(len(what)), 0, 0, here, here+4)
	data := append([]byte(nil), blocks[out[0]][:out[1]]...)
	free(out[0], 0)
	return code, data
}

//go:wasmexport pulp_on_call
func onCall(name, nameSize, _, _, ptrOut, sizeOut uint32) int32 {
	var response []byte
	switch string(at(name, nameSize)) {
	case "quotes.list":
		response = tree()
	case "quotes.best":
		response = best()
	case "desk.report":
		code, data := ask("quotes", "quotes.best")
		if code != 0 {
			return 20 + code
		}
		response = append([]byte("best: "), data[8:]...)
	default:
		return 10
	}
	binary.LittleEndian.PutUint32(at(ptrOut, 4), place(response))
	binary.LittleEndian.PutUint32(at(sizeOut, 4), uint32(len(response)))
	return 0
}
