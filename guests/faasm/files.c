/* What the reference's file functions do, one letter each; the input picks one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include "faasm.h"

static int hosts_by_descriptor(void) {
    char line[20] = {0};
    int fd = open("/etc/hosts", O_RDONLY);
    if (fd < 5) return 1; /* 0 to 2 are streams, 3 is the root, 4 the working directory */
    if (read(fd, line, 19) != 19 || memcmp(line, "127.0.0.1\tlocalhost", 19)) return 2;
    return close(fd) ? 3 : 0;
}

static int hosts_by_stream(void) {
    char line[64] = {0};
    FILE *file = fopen("/etc/hosts", "r");
    if (!file || !fgets(line, sizeof line, file) || strcmp(line, "127.0.0.1\tlocalhost\n")) return 1;
    return fclose(file) ? 2 : 0;
}

static int duplicates(void) {
    char one[4] = {0}, two[4] = {0};
    int fd = open("/etc/hosts", O_RDONLY), copy = faasm_dup(fd);
    if (copy < 5 || copy == fd || faasm_dup(99) != -1) return 1;
    if (read(fd, one, 3) != 3 || read(copy, two, 3) != 3) return 2; /* one position for both */
    if (memcmp(one, "127", 3) || memcmp(two, ".0.", 3)) return 3;
    if (close(fd) || lseek(copy, 0, SEEK_SET) || read(copy, two, 3) != 3 || memcmp(two, "127", 3)) return 4;
    return close(copy) ? 5 : 0;
}

static int status(void) {
    struct stat one, two;
    int fd = open("/etc/hosts", O_RDONLY);
    if (fstat(fd, &one) || stat("/etc/hosts", &two)) return 1;
    if (!S_ISREG(one.st_mode) || one.st_size != two.st_size || one.st_size < 19) return 2;
    if (stat("/etc", &two) || !S_ISDIR(two.st_mode)) return 3;
    return stat("/nowhere", &two) == -1 && errno == ENOENT ? 0 : 4;
}

static int listing(void) {
    int found = 0;
    DIR *directory = opendir("/etc");
    if (!directory) return 1;
    for (struct dirent *entry; (entry = readdir(directory));)
        found |= !strcmp(entry->d_name, "hosts") | !strcmp(entry->d_name, "passwd") << 1 |
                 !strcmp(entry->d_name, "resolv.conf") << 2;
    closedir(directory);
    return found == 7 ? 0 : 2;
}

static int local_writes(void) {
    char text[8] = {0};
    if (mkdir("desk", 0777) && errno != EEXIST) return 1;
    int fd = open("desk/file.txt", O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, "abcdef", 6) != 6 || lseek(fd, 2, SEEK_SET) != 2) return 2;
    if (read(fd, text, 8) != 4 || strcmp(text, "cdef")) return 3;
    close(fd);
    if (rename("desk/file.txt", "/desk/other.txt")) return 4;
    fd = open("/desk/other.txt", O_RDONLY);
    if (fd < 0 || read(fd, text, 3) != 3 || memcmp(text, "abc", 3)) return 5;
    close(fd);
    return unlink("desk/other.txt") || rmdir("/desk") ? 6 : 0;
}

static int terminal(void) {
    int fd = open("/etc/hosts", O_RDONLY);
    if (isatty(fd)) return 1;
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO) ? 0 : 2;
}

static int where(void) {
    char path[256];
    return getcwd(path, sizeof path) && !strcmp(path, "/") ? 0 : 1;
}

static int escapes(void) {
    const char *paths[] = {"/etc/shadow", "/../etc/passwd2", "../../../../../../proc/version", "/proc/version",
                           "/root", "faasm:/../../x", "etc/../../../../etc/shadow"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (open(paths[i], O_RDONLY) >= 0) return (int)i + 1;
    if (symlink("/etc/shadow", "link") == 0 && open("link", O_RDONLY) >= 0) return 50;
    return 0;
}

int main(void) {
    char what = 0;
    faasmGetInput(&what, 1);
    switch (what) {
        case 'o': return hosts_by_descriptor();
        case 'f': return hosts_by_stream();
        case 'd': return duplicates();
        case 's': return status();
        case 'l': return listing();
        case 'w': return local_writes();
        case 't': return terminal();
        case 'c': return where();
        case 'e': return escapes();
        case 'k': return open("kept.txt", O_WRONLY | O_CREAT, 0666) < 0;  /* left open, and there for others */
        case 'q': return access("kept.txt", F_OK) ? 1 : 0;
        default: return 100;
    }
}
