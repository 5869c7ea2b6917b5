/* Writes a shared file, reads it back; with input "delete" removes it. */
#include <stdio.h>
#include <unistd.h>
#include "faasm.h"

#define PATH "faasm://test/shared-file.txt"

int main(void) {
    char input[16] = {0}, text[64] = {0};
    faasmGetInput(input, sizeof input - 1);
    if (!strcmp(input, "delete")) return unlink(PATH) ? 1 : 0;
    if (!strcmp(input, "read")) {
        FILE *file = fopen(PATH, "r");
        if (!file) return 2;
        size_t size = fread(text, 1, sizeof text, file);
        faasmSetOutput(text, (int)size);
        return fclose(file);
    }
    FILE *file = fopen(PATH, "w");
    if (!file) return 3;
    fputs("This is some dummy content", file);
    if (fclose(file)) return 4;
    file = fopen(PATH, "r");
    if (!file || !fgets(text, sizeof text, file) || strcmp(text, "This is some dummy content")) return 5;
    return fclose(file);
}
