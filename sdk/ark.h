/* ark.h - write Ark modules in C.
 *
 * Declares the imports of ark-module-run-v0 and of the Ark core modules, and a few inline helpers.
 * Needs no C library and works with every compiler that targets wasm32, for example
 *
 *     zig cc --target=wasm32-freestanding -nostdlib -O2 -Wl,--no-entry -I sdk -o module.wasm module.c
 *
 * A launchable function is any export of type (pointer, length) -> ArkCode:
 *
 *     ARK_EXPORT("shout") ArkCode shout(const uint8_t *input, uint32_t length) {
 *         ...
 *         ark_return(output, output_length);
 *         return ARK_SUCCESS;
 *     }
 *
 * One C file of the module defines ARK_IMPLEMENT_ALLOC before including this header; it gets the two
 * exports through which the host hands input over.
 */
#ifndef GUESTHOUSE_ARK_H
#define GUESTHOUSE_ARK_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ARK_EXPORT(name) __attribute__((export_name(name)))
#define ARK_IMPORT(module, name) __attribute__((import_module(module), import_name(name)))

/* What every function answers. 1 and 3 are unused. */
typedef uint32_t ArkCode;
enum {
    ARK_SUCCESS = 0,
    ARK_API_NOT_AVAILABLE = 2, /* the module was not granted the API */
    ARK_INTERNAL_ERROR = 4,
    ARK_INVALID_ARGUMENTS = 5,
    ARK_NOT_FOUND = 6,
    ARK_UNAVAILABLE = 7, /* not ready yet, or a limit is reached */
    ARK_HTTP_REQUEST_FAILED = 8,
};

typedef uint64_t ArkFunction; /* names one function of one module version; never 0 */
typedef uint64_t ArkRequest;  /* one run of a function; never 0, gone once retrieved */

enum { ARK_OWN_MODULE = 0, ARK_NAMED_MODULE = 1 };

typedef struct {
    uint8_t is_ready; /* 0 or 1 */
    uint8_t _pad[3];
    uint32_t size; /* bytes of output, once ready */
} ArkReady;

/* --- ark-module-run-v0: run functions of this or another module in instances of their own --------- */

/* Finds a function. The module name is ignored with ARK_OWN_MODULE. */
ARK_IMPORT("ark-module-run-v0", "module_run__create_function")
ArkCode ark_create_function(uint32_t source, const char *module, uint32_t module_length, const char *name,
                            uint32_t name_length, ArkFunction *out);

/* Forgets a function; requests that run it are not touched. */
ARK_IMPORT("ark-module-run-v0", "module_run__remove_function")
ArkCode ark_remove_function(ArkFunction function);

/* Runs a function and returns when it is over; its failure shows in ark_retrieve only. */
ARK_IMPORT("ark-module-run-v0", "module_run__blocking_launch")
ArkCode ark_blocking_launch(ArkFunction function, const void *input, uint32_t length, ArkRequest *out);

/* Starts a function in the background; the input is copied before this returns. */
ARK_IMPORT("ark-module-run-v0", "module_run__launch")
ArkCode ark_launch(ArkFunction function, const void *input, uint32_t length, ArkRequest *out);

/* Tells, without waiting, whether a request is over and how much it returned. */
ARK_IMPORT("ark-module-run-v0", "module_run__is_ready")
ArkCode ark_is_ready(ArkRequest request, ArkReady *out);

/* Copies the output and forgets the request. The buffer must hold ArkReady.size bytes. */
ARK_IMPORT("ark-module-run-v0", "module_run__retrieve")
ArkCode ark_retrieve(ArkRequest request, void *buffer, uint32_t length);

/* --- ark-core: input, output, log ------------------------------------------------------------------ */

/* Hands the output of the running function to the host, which copies `size` bytes at once. */
ARK_IMPORT("ark-core-v0", "core__return_slice")
uint32_t ark_core_return_slice(const void *data, uint32_t elements, uint32_t size);

/* Copies up to `size` bytes of the input, from `offset` on; returns how many. */
ARK_IMPORT("ark-core-v0", "core__get_input_slice")
uint32_t ark_core_get_input_slice(void *buffer, uint32_t size, uint32_t offset);

/* Leaves a panic's text for the host's log. */
ARK_IMPORT("ark-core-v2", "core__register_panic")
ArkCode ark_core_register_panic(const char *message, uint32_t message_length, const char *file,
                                uint32_t file_length, uint32_t line, uint32_t column);

enum { ARK_LOG_ERROR = 0, ARK_LOG_WARN = 1, ARK_LOG_INFO = 2, ARK_LOG_DEBUG = 3, ARK_LOG_TRACE = 4 };

/* Writes one line to the host's log. */
ARK_IMPORT("ark-core-v3", "core__log")
ArkCode ark_core_log(uint32_t level, const char *text, uint32_t length);

/* --- helpers --------------------------------------------------------------------------------------- */

/* Length of a C string. */
static inline uint32_t ark_length(const char *text) {
    uint32_t length = 0;
    while (text[length]) length++;
    return length;
}

/* Returns bytes as the function's output. */
static inline void ark_return(const void *data, uint32_t size) { ark_core_return_slice(data, size, size); }

/* Logs a C string. */
static inline void ark_log(uint32_t level, const char *text) { ark_core_log(level, text, ark_length(text)); }

/* Finds a function of this module. */
static inline ArkCode ark_own(const char *name, ArkFunction *out) {
    return ark_create_function(ARK_OWN_MODULE, 0, 0, name, ark_length(name), out);
}

/* Finds a function of another module. */
static inline ArkCode ark_named(const char *module, const char *name, ArkFunction *out) {
    return ark_create_function(ARK_NAMED_MODULE, module, ark_length(module), name, ark_length(name), out);
}

/* Polls until a request is over; returns the size of its output. */
static inline ArkCode ark_wait(ArkRequest request, uint32_t *size) {
    ArkReady ready;
    for (;;) {
        ArkCode code = ark_is_ready(request, &ready);
        if (code != ARK_SUCCESS) return code;
        if (ready.is_ready) break;
    }
    *size = ready.size;
    return ARK_SUCCESS;
}

#ifdef ARK_IMPLEMENT_ALLOC
extern uint8_t __heap_base;
static uint32_t ark_heap_end;

/* Gives the host (or the module) fresh memory; nothing is ever taken back, as a run is short. */
ARK_EXPORT("ark_alloc") void *ark_alloc(uint32_t size, uint32_t alignment) {
    if (ark_heap_end == 0) ark_heap_end = (uint32_t)(uintptr_t)&__heap_base;
    uint64_t start = ((uint64_t)ark_heap_end + alignment - 1) & ~((uint64_t)alignment - 1);
    uint64_t end = start + size;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have) {
        if (end > 0xffff0000u) return 0;
        if (__builtin_wasm_memory_grow(0, (end - have + 0xffff) >> 16) == (unsigned long)-1) return 0;
    }
    ark_heap_end = (uint32_t)end;
    return (void *)(uintptr_t)start;
}

ARK_EXPORT("ark_free") void ark_free(void *pointer, uint32_t size, uint32_t alignment) {
    (void)pointer, (void)size, (void)alignment;
}
#else
void *ark_alloc(uint32_t size, uint32_t alignment);
#endif

#ifdef __cplusplus
}
#endif
#endif
