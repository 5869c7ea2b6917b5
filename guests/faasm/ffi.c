/* Calls functions by pointer the way libffi does; the input says which: what ctypes does inside of CPython. */
#include "faasm.h"
#include <stdio.h>

struct type { unsigned size; unsigned short alignment, kind; struct type **elements; };
struct cif { int abi; unsigned count; struct type **arguments; struct type *result; unsigned bytes, flags; };

FAASM_IMPORT("ffi_call") void ffi_call(struct cif *description, void *function, void *result, void **arguments);
FAASM_IMPORT("ffi_prep_closure_loc")
int ffi_prep_closure_loc(void *closure, struct cif *description, void *function, void *user, void *code);
FAASM_IMPORT("bzero") void host_bzero(void *start, unsigned length);
FAASM_IMPORT("htonl") unsigned host_htonl(unsigned value);
FAASM_IMPORT("ntohs") unsigned host_ntohs(unsigned value);

static struct type nothing = {1, 1, 0, 0}, single = {4, 4, 2, 0}, real = {8, 8, 3, 0}, byte_ = {1, 1, 5, 0},
                   small = {2, 2, 8, 0}, word = {4, 4, 10, 0}, wide = {8, 8, 12, 0}, block = {12, 4, 13, 0};

__attribute__((noinline)) static double mixed(unsigned char a, short b, int c, long long d, float e, double f) {
    return a + b + c + (double)d + e + f;
}
static int called;
__attribute__((noinline)) static void plain(void) { called = 1; }
__attribute__((noinline)) static signed char narrow(void) { return -7; }
static struct cif endless_cif = {1, 0, 0, &nothing, 0, 0};
static void endless(void) { ffi_call(&endless_cif, endless, 0, 0); called++; }

int main(void) {
    char mode = 0;
    faasmGetInput(&mode, 1);
    unsigned char a = 200;
    short b = -3;
    int c = -100000, at = 0;
    long long d = 1ll << 40;
    float e = 0.5f;
    double f = 0.25, sum = 0;
    struct type *types[] = {&byte_, &small, &word, &wide, &single, &real};
    void *values[] = {&a, &b, &c, &d, &e, &f};
    struct cif cif = {1, 6, types, &real, 0, 0};
    if (mode == 'r') endless();
    if (mode == 't') types[3] = &word; /* not what the function takes */
    if (mode == 's') types[0] = &block;
    if (mode == 'm') cif.count = 1u << 30;
    ffi_call(&cif, mode == 'n' ? (void *)0x7fffffff : (void *)mixed, &sum, values);
    struct cif none = {1, 0, 0, &nothing, 0, 0}, gives = {1, 0, 0, &word, 0, 0};
    ffi_call(&none, plain, 0, 0);
    ffi_call(&gives, narrow, &at, 0);
    char text[128], zeros[200000];
    memset(zeros, 1, sizeof zeros);
    host_bzero(zeros + 1, sizeof zeros - 2);
    int ones = 0;
    for (unsigned i = 0; i < sizeof zeros; i++) ones += zeros[i];
    int length = snprintf(text, sizeof text, "%.2f %d %d %d %d %x %x", sum, called, at,
                          ffi_prep_closure_loc(0, 0, 0, 0, 0), ones, host_htonl(0x01020384), host_ntohs(0xff0102));
    faasmSetOutput(text, length);
    return 0;
}
