// Counts its steps and shows the marker of its configuration through the probes; standard library only.
package main

import (
	"bytes"
	"encoding/binary"
	"unsafe"
)

var marker, lastCall int64

func main() {}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 {
	block := make([]byte, size)
	return uint32(uintptr(unsafe.Pointer(unsafe.SliceData(block))))
}

//go:wasmexport pulp_free
func free(ptr, size uint32) {}

// Finds the key in the configuration and reads the full-width integer behind it.
//
//go:wasmexport pulp_init
func initCell(ptr, length uint32) uint32 {
	if length == 0 {
		return 0
	}
	config := unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), length)
	_, after, found := bytes.Cut(config, []byte("\xa6marker\xd3"))
	if found && len(after) >= 8 {
		marker = int64(binary.BigEndian.Uint64(after))
	}
	return 0
}

//go:wasmexport pulp_step
func step(ptr, length uint32) uint32 {
	envelope := unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), length)
	lastCall = int64(binary.LittleEndian.Uint64(envelope))
	return 0
}

//go:wasmexport pulp_shutdown
func shutdown() uint32 { return 0 }

//go:wasmexport probe_last_call
func probeLastCall() int64 { return lastCall }

//go:wasmexport probe_config_marker
func probeConfigMarker() int64 { return marker }
