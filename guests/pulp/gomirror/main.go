// A mirror: fetches pages, keeps them as files, and remembers in a database what it has.
//
//	POST /pages          the body is a URL: fetch and keep it
//	GET  /pages          what is kept, newest first
//	GET  /pages/:id      a page, from its file
//	GET  /through?url=U  a page as it arrives, kept nowhere
//
// Written from the description of the interface alone, with the standard library only.
package main

import (
	"fmt"
	"strings"
	"unsafe"
)

//go:wasmimport pulp http_register
func httpRegister(ptr, size uint32) int32

//go:wasmimport pulp http_respond
func httpRespond(ptr, size uint32) int32

//go:wasmimport pulp http_respond_stream
func httpRespondStream(ptr, size uint32) int32

//go:wasmimport pulp http_fetch
func httpFetch(ptr, size, ptrOut, sizeOut uint32) int32

//go:wasmimport pulp http_fetch_begin
func httpFetchBegin(ptr, size, ptrOut, sizeOut uint32) int32

//go:wasmimport pulp sqlite_exec
func sqliteExec(sql, sqlSize, params, paramsSize, ptrOut, sizeOut uint32) int32

//go:wasmimport pulp sqlite_query
func sqliteQuery(sql, sqlSize, params, paramsSize, ptrOut, sizeOut uint32) int32

//go:wasmimport pulp fs_write
func fsWrite(path, pathSize, data, dataSize, request, requestSize uint32) int32

//go:wasmimport pulp fs_read
func fsRead(path, pathSize, ptrOut, sizeOut uint32) int32

// Blocks that the host has asked for; the map keeps them alive and in place.
var blocks = map[uint32][]byte{}

//go:wasmexport pulp_alloc
func alloc(size uint32) uint32 {
	block := make([]byte, max(size, 1))
	ptr := uint32(uintptr(unsafe.Pointer(&block[0])))
	blocks[ptr] = block
	return ptr
}

//go:wasmexport pulp_free
func free(ptr, _ uint32) { delete(blocks, ptr) }

//go:wasmexport probe_alloc_live
func live() int32 { return int32(len(blocks)) }

func ref[T ~string | ~[]byte](data T) (uint32, uint32) {
	bytes := []byte(data)
	if len(bytes) == 0 {
		return 0, 0
	}
	return uint32(uintptr(unsafe.Pointer(&bytes[0]))), uint32(len(bytes))
}

// reply runs an import that leaves a block, and takes the block over.
func reply(call func(ptrOut, sizeOut uint32) int32) (int32, []byte) {
	out := new([2]uint32)
	at := uint32(uintptr(unsafe.Pointer(out)))
	code := call(at, at+4)
	data := append([]byte(nil), blocks[out[0]][:out[1]]...)
	free(out[0], 0)
	return code, data
}

func fetch(import_ func(ptr, size, ptrOut, sizeOut uint32) int32, url string) (int32, map[string]any) {
	ptr, size := ref(pack(nil, map[string]any{"method": "GET", "url": url}))
	code, data := reply(func(a, b uint32) int32 { return import_(ptr, size, a, b) })
	if code != 0 {
		return code, nil
	}
	return 0, unpack(data)
}

func sql(import_ func(a, b, c, d, e, f uint32) int32, text string, values ...any) (int32, map[string]any) {
	textPtr, textSize := ref(text)
	valuesPtr, valuesSize := ref(pack(nil, values))
	code, data := reply(func(a, b uint32) int32 {
		return import_(textPtr, textSize, valuesPtr, valuesSize, a, b)
	})
	return code, unpack(data)
}

func main() {}

//go:wasmexport pulp_init
func initCell(_, _ uint32) int32 {
	if code, _ := sql(sqliteExec, `CREATE TABLE IF NOT EXISTS pages (id INTEGER PRIMARY KEY, url TEXT UNIQUE, size INTEGER)`); code != 0 {
		return 100 + code
	}
	for _, route := range []string{"POST /pages", "GET /pages", "GET /pages/:id", "GET /through"} {
		method, path, _ := strings.Cut(route, " ")
		if code := httpRegister(ref(pack(nil, map[string]any{"method": method, "path": path}))); code != 0 {
			return 200 + code
		}
	}
	return 0
}

