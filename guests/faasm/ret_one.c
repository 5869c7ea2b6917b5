/* Returns what its input says, 1 without one; its own output is lost then. */
#include "faasm.h"

int main(void) {
    char text[16] = {0};
    int size = faasmGetInput(text, sizeof text - 1);
    faasmSetOutput("lost", 4);
    return size ? atoi(text) : 1;
}
