// A cell that takes its time to start: `pulp_init` fills a dictionary, siblings look words up in it.
package main

import (
	"fmt"
	"os"
	"strings"
	"text/template"
	"unsafe"
)

var (
	dictionary      = map[string]int{}
	page            *template.Template
	initialisations int
	// Blocks that the host still needs.
	blocks = map[uint32][]byte{}
)

func main() {}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 {
	block := make([]byte, size)
	address := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(block))))
	blocks[address] = block
	return address
}

//go:wasmexport pulp_free
func free(ptr, size uint32) { delete(blocks, ptr) }

func bytesAt(ptr, length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), length)
}

//go:wasmexport pulp_init
func initCell(ptr, length uint32) uint32 {
	initialisations++
	for i := range 50_000 {
		dictionary[fmt.Sprintf("word%d", i)] = i
	}
	page = template.Must(template.New("page").Parse("{{.Word}} is {{.Value}} of {{.Count}}, initialised {{.Times}}x"))
	if strings.Contains(string(bytesAt(ptr, length)), "shout") {
		fmt.Fprintln(os.Stdout, "initialised")
	}
	return 0
}

//go:wasmexport pulp_step
func step(ptr, length uint32) uint32 { return 0 }

//go:wasmexport pulp_shutdown
func shutdown() uint32 { return 0 }

//go:wasmexport pulp_on_call
func call(namePtr, nameLen, argsPtr, argsLen, ptrOut, lenOut uint32) uint32 {
	word := string(bytesAt(argsPtr, argsLen))
	var text strings.Builder
	err := page.Execute(&text, map[string]any{
		"Word": word, "Value": dictionary[word], "Count": len(dictionary), "Times": initialisations,
	})
	if err != nil {
		return 11
	}
	block := alloc(uint32(text.Len()))
	copy(bytesAt(block, uint32(text.Len())), text.String())
	*(*uint32)(unsafe.Pointer(uintptr(ptrOut))) = block
	*(*uint32)(unsafe.Pointer(uintptr(lenOut))) = uint32(text.Len())
	return 0
}
