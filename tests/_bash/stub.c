/* Stands for every program: appends its folder and words to LOG as one record, and succeeds or fails as it is told. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static char record[65536];
    size_t length = 0;
    if (!getcwd(record, 4096)) return 99;
    length = strlen(record) + 1;
    for (int i = 0; i < argc; i++) {
        size_t size = strlen(argv[i]) + 1;
        if (length + size + 2 > sizeof record) return 99;
        memcpy(record + length, argv[i], size);
        length += size;
    }
    record[length++] = '\1';
    record[length++] = '\0';
    int file = open(LOG, O_WRONLY | O_CREAT | O_APPEND, 0600);
    return write(file, record, length) == (ssize_t)length ? STATUS : 99;
}
