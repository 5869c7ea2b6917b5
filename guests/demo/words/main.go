// Command words is a Pulp cell that tells the most frequent words of a text; siblings call it by name.
package main

import (
	"encoding/json"
	"sort"
	"strings"
	"unicode"
	"unsafe"
)

const (
	ok         = 0
	noFunction = 10
	shortest   = 4 // letters: shorter words say little
	howMany    = 5
)

// Blocks that the host or a sibling holds, so that the garbage collector leaves them where they are.
var blocks = map[uint32][]byte{}

type entry struct {
	Word  string `json:"word"`
	Times int    `json:"times"`
}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 {
	block := make([]byte, max(size, 1))
	address := uint32(uintptr(unsafe.Pointer(&block[0])))
	blocks[address] = block
	return address
}

//go:wasmexport pulp_free
func free(address, _ uint32) { delete(blocks, address) }

//go:wasmexport pulp_init
func start(_, _ uint32) uint32 { return ok }

//go:wasmexport pulp_step
func step(_, _ uint32) uint32 { return ok }

//go:wasmexport pulp_shutdown
func stop() uint32 { return ok }

//go:wasmexport pulp_on_call
func call(name, nameLength, args, argsLength, replyOut, replyLengthOut uint32) uint32 {
	if string(at(name, nameLength)) != "top" {
		return noFunction
	}
	reply, err := json.Marshal(top(string(at(args, argsLength))))
	if err != nil {
		return 1
	}
	address := alloc(uint32(len(reply)))
	copy(blocks[address], reply)
	*(*uint32)(pointer(replyOut)) = address
	*(*uint32)(pointer(replyLengthOut)) = uint32(len(reply))
	return ok
}

func top(text string) []entry {
	times := map[string]int{}
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) }) {
		if len(word) >= shortest {
			times[strings.ToLower(word)]++
		}
	}
	found := make([]entry, 0, len(times))
	for word, n := range times {
		found = append(found, entry{word, n})
	}
	sort.Slice(found, func(i, j int) bool {
		if found[i].Times != found[j].Times {
			return found[i].Times > found[j].Times
		}
		return found[i].Word < found[j].Word
	})
	return found[:min(howMany, len(found))]
}

func pointer(address uint32) unsafe.Pointer { return unsafe.Pointer(uintptr(address)) }

func at(address, length uint32) []byte { return unsafe.Slice((*byte)(pointer(address)), length) }

func main() {}
