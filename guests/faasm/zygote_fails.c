/* build: faasm -Wl,--export=__main_void
 * A zygote that gives up. */
#include "faasm.h"

FAASM_ZYGOTE() { return 3; }

int main(void) { return 0; }
