/* A host exception goes through its frames. */
#include "faasm.h"

FAASM_IMPORT("__faasm_host_interface_test") void host_interface_test(int number);

int main(void) {
    char text[8] = {0};
    faasmGetInput(text, sizeof text - 1);
    faasmSetOutput("before", 6);
    host_interface_test(atoi(text));
    faasmSetOutput("after", 5);
    return 0;
}
