/* A stand-in for NVIDIA's driver library, so that the tests can see what reaches it through the real bindings.
 *
 * One device whose memory is host memory and whose kernels are the few that are written here. It shows that
 * calls are well formed and results understood, and nothing about a GPU.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int CUresult;
typedef uint64_t CUdeviceptr;

enum {
    OK = 0, INVALID = 1, NO_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 101, INVALID_CONTEXT = 201,
    NO_BINARY = 209, INVALID_PTX = 218, INVALID_HANDLE = 400, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700,
    OUT_OF_RESOURCES = 701,
};

#define MEMORY (64u << 20)

struct block { char *base; size_t size; struct block *next; };
struct module { char magic[8]; };
struct kernel { const char *name; int count; size_t sizes[4]; };

static struct kernel kernels[] = {
    {"vector_add_f32", 4, {8, 8, 8, 4}},
    {"stray", 1, {8}},
    {"spin", 0, {0}},
    {"nothing", 0, {0}},
};
static struct block *blocks;
static int initialized, retained, current, fault, spinning;
static size_t used;

static struct block *holding(CUdeviceptr at, size_t size) {
    for (struct block *b = blocks; b; b = b->next)
        if (at >= (CUdeviceptr)b->base && at + size <= (CUdeviceptr)b->base + b->size) return b;
    return NULL;
}

static CUresult ready(void) {
    if (!initialized) return NOT_INITIALIZED;
    if (!current) return INVALID_CONTEXT;
    return fault;
}

CUresult cuInit(unsigned flags) {
    initialized = flags == 0;
    return flags ? INVALID : OK;
}
CUresult cuDriverGetVersion(int *version) {
    *version = 13000;
    return OK;
}
CUresult cuDeviceGetCount(int *count) {
    *count = 1;
    return initialized ? OK : NOT_INITIALIZED;
}
CUresult cuDeviceGet(int *device, int ordinal) {
    *device = ordinal;
    return !initialized ? NOT_INITIALIZED : ordinal ? NO_DEVICE : OK;
}
CUresult cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, length, "stand-in");
    return device ? NO_DEVICE : OK;
}
CUresult cuDeviceTotalMem_v2(size_t *bytes, int device) {
    *bytes = MEMORY;
    return device ? NO_DEVICE : OK;
}

CUresult cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) {
    return device || flags != 4 ? INVALID : OK; /* CU_CTX_SCHED_BLOCKING_SYNC is what is asked for */
}
CUresult cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = &retained;
    retained = 1;
    return device ? NO_DEVICE : OK;
}
CUresult cuCtxSetCurrent(void *context) {
    current = retained && context == &retained;
    return current ? OK : INVALID_CONTEXT;
}

CUresult cuStreamCreate(void **stream, unsigned flags) {
    if (flags != 1) return INVALID; /* CU_STREAM_NON_BLOCKING, likewise */
    *stream = &used;
    return ready();
}
CUresult cuStreamSynchronize(void *stream) {
    if (stream != &used) return INVALID_HANDLE;
    while (spinning) pause();
    return ready();
}

CUresult cuMemAlloc_v2(CUdeviceptr *out, size_t size) {
    if (ready()) return ready();
    if (!size) return INVALID;
    if (size > MEMORY - used) return NO_MEMORY;
    struct block *b = malloc(sizeof *b);
    *b = (struct block){aligned_alloc(512, (size + 511) / 512 * 512), size, blocks};
    memset(b->base, 0xee, size); /* what a device's memory holds is anything but zeros */
    blocks = b;
    used += size;
    *out = (CUdeviceptr)b->base;
    return OK;
}
CUresult cuMemFree_v2(CUdeviceptr at) {
    for (struct block **b = &blocks; *b; b = &(*b)->next)
        if ((CUdeviceptr)(*b)->base == at) {
            struct block *gone = *b;
            for (size_t i = 0; i < gone->size; i++)
                if (gone->base[i]) abort(); /* it has to be scrubbed before */
            *b = gone->next;
            used -= gone->size;
            free(gone->base);
            free(gone);
            return ready();
        }
    return INVALID;
}
CUresult cuMemGetAddressRange_v2(CUdeviceptr *base, size_t *size, CUdeviceptr at) {
    struct block *b = holding(at, 1);
    if (!b) return INVALID;
    if (base) *base = (CUdeviceptr)b->base;
    if (size) *size = b->size;
    return ready();
}
CUresult cuMemsetD8_v2(CUdeviceptr at, unsigned char value, size_t size) {
    if (!holding(at, size)) return INVALID;
    memset((void *)at, value, size);
    return ready();
}
CUresult cuMemsetD8Async(CUdeviceptr at, unsigned char value, size_t size, void *stream) {
    return stream == &used ? cuMemsetD8_v2(at, value, size) : INVALID_HANDLE;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, void *stream) {
    if (stream != &used || !holding(to, size)) return INVALID;
    memcpy((void *)to, from, size);
    return ready();
}
CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, void *stream) {
    if (stream != &used || !holding(from, size)) return INVALID;
    memcpy(to, (void *)from, size);
    return ready();
}
CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size) {
    return cuMemcpyHtoDAsync_v2(to, from, size, &used);
}
CUresult cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size) {
    return cuMemcpyDtoHAsync_v2(to, from, size, &used);
}
CUresult cuMemHostRegister_v2(void *at, size_t size, unsigned flags) {
    return (uintptr_t)at % 4096 || !size || flags ? INVALID : ready();
}

