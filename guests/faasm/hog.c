/* Takes room on disk until it is refused; the input says how, and where.
 *   w NAME KIB    write that much to a file
 *   n NAME COUNT  make that many empty files in a folder
 *   d NAME        delete a file
 * Puts out how much it got, and the error that ended it (0 for none). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "faasm.h"

static char piece[3000];

int main(void) {
    char input[128] = {0}, how, name[64], path[128], text[64];
    int wanted = 0, done = 0, part = 0;
    faasmGetInput(input, sizeof input - 1);
    sscanf(input, "%c %60s %d", &how, name, &wanted);
    errno = 0;
    if (how == 'w') {
        int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0666);
        while (fd >= 0 && done < wanted * 1024 && (part = (int)write(fd, piece, sizeof piece)) > 0) done += part;
    } else if (how == 'n') {
        if (mkdir(name, 0777)) wanted = 0;
        for (; done < wanted; done++) {
            snprintf(path, sizeof path, "%s/%d", name, done);
            int fd = open(path, O_RDWR | O_CREAT, 0666);
            if (fd < 0 || close(fd)) break;
        }
    } else {
        done = unlink(name) == 0;
    }
    faasmSetOutput(text, snprintf(text, sizeof text, "%d %d", done, errno));
    return 0;
}
