/* The machine has slept for as long as a file says, to whoever is started with this in LD_PRELOAD: see clock_gettime(2). */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_BOOTTIME) {
        const char *path = getenv("SLEPT");
        FILE *file = path ? fopen(path, "r") : NULL;
        long seconds = 0;
        if (file) {
            if (fscanf(file, "%ld", &seconds) == 1) time->tv_sec += seconds;
            fclose(file);
        }
    }
    return failed;
}
