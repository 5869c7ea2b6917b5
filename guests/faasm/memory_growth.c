/* mmap, munmap and __sbrk as the reference's test functions use them; the input picks one. */
#include "faasm.h"

#define PAGE 65536u
#define ANONYMOUS(length) ((uint8_t *)faasm_mmap(NULL, (length), 3, 0x22, -1, 0))

static int writable(uint8_t *start, size_t length) {
    for (size_t i = 0; i < length; i += 4096)
        if (start[i]) return 0;
    memset(start, 0x5a, length);
    return start[0] == 0x5a && start[length - 1] == 0x5a;
}

static int many_maps(void) { /* ten of three pages and a bit, all distinct */
    size_t length = 3 * PAGE + 1234;
    uint8_t *maps[10];
    for (int i = 0; i < 10; i++) {
        maps[i] = ANONYMOUS(length);
        if ((uintptr_t)maps[i] % PAGE || !writable(maps[i], length)) return 1;
    }
    for (int i = 1; i < 10; i++)
        if (maps[i] < maps[i - 1] + length) return 2;
    return 0;
}

static int big_maps(void) { /* 18 of 1000 pages fit only if those unmapped in reverse are used again */
    uint8_t *maps[18], *first = NULL;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 18; i++) {
            maps[i] = ANONYMOUS(1000 * PAGE);
            if (!writable(maps[i], PAGE)) return 1;
        }
        if (first && maps[0] != first) return 2;
        first = maps[0];
        for (int i = 17; i >= 0; i--)
            if (faasm_munmap(maps[i], 1000 * PAGE)) return 3;
    }
    return 0;
}

static int three_pages(void) { /* given back and handed out again, as zeros */
    uint8_t *one = ANONYMOUS(3 * PAGE);
    if (!writable(one, 3 * PAGE) || faasm_munmap(one, 3 * PAGE)) return 1;
    uint8_t *two = ANONYMOUS(3 * PAGE);
    return one != two || !writable(two, 3 * PAGE) ? 2 : 0;
}

static int heap(void) { /* what malloc and calloc hand out grows the memory, and calloc's are zeros, always */
    size_t sizes[] = {8, 240, 70000, 1 << 20, 5 << 20};
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 5; i++) {
            uint8_t *volatile dirty = malloc(sizes[i]), *volatile clean; /* the compiler must not see through it */
            if (!dirty) return 1;
            memset(dirty, 0xee, sizes[i]);
            free(dirty);
            clean = calloc(sizes[i] / 8, 8);
            if (!clean) return 2;
            for (size_t j = 0; j < sizes[i]; j++)
                if (clean[j]) return 3;
            memset(clean, 0xdd, sizes[i]);
            if (round < 2) free(clean);
        }
    return faasm_sbrk(0) > (void *)(8u << 20) ? 0 : 4;
}

static int moving_break(void) {
    uint8_t *start = faasm_sbrk(0);
    if (faasm_sbrk(PAGE) != start || (uint8_t *)faasm_sbrk(0) != start + PAGE) return 1;
    if (!writable(start, PAGE)) return 2;
    if (faasm_sbrk(-(intptr_t)PAGE) != start + PAGE || (uint8_t *)faasm_sbrk(0) != start) return 3;
    if (faasm_sbrk(PAGE) != start || !writable(start, PAGE)) return 4; /* zeros again */
    return faasm_sbrk(-(intptr_t)(64 * PAGE)) == (void *)-1 ? 0 : 5;     /* not below the start */
}

static int with_malloc(void) { /* the guest's allocator grows memory, too, and never meets the host's */
    uint8_t *blocks[40], *maps[40];
    for (int i = 0; i < 40; i++) {
        blocks[i] = malloc(100000 + (size_t)i * 1000);
        maps[i] = ANONYMOUS(70000);
        memset(blocks[i], i, 100000);
        if (!writable(maps[i], 70000)) return 1;
        memset(maps[i], 100 + i, 70000);
        if (i % 3 == 2) faasm_munmap(maps[i], 70000);
    }
    for (int i = 0; i < 40; i++)
        for (int j = 0; j < 100000; j += 999)
            if (blocks[i][j] != i || (i % 3 != 2 && j < 70000 && maps[i][j] != 100 + i)) return 2;
    return 0;
}

int main(void) {
    char what = 0;
    faasmGetInput(&what, 1);
    switch (what) {
        case 'm': return many_maps();
        case 'b': return big_maps();
        case 'k': return moving_break();
        case '3': return three_pages();
        case 'H': return heap();
        case 'a': return with_malloc();
        case '0': return faasm_munmap((void *)1, 0);
        case 'u': return faasm_munmap((void *)100, PAGE);            /* not aligned */
        case 'o': return faasm_munmap((void *)0xffff0000u, PAGE) == -1 ? 0 : 1;
        case 'f': return ANONYMOUS(0) == (void *)-1 && faasm_mmap(NULL, 10, 1, 2, 77, 0) == (void *)-1 ? 0 : 1;
        case 'h': return ANONYMOUS(0xffffffffu) != (void *)-1;        /* more than there is */
        case 's': return faasm_sbrk(100) != NULL;
        case 'v': { /* a state value in a region that is unmapped stays what it was */
            uint8_t *value = faasmReadStatePtr("mapped", 70000);
            memset(value, 7, 70000);
            if (faasm_munmap(value, 70000)) return 1;
            uint8_t *fresh = ANONYMOUS(70000);
            if (fresh != value || !writable(fresh, 70000)) return 2;
            value = faasmReadStatePtr("mapped", 70000);
            return value == fresh || value[69999] != 7;
        }
        default: return 100;
    }
}
