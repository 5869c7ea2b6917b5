// build: command
/* A WASI program that leases: the fabric is one more set of imports. */
#include <stdio.h>

#include "grafos.h"

int main(void) {
    struct fbmu_lease_info lease;
    char text[16] = {0};
    int alloc = fbmu_alloc(100, 60, &lease);
    int write = fbmu_write_lease(lease.lease_id, 0, "hello", 6);
    int read = fbmu_read_lease(lease.lease_id, 0, text, 6);
    printf("%d %d %d %s\n", alloc, write, read, text);
    return alloc;
}
