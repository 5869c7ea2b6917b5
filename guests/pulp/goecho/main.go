// Echo over HTTP in Go, standard library only: GET returns the captured word, POST the body.
//
// The allocator is the simplest that a Go author writes: it returns the address of a slice that nothing
// refers to. Go 1.25 and later may keep small ones on the stack (spec/pulp.md 2.3, item 8).
package main

import (
	"fmt"
	"unsafe"
)

//go:wasmimport pulp http_register
func httpRegister(ptr, length uint32) uint32

//go:wasmimport pulp http_respond
func httpRespond(ptr, length uint32) uint32

func main() {}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 {
	block := make([]byte, size)
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(block))))
}

//go:wasmexport pulp_free
func free(ptr, size uint32) {}

func bytesAt(ptr, length uint32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), length)
}

func address(data []byte) (uint32, uint32) {
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(data)))), uint32(len(data))
}

var prefix string

//go:wasmexport pulp_init
func initCell(ptr, length uint32) uint32 {
	if length > 0 {
		config, err := decode(bytesAt(ptr, length))
		if err != nil {
			return 3
		}
		table, ok := config.(map[string]any)
		if !ok {
			return 4
		}
		prefix, _ = table["prefix"].(string)
	}
	for _, route := range [][2]string{{"GET", "/echo/:word"}, {"POST", "/echo"}} {
		request := encode(map[string]any{"method": route[0], "path": route[1]})
		if code := httpRegister(address(request)); code != 0 {
			return code
		}
	}
	return 0
}

//go:wasmexport pulp_step
func step(ptr, length uint32) uint32 {
	envelope := bytesAt(ptr, length)
	if length <= 20 {
		return 0
	}
	decoded, err := decode(append([]byte(nil), envelope[20:]...))
	event, ok := decoded.(map[string]any)
	if err != nil || !ok || event["kind"] != "http.request" {
		return 2
	}
	request, ok := event["payload"].(map[string]any)
	if !ok {
		return 3
	}
	body, _ := request["body"].([]byte)
	if params, ok := request["params"].(map[string]any); ok && request["method"] == "GET" {
		word, _ := params["word"].(string)
		body = []byte(prefix + word)
		fmt.Println("echoing", word)
	}
	reply := encode(map[string]any{
		"id": request["id"], "status": uint32(200), "body": body,
		"headers": map[string]any{"content-type": "text/plain", "X-Cell": "go"},
		"cookies": []any{"a=1; Path=/", "b=2"},
	})
	return httpRespond(address(reply))
}

//go:wasmexport pulp_shutdown
func shutdown() uint32 { return 0 }
