/* Asks for the size of the value that the input names, reads it and puts it out. */
#include "faasm.h"

int main(void) {
    char key[128] = {0};
    faasmGetInput(key, sizeof key - 1);
    int size = faasmReadStateSize(key);
    char *text = malloc((size_t)size + 1);
    faasmReadState(key, text, size);
    faasmSetOutput(text, size);
    return 0;
}