CUresult cuModuleLoadData(void **module, const void *image) {
    static const unsigned char elf[4] = {0x7f, 'E', 'L', 'F'};
    if (ready()) return ready();
    if (!memcmp(image, elf, 4)) return NO_BINARY;
    if (strstr(image, "malformed")) return INVALID_PTX;
    struct module *m = calloc(1, sizeof *m);
    strcpy(m->magic, "module");
    *module = m;
    return OK;
}
CUresult cuModuleUnload(void *module) {
    if (strcmp(((struct module *)module)->magic, "module")) return INVALID_HANDLE;
    free(module);
    return ready();
}
CUresult cuModuleGetFunction(void **function, void *module, const char *name) {
    if (strcmp(((struct module *)module)->magic, "module")) return INVALID_HANDLE;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if (!strcmp(kernels[i].name, name)) {
            *function = &kernels[i];
            return ready();
        }
    return NOT_FOUND;
}
CUresult cuFuncGetParamInfo(void *function, size_t index, size_t *offset, size_t *size) {
    struct kernel *k = function;
    if (index >= (size_t)k->count) return INVALID;
    size_t at = 0;
    for (size_t i = 0; i < index; i++) at += k->sizes[i];
    *offset = at;
    if (size) *size = k->sizes[index];
    return ready();
}
CUresult cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                        unsigned shared, void *stream, void **params, void **extra) {
    struct kernel *k = function;
    if (stream != &used || extra) return INVALID;
    if (shared > 48 << 10) return OUT_OF_RESOURCES;
    if (ready()) return ready();
    if (!strcmp(k->name, "vector_add_f32")) {
        const float *a = *(float **)params[0], *b = *(float **)params[1];
        float *out = *(float **)params[2];
        uint32_t n = *(uint32_t *)params[3];
        for (uint64_t i = 0; i < (uint64_t)gx * gy * gz * bx * by * bz && i < n; i++) out[i] = a[i] + b[i];
    } else if (!strcmp(k->name, "stray")) {
        CUdeviceptr at = *(CUdeviceptr *)params[0];
        if (holding(at, 4))
            *(uint32_t *)at = 7;
        else
            fault = ILLEGAL_ADDRESS;
    } else if (!strcmp(k->name, "spin")) {
        spinning = 1;
    }
    return OK;
}

CUresult cuGetErrorName(CUresult error, const char **text) {
    static char name[40];
    snprintf(name, sizeof name, "CUDA_ERROR_%d", error);
    *text = name;
    return OK;
}

/* The bindings ask for functions by their plain names, whatever their form is called here. */
CUresult cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
    static void *self;
    char second[128];
    Dl_info own;
    if (!self && dladdr((void *)cuInit, &own)) self = dlopen(own.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    snprintf(second, sizeof second, "%s_v2", symbol);
    *found = dlsym(self, second);
    if (!*found) *found = dlsym(self, symbol);
    if (status) *status = *found ? 0 : 1;
    return *found ? OK : NOT_FOUND;
}
CUresult cuGetProcAddress(const char *symbol, void **found, int version, uint64_t flags) {
    return cuGetProcAddress_v2(symbol, found, version, flags, NULL);
}