//go:wasmexport pulp_shutdown
func shutdown() int32 { return 0 }

//go:wasmexport pulp_step
func step(ptr, size uint32) (code int32) {
	if size <= 20 {
		return 0
	}
	defer func() {
		if problem := recover(); problem != nil {
			fmt.Println("step failed:", problem)
			code = 1
		}
	}()
	envelope := unsafe.Slice((*byte)(unsafe.Pointer(uintptr(ptr))), size)
	event := unpack(envelope[20:])
	if request, ok := event["payload"].(map[string]any); ok && event["kind"] == "http.request" {
		handle(request)
	}
	return 0
}

func handle(request map[string]any) {
	query, _ := request["query"].(map[string]any)
	params, _ := request["params"].(map[string]any)
	switch {
	case request["path"] == "/through":
		url, _ := query["url"].(string)
		through(request, url)
	case request["method"] == "POST":
		body, _ := request["body"].([]byte)
		keep(request, string(body))
	case params["id"] != nil:
		show(request, fmt.Sprint(params["id"]))
	default:
		list(request)
	}
}

func answer(request map[string]any, status uint32, kind string, body []byte) {
	httpRespond(ref(pack(nil, map[string]any{
		"id": request["id"], "status": status, "headers": map[string]any{"Content-Type": kind}, "body": body,
	})))
}

func fail(request map[string]any, status uint32, what string, code int32) {
	answer(request, status, "text/plain", []byte(fmt.Sprintf("%s: %d", what, code)))
}

func keep(request map[string]any, url string) {
	code, page := fetch(httpFetch, url)
	if code != 0 {
		fail(request, 502, "fetch", code)
		return
	}
	body, _ := page["body"].([]byte)
	code, done := sql(sqliteExec, "INSERT INTO pages (url, size) VALUES (?, ?)", url, int64(len(body)))
	if code == 13 {
		fail(request, 409, "kept already", code)
		return
	}
	if code != 0 {
		fail(request, 500, fmt.Sprint("database: ", done["error"]), code)
		return
	}
	path, pathSize := ref(fmt.Sprintf("pages/%d", done["last_insert_id"]))
	data, dataSize := ref(body)
	if code := fsWrite(path, pathSize, data, dataSize, 0, 0); code != 0 {
		sql(sqliteExec, "DELETE FROM pages WHERE id = ?", done["last_insert_id"])
		fail(request, 507, "file", code)
		return
	}
	answer(request, 201, "text/plain", []byte(fmt.Sprint(done["last_insert_id"])))
}

func show(request map[string]any, id string) {
	path, pathSize := ref("pages/" + id)
	code, data := reply(func(a, b uint32) int32 { return fsRead(path, pathSize, a, b) })
	if code != 0 {
		fail(request, 404, "file", code)
		return
	}
	answer(request, 200, "application/octet-stream", data)
}

func list(request map[string]any) {
	_, found := sql(sqliteQuery, "SELECT id, url, size FROM pages ORDER BY id DESC")
	var lines strings.Builder
	rows, _ := found["rows"].([]any)
	for _, row := range rows {
		cells := row.([]any)
		fmt.Fprintf(&lines, "%d %s %d\n", cells[0].(int64), cells[1], cells[2].(int64))
	}
	answer(request, 200, "text/plain", []byte(lines.String()))
}

func through(request map[string]any, url string) {
	code, head := fetch(httpFetchBegin, url)
	if code != 0 {
		fail(request, 502, "fetch", code)
		return
	}
	httpRespondStream(ref(pack(nil, map[string]any{
		"id": request["id"], "stream_id": head["id"], "status": head["status"],
		"headers": map[string]any{"X-Mirror": "through"},
	})))
}
