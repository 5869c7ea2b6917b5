/* Puts out its input; fails unless that is two bytes. */
#include "faasm.h"

int main(void) {
    unsigned char data[8];
    int size = faasmGetInput(data, sizeof data);
    faasmSetOutput(data, size);
    return size == 2 && data[0] == 6 && data[1] == 7 ? 0 : 1;
}
