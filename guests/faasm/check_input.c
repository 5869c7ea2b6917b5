/* Succeeds only for one exact input. */
#include "faasm.h"

int main(void) {
    static const char expected[] = "http://www.foobar.com";
    char text[64] = {0};
    int size = faasmGetInput(text, sizeof text);
    return size == (int)sizeof expected - 1 && memcmp(text, expected, (size_t)size) == 0 ? 0 : 1;
}
