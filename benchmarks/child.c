/* A trivial service: reports its own start as one 32-byte record appended to REPORT, then waits for ever.
   Record: int64 index, int64 pid, int64 CLOCK_MONOTONIC in ns, int64 zero. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct timespec now;
    int64_t record[4] = {0};
    int fd;
    if (argc < 3 || (fd = open(argv[2], O_WRONLY | O_APPEND | O_CREAT, 0644)) < 0) return 2;
    clock_gettime(CLOCK_MONOTONIC, &now);
    record[0] = atoll(argv[1]);
    record[1] = getpid();
    record[2] = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (write(fd, record, sizeof record) != sizeof record) return 3;
    close(fd);
    for (;;) pause();
}
