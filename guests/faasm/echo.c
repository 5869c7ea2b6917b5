/* Puts out its input, or says that there was none. */
#include "faasm.h"

int main(void) {
    int size = faasmGetInputSize();
    if (size == 0) {
        faasmSetOutput("Nothing to echo", 15);
        return 0;
    }
    char *text = malloc((size_t)size);
    faasmGetInput(text, size);
    faasmSetOutput(text, size);
    free(text);
    return 0;
}
