/* Puts out its input; fails unless that is three bytes. */
#include "faasm.h"

int main(void) {
    unsigned char data[8];
    int size = faasmGetInput(data, sizeof data);
    faasmSetOutput(data, size);
    return size == 3 && data[1] == data[0] + 1 && data[2] == data[1] + 1 ? 0 : 1;
}
